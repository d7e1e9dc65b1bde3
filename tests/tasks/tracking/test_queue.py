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


def everything(inbox: EventQueue) -> list[dict]:
    found = []
    while letters := inbox.read():
        for letter in letters:
            found.append(letter.event)
            inbox.done(letter)
    return found


def event(n: int) -> dict:
    return {"event": "step", "recipe": "tiny", "release": "r", "time": 0.5, "n": n}


def metrics(run: str, *steps: int) -> dict:
    points = [[step, 0.5, {"loss": 1.0}] for step in steps]
    return {"event": "metrics", "recipe": "tiny", "release": "r", "time": 0.5, "id": run, "points": points}


def test_lines_come_in_the_order_of_files_and_once(tmp_path):
    write(tmp_path, "1", event(1), event(2))
    write(tmp_path, "0", event(0))
    assert everything(EventQueue(tmp_path, "a")) == [event(0), event(1), event(2)]
    assert everything(EventQueue(tmp_path, "a")) == []


def test_another_address_gets_everything(tmp_path):
    write(tmp_path, "0", event(0))
    everything(EventQueue(tmp_path, "a"))
    assert EventQueue(tmp_path, "a").left() == 0
    assert EventQueue(tmp_path, "b").left() == 1


def test_an_incomplete_line_waits_and_hides_nothing(tmp_path):
    text = json.dumps(event(1))
    write(tmp_path, "0", event(0), tail=text[:9])
    write(tmp_path, "1", event(2))
    inbox = EventQueue(tmp_path, "a")
    assert everything(inbox) == [event(0), event(2)]
    assert inbox.left() == 0
    write(tmp_path, "0", tail=text[9:] + "\n")
    assert inbox.left() == 1
    assert everything(inbox) == [event(1)]


def test_what_was_read_but_not_done_comes_again(tmp_path):
    write(tmp_path, "0", event(0), event(1))
    inbox = EventQueue(tmp_path, "a")
    first, _ = inbox.read()
    inbox.done(first)
    assert [letter.event for letter in EventQueue(tmp_path, "a").read()] == [event(1)]


def test_a_large_file_comes_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox_module, "READ_BYTES", 500)
    events = [event(n) for n in range(40)]
    write(tmp_path, "0", *events)
    inbox = EventQueue(tmp_path, "a")
    assert len(inbox.read()) < 40
    assert inbox.left() == 40
    assert everything(inbox) == events


def test_refused_lines_are_kept_with_their_reason_and_tried_again_after_forgetting(tmp_path):
    write(tmp_path, "0", event(0), tail="junk\n")
    inbox = EventQueue(tmp_path, "a")
    good, junk = inbox.read()
    assert junk.event == {}
    inbox.done(good)
    inbox.refuse(junk, "unreadable")
    assert (inbox.left(), [entry["reason"] for entry in inbox.refused()]) == (0, ["unreadable"])
    inbox.forget()
    assert (inbox.left(), list(inbox.refused())) == (2, [])


def test_a_damaged_note_of_how_far_means_from_the_start(tmp_path):
    write(tmp_path, "0", event(0))
    inbox = EventQueue(tmp_path, "a")
    everything(inbox)
    [note] = tmp_path.glob("shipped-*.json")
    note.write_text("")
    assert inbox.left() == 1


@given(st.lists(st.sampled_from([metrics("a", 1), metrics("b", 2), event(0)]), max_size=12))
def test_batches_keep_every_line_and_the_order(events):
    letters = [QueuedEvent("0", n, event) for n, event in enumerate(events)]
    split = list(batches(letters))
    assert [letter for batch in split for letter in batch] == letters
    for batch in split:
        assert len({letter.event["event"] for letter in batch}) == 1
        assert len(batch) == 1 or batch[0].event["event"] == "metrics"


def test_metrics_of_one_run_become_one_event():
    letters = [QueuedEvent("0", 0, event) for event in (metrics("a", 1, 2), metrics("b", 1), metrics("a", 3))]
    assert list(merged(letters)) == [metrics("a", 1, 2, 3), metrics("b", 1)]
    assert letters[0].event == metrics("a", 1, 2)
