"""Addresses of models trained elsewhere: a folder, or `organisation/name[@revision]` on the Hub.

A recipe pins such a model by a digest or a commit; this file looks these up.
"""

import re
from pathlib import Path

from olmo_core.hub.names import MAIN, REPOSITORY
from olmo_core.hub.pretrained import PretrainedConfig


def pretrained_at(address: str, endpoint: str | None = None) -> PretrainedConfig:
    """Return the recipe entry for the model at `PATH`, or for the current commit of `ORGANISATION/NAME[@REVISION]`.

    Args:
        address: a folder as in `PretrainedConfig.path`, or a repository with a branch or a commit of 40 hex digits;
            `main` by default. An existing folder takes precedence.
        endpoint: address of the Hub; by default the client's own.

    Raises:
        ValueError: no such folder, repository or revision, or no model in the folder.
        ConnectionError: the Hub cannot be reached.
    """
    # Imported here because planning needs neither of them.
    from olmo_core.hub.endpoint import HubEndpoint
    from olmo_core.hub.import_model import folder_digest

    folder = Path(address).expanduser()
    if folder.is_dir():
        return PretrainedConfig(path=str(folder.absolute()), sha256=folder_digest(folder))
    repo, _, revision = address.partition("@")
    if not re.fullmatch(REPOSITORY, repo):
        raise ValueError(
            f"{address} is neither a folder on this machine nor a repository; write organisation/name@revision"
        )
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return PretrainedConfig(repo=repo, revision=revision)
    known = HubEndpoint(repo, endpoint).published()
    commit = known.get(revision or MAIN)
    if commit is None:
        near = f"it has {', '.join(sorted(known)[:8])}" if known else "the repository does not exist or has no model"
        raise ValueError(f"{address} is neither a folder on this machine nor a revision on the Hub: {near}")
    return PretrainedConfig(repo=repo, revision=commit)
