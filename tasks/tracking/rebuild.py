"""Tell a tracking server again what the artifact store knows: the store is the truth, MLflow a view of it.

What only the outbox knew (live rates, published revisions) comes back from the outbox as far as it was kept.
"""

from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.queue import EventQueue

RELEASE = "rebuilt"  # Parent run of the artifacts that no release in the outbox tells of.


def retell(queue: EventQueue, root: str, recipe: str) -> int:
    """Queue everything once more; hold the queue while doing so.

    Args:
        queue: of the tracking server; its whole outbox counts as not shipped afterwards.
        root: of the store.
        recipe: name of the experiment the store's artifacts belong to.

    Returns:
        The number of artifacts queued.
    """
    queue.forget()
    count = 0
    with EventLog(queue.folder, recipe, RELEASE) as outbox:
        for record in Store(root).records():
            outbox.step(root, record, reused=True)
            count += 1
        outbox.finished()
    return count
