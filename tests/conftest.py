"""What holds whichever test comes first: settings that libraries read when imported, threads, the order of files."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_DISABLE_XET"] = "1"  # the test server speaks the Hub's protocol without its newer storage back end
os.environ["DO_NOT_TRACK"] = "1"
settings.register_profile("any speed", deadline=None)  # 200 ms by default, which a busy machine passes
settings.load_profile("any speed")

# Whole releases, servers and subprocesses: minutes to a quarter of a minute each, where other files take seconds.
LONGEST_FIRST = (
    "flows/test_services.py",
    "flows/test_release.py",
    "flows/test_ended.py",
    "tasks/tracking/test_sender_killed.py",
    "tasks/workers/test_training.py",
    "benchmarks/test_train_step.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Beside another, a process computes with one thread: with two each, they would wait for one another.

    Objects created while tests are collected stay alive, so the garbage collector need not scan them.
    """
    gc.disable()
    if hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out the longest files first: whatever process gets one of them last is waited for by all others."""
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> int:
    named = (turn for turn, name in enumerate(LONGEST_FIRST) if str(path).endswith(name))
    return next(named, len(LONGEST_FIRST))
