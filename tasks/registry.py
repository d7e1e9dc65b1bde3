"""Revisions as versions of a registered model. Only the shipper's process imports this."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion

REVISION = "olmo.revision"
COMMIT = "olmo.commit"
MODEL_ARTIFACT = "olmo.model_artifact_id"


class Registry:
    """Registered models of a tracking server."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def version(self, name: str, model: LoggedModel, tags: Mapping[str, str], alias: str | None) -> ModelVersion:
        """The version of `name` with the revision and commit in `tags`, made of `model` when there is none.

        Args:
            name: of the registered model.
            model: what the version is made of.
            tags: of the version; a revision that shows another commit is another version.
            alias: to move to this version.
        """
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        wanted = " and ".join([f"name = '{name}'", *(f"tags.`{tag}` = '{tags[tag]}'" for tag in (REVISION, COMMIT))])
        same = sorted(self._client.search_model_versions(wanted), key=lambda each: int(each.version))
        for second in same[1:]:  # a create that was given up as lost was carried out later
            self._client.delete_model_version(name, second.version)
        found = (
            same[0]
            if same
            else self._client.create_model_version(
                name,
                source=f"models:/{model.model_id}",
                run_id=model.source_run_id,
                model_id=model.model_id,
                tags=dict(tags),
                await_creation_for=0,
            )
        )
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, str(found.version))
        return found
