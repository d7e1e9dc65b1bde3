"""Models trained elsewhere as people name them: a folder, or `organisation/name` on the Hub, at a revision or not.

A recipe pins what is meant by a digest or a commit; this file finds these.
"""

import re
from pathlib import Path

from olmo_core.hub.names import MAIN, REPOSITORY
from olmo_core.hub.pretrained import PretrainedConfig


def pretrained_at(address: str, endpoint: str | None = None) -> PretrainedConfig:
    """Return what a recipe says of the model at `PATH`, or of `ORGANISATION/NAME[@REVISION]` as it is now.

    Args:
        address: a folder as `PretrainedConfig.path`, a repository with a branch or a commit of 40 hex digits, `main`
            where neither is given. A folder that exists is meant as one.
        endpoint: address of the Hub, the client's own default when None.

    Raises:
        ValueError: there is neither such a folder nor such a repository or revision, or the folder holds no model.
        ConnectionError: the Hub cannot be reached.
    """
    # Both bring what planning has no need of.
    from olmo_core.hub.endpoint import HubEndpoint
    from olmo_core.hub.import_model import folder_digest

    folder = Path(address).expanduser()
    if folder.is_dir():
        return PretrainedConfig(path=str(folder.absolute()), sha256=folder_digest(folder))
    repo, _, revision = address.partition("@")
    if not re.fullmatch(REPOSITORY, repo):
        raise ValueError(f"{address} is no folder on this machine, and no repository: write organisation/name@revision")
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return PretrainedConfig(repo=repo, revision=revision)
    known = HubEndpoint(repo, endpoint).published()
    commit = known.get(revision or MAIN)
    if commit is None:
        near = (
            f"it shows {', '.join(sorted(known)[:8])}" if known else "there is no such repository, or it shows nothing"
        )
        raise ValueError(f"{address} is no folder on this machine, and no revision on the Hub: {near}")
    return PretrainedConfig(repo=repo, revision=commit)
