"""Tables of the corpora: what each holds, and what was left out of it for which reason."""

from olmo_core.report.figure import Table
from olmo_core.report.view import ReleaseView
from olmo_core.report.words import share

NONE = "-"


def sources_table(release: ReleaseView) -> Table:
    """Return every corpus with its licence and size."""
    rows = []
    for name, step in release.plan.corpora.items():
        record = release.record(step)
        sizes = [NONE, NONE, NONE]
        if record is not None:
            train = record.result["train"]
            counts = (sum(shard["documents"] for shard in train), sum(shard["bytes"] for shard in train))
            sizes = [f"{count:,}" for count in (*counts, record.result["heldout"]["documents"])]
        rows.append((name, step.fields["licence"], *sizes))
    for name, files in release.plan.recipe.token_files.items():
        rows.append((f"{name}, as token files", files.licence, NONE, NONE, NONE))
    columns = ("corpus", "licence of the text", "documents", "bytes", "held out")
    return Table("Corpora; no mix contains held-out documents", columns, rows, 2)


def dropped_table(release: ReleaseView) -> Table | None:
    """Return how many documents of every corpus were dropped, by reason; None if none were."""
    rows = []
    for name, step in release.plan.corpora.items():
        record = release.record(step)
        if record is not None:
            for reason, count in record.result["dropped"].items():
                rows.append((name, reason, f"{count:,}", share(count / record.result["documents_read"])))
    columns = ("corpus", "reason", "documents", "of those read")
    return Table("Documents left out; each has one reason, the first it meets", columns, rows, 2) if rows else None
