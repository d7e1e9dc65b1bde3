"""How the ranks of a run begin together: what rank 0 tells the others, and what they do about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.store import Store
from olmo_core.train.distributed import group, launch
from olmo_core.train.distributed.group import device_of, joined
from olmo_core.train.distributed.launch import make_run
from olmo_core.train.placement import TrainPlacement

HERE = TrainPlacement(threads=1)


def mixed(job: Job) -> dict[str, Any]:
    (job.out / "mix.txt").write_text("mix")
    return {}


def trained(job: Job) -> dict[str, Any]:
    (job.out / "history.txt").write_text((job.inputs["mix"].path / "mix.txt").read_text())
    return {}


MIX = Step("mix", "m", 1, work=mixed)
RUN = Step("run", "r", 1, inputs={"mix": MIX}, work=trained)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    make(MIX, store)
    return store


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The messages that rank 0 of two sends."""
    messages: list[bool] = []
    monkeypatch.setattr(launch, "rank_and_world", lambda: (0, 2))
    monkeypatch.setattr(dist, "broadcast", lambda message, _: messages.append(bool(message.item())))
    return messages


def begins(message: Tensor) -> None:
    message.fill_(1)


def is_there(message: Tensor) -> None:
    message.fill_(0)


def rank_1(monkeypatch: pytest.MonkeyPatch, receive: Callable[[Tensor], None]) -> list[Job]:
    """Be rank 1, which receives a message; returns the jobs that it trains."""
    jobs: list[Job] = []
    monkeypatch.setattr(launch, "rank_and_world", lambda: (1, 2))
    monkeypatch.setattr(dist, "broadcast", lambda message, _: receive(message))
    monkeypatch.setattr(launch, "train", jobs.append)
    return jobs


def test_rank_0_sends_one_message_that_the_run_begins_or_exists(store: Store, sent: list[bool]) -> None:
    make_run(RUN, store, HERE)
    assert sent == [True]
    make_run(RUN, store, HERE)
    assert sent == [True, False]


def test_message_precedes_work_and_is_not_sent_if_an_input_is_missing(
    tmp_path: Path, store: Store, sent: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(dist, "broadcast", lambda *_: begun.append(len(list(store.records("run")))))
    make_run(RUN, store, HERE)
    assert begun == [0], "at the message nothing was committed yet"
    with pytest.raises(MissingInputError, match="mix/m"):
        make_run(RUN, Store(tmp_path / "empty"), HERE)
    assert begun == [0], "ranks without a message end with rank 0"


def test_other_rank_trains_in_a_folder_of_its_own_that_is_gone_afterwards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[bool] = []
    jobs = rank_1(monkeypatch, begins)
    monkeypatch.setattr(launch, "train", lambda job: (jobs.append(job), folders.append(job.out.is_dir())))
    make_run(RUN, store, HERE)
    (job,) = jobs
    assert (job.step, job.placement, folders) == (RUN, HERE, [True])
    assert (job.inputs["mix"].path / "mix.txt").read_text() == "mix"
    assert job.find(MIX) is not None
    assert not job.out.exists()
    assert store.find(RUN) is None, "only rank 0 commits"


def test_other_rank_has_nothing_to_do_where_the_run_is_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = rank_1(monkeypatch, is_there)
    make_run(RUN, store, HERE)
    assert jobs == []


def test_rank_reports_that_rank_0_ended_before_the_run_began(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(_: Tensor) -> None:
        raise RuntimeError("Connection closed by peer")

    jobs = rank_1(monkeypatch, receive)
    with pytest.raises(RuntimeError, match="rank 0 ended before") as error:
        make_run(RUN, store, HERE)
    assert str(error.value.__cause__) == "Connection closed by peer"
    assert jobs == []


def test_other_rank_names_the_input_that_it_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rank_1(monkeypatch, begins)
    elsewhere = Store(tmp_path / "another disk")
    with pytest.raises(MissingInputError, match=r"run/r .*mix/m \(mix\).*another disk"):
        make_run(RUN, elsewhere, HERE)


def test_lone_process_sends_no_message(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "broadcast", lambda *_: pytest.fail("no other rank exists"))
    make_run(RUN, store, HERE)
    assert store.find(RUN) is not None


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the process group, without one."""
    done: list[str] = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend: done.append(f"join by {backend}"))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("leave"))
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    return done


def test_process_of_torchrun_joins_and_leaves_the_group_even_after_an_error(
    groups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(KeyError), joined(HERE) as rank:
        assert (rank, groups) == (3, ["join by gloo"])
        raise KeyError
    assert groups == ["join by gloo", "leave"]


def test_plain_process_joins_nothing(groups: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(HERE) as rank:
        assert rank == 0
    assert groups == []


@pytest.mark.parametrize(("local_rank", "gpu"), [(None, 0), ("1", 1), ("5", 1), ("4", 0)])
def test_rank_takes_the_gpu_of_its_number_on_the_host(
    groups: list[str], local_rank: str | None, gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen: list[torch.device] = []
    monkeypatch.setattr(group.torch.cuda, "set_device", chosen.append)
    if local_rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    placement = TrainPlacement(device="cuda")
    assert device_of(placement) == torch.device("cuda", gpu)
    with joined(placement):
        assert chosen == [torch.device("cuda", gpu)]
        assert groups == ["join by nccl"]


def test_rank_on_the_cpu_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asking starts CUDA"))
    assert device_of(HERE) == torch.device("cpu")
