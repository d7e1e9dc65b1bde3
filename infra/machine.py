"""This machine: its processor, and what it does in a second, measured once for each shape of model and kept in home.

Measuring takes a second in a process of its own, because it needs torch, which planning does without.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from olmo_core.artifact.source import environment
from olmo_core.recipe.machine import REFERENCE_SECONDS, Machine
from olmo_core.recipe.recipe import Recipe

FILE = "machine.json"
LIMIT_SECONDS = 120


def known_machine(recipe: Recipe, home: Path) -> Machine | None:
    """Return what is kept of this machine and the products of a recipe, None where they were not all measured."""
    asked = _asked(recipe)
    here = _read(home / FILE).get(_key(), {})
    rates = here.get("rates", {}).get(_shape(asked), {})
    if set(asked["precisions"]) - rates.keys():
        return None
    return Machine(processor(), cores(), rates, here["plain_seconds"] / REFERENCE_SECONDS)


def measured_machine(recipe: Recipe, home: Path) -> Machine | None:
    """Return what this machine does with the products of a recipe, measured now where that is not known yet.

    It is kept in `home`, where that can be written. None where it cannot be measured.
    """
    if (known := known_machine(recipe, home)) is not None:
        return known
    asked = _asked(recipe)
    found = _measure(asked)
    if found is None:
        return None
    kept = _read(home / FILE)
    here = kept.setdefault(_key(), {})
    here.setdefault("rates", {})[_shape(asked)] = found["rates"]
    here["plain_seconds"] = min(found["plain_seconds"], here.get("plain_seconds", found["plain_seconds"]))
    _write(home / FILE, kept)
    return Machine(processor(), cores(), found["rates"], here["plain_seconds"] / REFERENCE_SECONDS)


def processor() -> str:
    """Return the processor for people: `AMD EPYC (family 25, model 1), AVX2`."""
    facts = _cpuinfo()
    name = facts.get("model name") or platform.processor() or platform.machine()
    kind = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return f"{name}{kind}, {environment().cpu}"


def cores() -> int:
    """Return how many CPUs this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _asked(recipe: Recipe) -> dict[str, Any]:
    """Return what `machine_rate` is asked: the shape of the first stage, in every precision of the recipe."""
    stages = list(recipe.stages.values())
    precisions = {*(stage.precision for stage in stages), recipe.evaluation.scoring.precision}
    shape = recipe.shape_of(next(iter(recipe.stages)))
    size = {name: getattr(shape, name) for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "hidden_size")}
    model = {**size, "vocab_size": shape.padded_vocab_size, "context_length": shape.context_length}
    return {"model": model, "rows": stages[0].batch_size * stages[0].sequence_length, "precisions": sorted(precisions)}


def _key() -> str:
    return f"{processor()}; torch {version('torch')}"


def _shape(asked: Mapping[str, Any]) -> str:
    model = asked["model"]
    widths = "x".join(str(model[name]) for name in ("d_model", "hidden_size", "vocab_size"))
    return f"{widths}, {model['n_layers']} layers, {asked['rows']} rows"


def _measure(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    command = [sys.executable, "-P", "-m", "olmo_core.train.machine_rate", json.dumps(asked)]
    try:
        run = subprocess.run(command, capture_output=True, check=True, timeout=LIMIT_SECONDS)
        found: dict[str, Any] = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what is kept; nothing where the file is not there or damaged, for it can be measured again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, known: Mapping[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # a full or read-only disk is told of by what needs it
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        part.replace(path)


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor, nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
