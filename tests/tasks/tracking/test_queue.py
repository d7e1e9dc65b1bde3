import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.tracking import queue as inbox_module
from tasks.tracking.queue import EventQueue, QueuedEvent, batches, merged


def write(folder: Path, name: str, *events: object, tail: str = "") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events) + tail)


def everything(queue: EventQueue) -> list[dict]:
    found = []
    while items := queue.read():
        for item in items:
            found.append(item.event)
            queue.done(item)
    return found


def event(n: int) -> dict:
    return {"event": "step", "recipe": "tiny", "release": "r", "time": 0.5, "n": n}


def metrics(run: str, *steps: int) -> dict:
    points = [[step, 0.5, {"loss": 1.0}] for step in steps]
    return {"event": "metrics", "recipe": "tiny", "release": "r", "time": 0.5, "id": run, "points": points}


def test_lines_are_read_once_in_file_order(tmp_path):
    write(tmp_path, "1", event(1), event(2))
    write(tmp_path, "0", event(0))
    assert everything(EventQueue(tmp_path, "a")) == [event(0), event(1), event(2)]
    assert everything(EventQueue(tmp_path, "a")) == []


def test_another_address_gets_everything(tmp_path):
    write(tmp_path, "0", event(0))
    everything(EventQueue(tmp_path, "a"))
    assert EventQueue(tmp_path, "a").left() == 0
    assert EventQueue(tmp_path, "b").left() == 1


def test_incomplete_line_waits_and_blocks_nothing(tmp_path):
    text = json.dumps(event(1))
    write(tmp_path, "0", event(0), tail=text[:9])
    write(tmp_path, "1", event(2))
    queue = EventQueue(tmp_path, "a")
    assert everything(queue) == [event(0), event(2)]
    assert queue.left() == 0
    write(tmp_path, "0", tail=text[9:] + "\n")
    assert queue.left() == 1
    assert everything(queue) == [event(1)]


def test_line_read_but_not_done_is_read_again(tmp_path):
    write(tmp_path, "0", event(0), event(1))
    queue = EventQueue(tmp_path, "a")
    first, _ = queue.read()
    queue.done(first)
    assert [item.event for item in EventQueue(tmp_path, "a").read()] == [event(1)]


def test_large_file_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox_module, "READ_BYTES", 500)
    events = [event(n) for n in range(40)]
    write(tmp_path, "0", *events)
    queue = EventQueue(tmp_path, "a")
    assert len(queue.read()) < 40
    assert queue.left() == 40
    assert everything(queue) == events


def test_refused_lines_keep_their_reason_until_forgotten(tmp_path):
    write(tmp_path, "0", event(0), tail="junk\n")
    queue = EventQueue(tmp_path, "a")
    good, junk = queue.read()
    assert junk.event == {}
    queue.done(good)
    queue.refuse(junk, "unreadable")
    assert (queue.left(), [entry["reason"] for entry in queue.refused()]) == (0, ["unreadable"])
    queue.forget()
    assert (queue.left(), list(queue.refused())) == (2, [])


def test_damaged_positions_restart_from_the_beginning(tmp_path):
    write(tmp_path, "0", event(0))
    queue = EventQueue(tmp_path, "a")
    everything(queue)
    [note] = tmp_path.glob("shipped-*.json")
    note.write_text("")
    assert queue.left() == 1


@given(st.lists(st.sampled_from([metrics("a", 1), metrics("b", 2), event(0)]), max_size=12))
def test_batches_keep_every_line_in_order(events):
    items = [QueuedEvent("0", n, event) for n, event in enumerate(events)]
    split = list(batches(items))
    assert [item for batch in split for item in batch] == items
    for batch in split:
        assert len({item.event["event"] for item in batch}) == 1
        assert len(batch) == 1 or batch[0].event["event"] == "metrics"


def test_metrics_of_one_run_become_one_event():
    items = [QueuedEvent("0", 0, event) for event in (metrics("a", 1, 2), metrics("b", 1), metrics("a", 3))]
    assert list(merged(items)) == [metrics("a", 1, 2, 3), metrics("b", 1)]
    assert items[0].event == metrics("a", 1, 2)
