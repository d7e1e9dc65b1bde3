"""Register revisions as versions of a registered model: a branch on the Hub is an alias here.

Only the sender's process imports this.
"""

import json
import re
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

REVISION = "olmo.revision"
COMMIT = "olmo.commit"
_NOT_IN_ALIASES = re.compile(r"[^\w-]")


class Registry:
    """Registered models of a tracking server."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def version(self, repo: str, model: LoggedModel, tags: Mapping[str, str], aliases: Sequence[str]) -> ModelVersion:
        """Return the version with the revision and commit in `tags`; create it from `model` if there is none.

        Args:
            repo: Hub repository, `org/name`; the registered model has its name.
            model: logged model of the version.
            tags: tags of the version; another commit of a revision is another version.
            aliases: aliases to move to this version.
        """
        name = repo.rpartition("/")[2]
        if not self._client.search_registered_models(f"name = '{name}'"):
            about = f"{repo} on the Hub: every version is a revision of it, with the revision's name as alias."
            self._client.create_registered_model(name, description=about)
        wanted = " and ".join([f"name = '{name}'", *(f"tags.`{tag}` = '{tags[tag]}'" for tag in (REVISION, COMMIT))])
        same = sorted(self._client.search_model_versions(wanted), key=lambda each: int(each.version))
        for second in same[1:]:  # the server carried out a create after its request had timed out
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
                description=f'AutoModelForCausalLM.from_pretrained("{repo}", revision="{tags[REVISION]}")',
                await_creation_for=0,
            )
        )
        for alias in aliases:
            self._client.set_registered_model_alias(name, _NOT_IN_ALIASES.sub("_", alias), str(found.version))
        self._link(model, found)
        return found

    def _link(self, model: LoggedModel, version: ModelVersion) -> None:
        """List the versions on the page of a model, as MLflow does when it registers one itself."""
        tags = self._client.get_logged_model(model.model_id).tags
        known = json.loads(tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
        own = {"name": version.name, "version": str(version.version)}
        if own not in known:
            linked = json.dumps([*known, own])
            self._client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: linked})
