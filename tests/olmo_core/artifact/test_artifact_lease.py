import itertools
import json
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.artifact import lease as lease_module
from olmo_core.artifact.lease import Entry, Lease, LeaseLog, Owner, SupersededError, acquire, this_process
from olmo_core.artifact.objects import Objects, open_objects

TIMEOUT = 30.0


@pytest.fixture
def log(root: str) -> LeaseLog:
    return LeaseLog(open_objects(root), "corpus/wiki-0123")


def take(log: LeaseLog, ttl: float = 60.0) -> Lease:
    lease = acquire(log, ttl)
    assert lease is not None
    return lease


def own(log: LeaseLog, number: int, owner: Owner) -> None:
    assert log.append(number, Entry(act="own", nonce=uuid.uuid4().hex, owner=owner))


def elsewhere() -> Owner:
    return Owner(host="elsewhere", system="elsewhere boot namespace", pid=1, started=0.0)


def test_lease_is_held_until_it_ends(log: LeaseLog) -> None:
    lease = take(log)
    lease.check()
    lease.end("release", reason="done")
    number, last = log.last()
    assert (number, last and last.act, last and last.reason) == (2, "release", "done")
    again = take(log)
    assert again.number == 3
    again.end("commit", record={"any": 1})
    assert acquire(log) is None
    assert (log.last()[1] or pytest.fail()).record == {"any": 1}


def test_superseded_owner_cannot_commit_or_release(log: LeaseLog) -> None:
    slow = take(log)
    own(log, 2, elsewhere())
    with pytest.raises(SupersededError, match="attempt 1 was taken over by process 1 on elsewhere"):
        slow.check()
    with pytest.raises(SupersededError):
        slow.end("commit", record={})
    with pytest.raises(SupersededError):
        slow.end("release")
    assert not slow.committed()
    assert log.last()[0] == 2


def test_dead_local_owner_is_taken_over_at_once(log: LeaseLog) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = this_process()
    import psutil

    owner = me.model_copy(update={"pid": child.pid, "started": psutil.Process(child.pid).create_time()})
    assert not owner.gone()
    own(log, 1, owner)
    child.kill()
    take(log, ttl=3600).end("release")  # still a zombie: nobody has waited for it
    child.communicate()
    own(log, 4, owner)
    take(log, ttl=3600).end("release")


def test_reused_pid_is_not_the_owner(log: LeaseLog) -> None:
    own(log, 1, this_process().model_copy(update={"started": 12345.0}))
    take(log, ttl=3600).end("release")


def test_silent_remote_owner_is_dead_after_ttl_of_observer(log: LeaseLog, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: now[0])
    own(log, 1, elsewhere())
    watch = lease_module._Watch(90)
    assert not watch.dead(log, 1, elsewhere())
    now[0] += 89
    assert not watch.dead(log, 1, elsewhere())
    log.objects.write(log.heartbeat_key(1), b'{"beat": 7}')
    now[0] += 2
    assert not watch.dead(log, 1, elsewhere())  # its heartbeat changed
    now[0] += 89
    assert not watch.dead(log, 1, elsewhere())
    now[0] += 2
    assert watch.dead(log, 1, elsewhere())
    assert not watch.dead(log, 3, elsewhere())  # another owner took over: its time starts now


def test_acquire_waits_for_live_owner_and_names_it(log: LeaseLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_BEATS_PER_TTL", 1000)
    lease = take(log, ttl=60)
    waited: list[Owner | None] = []
    waiting = threading.Event()

    def record(owner: Owner | None) -> None:
        waited.append(owner)
        waiting.set()

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(acquire, log, 60, record)
        assert waiting.wait(TIMEOUT)
        beats: set[bytes | None] = set()
        while len(beats) < 4:
            beats.add(log.heartbeat(1))
            assert not second.done()
        lease.end("release")
        taken = second.result(TIMEOUT)
    assert waited == [this_process()]
    assert taken is not None and taken.number == 3
    taken.end("release")


def test_heartbeat_notices_lost_lease(log: LeaseLog) -> None:
    lease = take(log, ttl=0.1)
    assert not lease.lost
    own(log, 2, elsewhere())
    assert lease._lost.wait(TIMEOUT)
    assert lease.lost


def test_damaged_entry_is_not_a_free_lease(log: LeaseLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.objects.create("corpus/wiki-0123/lease/000001.json", b"\x00garbage")
    assert log.last() == (1, None)
    now = [0.0]
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(lease_module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    reported: list[Any] = []
    lease = acquire(log, 5, reported.append)
    assert lease is not None and lease.number == 2
    assert reported == [None] and now[0] > 5
    lease.end("release")


class Unreliable:
    """Objects whose `create` fails whether or not it was applied, as over a bad network."""

    def __init__(self, objects: Objects, applied: list[bool], error: type[OSError]) -> None:
        self.objects = objects
        self.root = objects.root
        self.applied = applied
        self.error = error

    def create(self, key: str, data: bytes) -> None:
        if not self.applied:
            return self.objects.create(key, data)
        if self.applied.pop(0):
            self.objects.create(key, data)
        raise self.error("acknowledgement lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


@pytest.mark.parametrize("error", [FileExistsError, TimeoutError, OSError])
@pytest.mark.parametrize("applied", [[True], [False], [False, True], [False, False]])
def test_winner_knows_it_won_when_acknowledgement_is_lost(root: str, applied: list[bool], error: type[OSError]) -> None:
    if error is FileExistsError and False in applied:
        applied = [True]  # a store raises this only for an existing object
    log = LeaseLog(Unreliable(open_objects(root), list(applied), error), "corpus/a")
    lease = take(log)
    assert lease.number == 1
    log.objects.applied = list(applied)  # type: ignore[attr-defined]
    lease.end("commit", record={})
    assert lease.committed()


def test_loser_knows_it_lost_when_acknowledgement_is_lost(root: str) -> None:
    objects = open_objects(root)
    own(LeaseLog(objects, "corpus/a"), 1, elsewhere())
    unreliable = LeaseLog(Unreliable(objects, [False], TimeoutError), "corpus/a")
    assert not unreliable.append(1, Entry(act="own", nonce="x", owner=this_process()))


def test_outage_raises_and_writes_nothing(root: str) -> None:
    log = LeaseLog(Unreliable(open_objects(root), [False] * 3, TimeoutError), "corpus/a")
    with pytest.raises(TimeoutError):
        log.append(1, Entry(act="own", nonce="x", owner=this_process()))
    assert log.last() == (0, None)


acts = st.lists(st.tuples(st.sampled_from(["take", "commit", "release", "set-aside"]), st.integers(0, 3)), max_size=25)


@given(acts)
@settings(deadline=None, max_examples=150)
def test_any_history_has_one_owner_who_alone_commits(history: list[tuple[str, int]]) -> None:
    """Check the log against the rule of one owner while four workers take over, commit and release in any order."""
    log = LeaseLog(open_objects(f"memory://{uuid.uuid4().hex}"), "corpus/a")
    held: dict[int, Lease] = {}
    owner: int | None = None
    complete = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Owner, "gone", lambda self: True)  # every owner looks dead, so any can be taken over
        for act, worker in history:
            if act == "take":
                lease = acquire(log)
                assert (lease is None) == complete
                if lease is not None:
                    held[worker], owner = lease, worker
            elif act == "set-aside":
                number, last = log.last()
                if last is not None and last.act == "commit":
                    assert log.append(number + 1, Entry(act="set-aside", nonce="x", owner=this_process()))
                    complete = False
            elif worker in held:
                lease = held.pop(worker)
                try:
                    lease.end("commit" if act == "commit" else "release", record={})
                    assert worker == owner
                    complete, owner = act == "commit", None
                except SupersededError:
                    assert worker != owner
    entries = [json.loads(log.objects.read(f"corpus/a/lease/{n:06d}.json") or b"") for n in range(1, log.last()[0] + 1)]
    for before, after in itertools.pairwise(entries):
        if after["act"] in ("commit", "release"):
            assert (before["act"], before["nonce"]) == ("own", after["nonce"])
        if before["act"] == "commit":
            assert after["act"] == "set-aside"
