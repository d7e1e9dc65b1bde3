"""Rebuild a tracking server from the artifact store: the store is the truth, MLflow a view of it.

Data that only the outbox holds (live rates, published revisions) is sent again from the files that were kept.
"""

from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.queue import EventQueue

RELEASE = "rebuilt"  # Parent run of artifacts that belong to no release in the outbox.


def rebuild(queue: EventQueue, root: str, recipe: str) -> int:
    """Queue everything again; the caller must hold the queue's lock.

    Args:
        queue: queue of the tracking server; its whole outbox counts as not sent afterwards.
        root: root of the store.
        recipe: name of the experiment that the store's artifacts belong to.

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
