"""Revisions as versions of a registered model. Only the shipper's process imports this."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion

_IDENTITY = ("olmo.revision", "olmo.commit")


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
        versions = self._client.search_model_versions(f"name = '{name}'", max_results=10_000)
        same = [each for each in versions if all(each.tags.get(tag) == tags[tag] for tag in _IDENTITY)]
        found = min(same, key=lambda each: int(each.version), default=None) or self._client.create_model_version(
            name,
            source=f"models:/{model.model_id}",
            run_id=model.source_run_id,
            model_id=model.model_id,
            tags=dict(tags),
            await_creation_for=0,
        )
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, str(found.version))
        return found
