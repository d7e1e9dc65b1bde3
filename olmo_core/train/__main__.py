"""Train the runs of one stage without the rest of a release, in this process or under torchrun:

    python -m olmo_core.train RECIPE --stage stage1 --a.b=c
    torchrun --nproc_per_node=8 -m olmo_core.train RECIPE --stage stage1 --profile PROFILE

The artifacts in the profile's store are the same as after a release. The inputs of a run (mix, token files, start
checkpoint) must exist, except for weights from elsewhere; `olmo run RECIPE --only data` makes them. On Ctrl-C or
SIGTERM, the run saves after the current step and exits with code 130 or 143; the same command resumes it.

Nothing imports this module, so it may import from above this room: the recipe, and the profile from the floor above.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError, overrides_of
from olmo_core.recipe.plan import Plan, Run
from olmo_core.recipe.recipe import load_recipe
from olmo_core.tokens.ranges import RangeError

SIGNALED = 128  # The exit code after a signal is this plus the signal's number.
SHOW_SECONDS = 5.0


class StoppedError(BaseException):
    """A signal that ends the process at once. Not an `Exception`, so that no handler mistakes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str]) -> int:
    """Train, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m olmo_core.train", description="Train the runs of a stage.")
    parser.add_argument("recipe", help="a recipe by name, or a YAML file; --a.b=c or --a.b c changes a field of it")
    parser.add_argument("--stage", required=True, help="the stage to train")
    parser.add_argument("--seed", type=int, help="train only the run with this seed; by default all, one after another")
    parser.add_argument(
        "--load_path",
        metavar="PATH_OR_REPO[@REVISION]",
        help="weights to start from, instead of the recipe's `start`: a folder, or a repository on the Hub",
    )
    parser.add_argument(
        "--reset_trainer_state",
        action="store_true",
        help="restart steps, data order and schedule, as every start does; required with --load_path",
    )
    parser.add_argument("--profile", default="laptop", help="where and how to train: a profile by name, or a YAML file")
    given, words = parser.parse_known_args(arguments)
    try:
        with _stoppable():
            return _train(given, overrides_of(words))
    except StoppedError as stopped:
        sys.stderr.write("interrupted: what was committed is kept; run the same command to go on\n")
        return SIGNALED + stopped.number
    except (ConfigError, ValueError, LookupError, MemoryError, RangeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise `StoppedError` at the first SIGINT or SIGTERM, except while training handles them."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN if "WORLD_SIZE" in os.environ else signal.SIG_DFL)
        raise StoppedError(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(given: argparse.Namespace, overrides: list[str]) -> int:
    from infra.profile import load_profile  # here, because our packages now precede others with the same name

    profile = load_profile(given.profile)
    plan = _plan(given, overrides, profile)
    runs = _runs(plan, given.stage, given.seed)
    store = Store(profile.store_root, scratch=profile.folder / "scratch")

    # Imported late, so that an error on the command line is reported at once.
    from olmo_core.train.distributed.group import joined
    from olmo_core.train.distributed.launch import make_run
    from olmo_core.train.preemption import PreemptedError

    placement = plan.workers(runs[0].step, profile).placement
    with joined(placement) as rank:
        for run in runs:
            start = run.step.inputs.get("start")
            if rank == 0 and start is not None and start.kind == "pretrained":
                make(start, store, profile.placement)
            try:
                make_run(run.step, store, placement, **({"progress": Shown(run.step.name)} if rank == 0 else {}))
            except PreemptedError as error:
                # One write: ranks share the terminal, and `print` may write the end of the line apart.
                sys.stderr.write(f"interrupted: {error}; run the same command to go on\n")
                return SIGNALED + error.number
            if rank == 0:
                print(f"{run.step.label}: complete in {store.root}/{run.step.folder}")
    return 0


def _plan(given: argparse.Namespace, overrides: list[str], compute: Compute) -> Plan:
    if (given.load_path is not None) != given.reset_trainer_state:
        raise ConfigError(
            "--load_path and --reset_trainer_state: weights from elsewhere begin a separate run; give both, or "
            "neither to start as the recipe says or to resume a run that was stopped"
        )
    recipe = load_recipe(given.recipe, overrides)
    if given.stage not in recipe.stages:
        raise ConfigError(f"--stage {given.stage}: recipe {recipe.name} has {', '.join(recipe.stages)}")
    if given.load_path is not None:
        from olmo_core.hub.address import pretrained_at

        start = pretrained_at(given.load_path, compute.placement.hub).model_dump(exclude_none=True)
        recipe = load_recipe(given.recipe, [*overrides, f"--stages.{given.stage}.start={json.dumps(start)}"])
    try:
        return lay_out(recipe)
    except ValueError as error:
        raise ConfigError(f"recipe {given.recipe}: {error}") from error


def _runs(plan: Plan, stage: str, seed: int | None) -> list[Run]:
    runs = [run for run in plan.runs[stage] if seed in (None, run.seed)]
    if not runs:
        seeds = ", ".join(str(run.seed) for run in plan.runs[stage])
        raise ConfigError(f"--seed {seed}: stage {stage} has the seeds {seeds}")
    return runs


class Shown:
    """Progress lines: one before the first step, which compiles, one after it, then one every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = False
        self._next = 0.0

    def __call__(self, done: float, total: float, unit: str, **shown: float) -> None:
        """Print a line, unless the last one is only seconds old."""
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + SHOW_SECONDS if self._began else 0.0
            self._began = True
            values = "".join(f", {name} {value:.4g}" for name, value in shown.items())
            print(f"{self._name}: {done:,.0f} of {total:,.0f} {unit}{values}", file=sys.stderr)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the user may have a folder called `infra` too
    sys.exit(main(sys.argv[1:]))
