"""Publishing as a transaction: files first, then proof, then the name. Wherever it is cut off, calling again finishes.

A name shows nothing, or the files it showed before, until its new files were loaded back by transformers and computed
what the native model computes. How each place does its part is in `cache` and `endpoint`.
"""

from dataclasses import dataclass
from pathlib import Path

from olmo_core.artifact.imports import swift_imports
from olmo_core.hub.names import MAIN, in_order
from olmo_core.hub.revision import LIST_FILE
from olmo_core.hub.target import PublishError, RevisionFiles, Target


@dataclass(frozen=True)
class Publication:
    """A revision that is shown.

    Attributes:
        name: the revision.
        commit: what it shows, 40 hex digits.
        reused: it was shown with these very files already.
        kept: files of others that it shows in place of its own, such as a model card written by hand.
        largest_difference: of a logit to the native model's; None where nothing was loaded.
    """

    name: str
    commit: str
    reused: bool
    kept: tuple[str, ...] = ()
    largest_difference: float | None = None


def publish(revision: RevisionFiles, native: Path, target: Target) -> Publication:
    """Show a revision at a target.

    Args:
        revision: name and files.
        native: folder of the checkpoint or soup the revision was exported from.
        target: where to.

    Raises:
        PublishError: a revision that `revisions.txt` among the files lists is not shown yet, files of others are in the
            way, or the target does not hold what it was given.
        PauseError: a Hub takes no requests for some time; called again then, it goes on.
        ParityError: the files load, but compute something else than the native model.
    """
    _complete(revision, target.published())
    if (there := shown(revision, target)) is not None:
        return there
    commit = target.upload(revision)
    if not target.holds(commit, revision):
        raise PublishError(
            f"{target.repo}: commit {commit} does not hold the files of {revision.name} after uploading them"
        )
    with swift_imports():
        from olmo_core.hub.parity import verify

    with target.cache(commit, revision) as cache:
        parity = verify(target.repo, commit, cache, native)
    head = target.show(commit, revision)
    return Publication(revision.name, head.commit, False, head.kept, parity.largest_difference)


def shown(revision: RevisionFiles, target: Target) -> Publication | None:
    """Return the revision as a target shows it where it shows these very files, else None.

    What an earlier call did not come to (the list of names, a branch it worked on) is done now.
    """
    commit = target.published().get(revision.name)
    if commit is None or not target.holds(commit, revision):
        return None
    head = target.show(commit, revision)
    return Publication(revision.name, head.commit, reused=True, kept=head.kept)


def published(target: Target) -> list[str]:
    """Names of the revisions a target shows, by stage, ingredient and step, `main` last."""
    return in_order(target.published())


def _complete(revision: RevisionFiles, shown: dict[str, str]) -> None:
    path = revision.folder / LIST_FILE
    if not any(entry.path == LIST_FILE for entry in revision.files):
        return
    listed = [name for name in path.read_text(encoding="utf-8").split() if name != revision.name]
    if missing := [name for name in listed if name not in shown]:
        raise PublishError(
            f"{revision.name} lists {len(listed)} other revisions, {len(missing)} are not published yet, the first is "
            f"{missing[0]}; publish them before {MAIN}"
        )
