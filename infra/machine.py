"""This machine: its processor and its speed, measured once for each shape of model and stored in the home folder.

The measurement takes a second. It runs in its own process because it needs torch, which planning does not import.
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
    """Return this machine as measured for the matrix products of a recipe; None if some were not measured yet."""
    products = _products(recipe)
    entry = _read(home / FILE).get(_key(), {})
    rates = entry.get("rates", {}).get(_shape(products), {})
    if set(products["precisions"]) - rates.keys():
        return None
    return Machine(processor(), cores(), rates, entry["plain_seconds"] / REFERENCE_SECONDS)


def measured_machine(recipe: Recipe, home: Path) -> Machine | None:
    """Return this machine as measured for the matrix products of a recipe; measure it now if necessary.

    The result is stored in `home` if that is writable. None if the machine cannot be measured.
    """
    if (known := known_machine(recipe, home)) is not None:
        return known
    products = _products(recipe)
    measured = _measure(products)
    if measured is None:
        return None
    stored = _read(home / FILE)
    entry = stored.setdefault(_key(), {})
    entry.setdefault("rates", {})[_shape(products)] = measured["rates"]
    entry["plain_seconds"] = min(measured["plain_seconds"], entry.get("plain_seconds", measured["plain_seconds"]))
    _write(home / FILE, stored)
    return Machine(processor(), cores(), measured["rates"], entry["plain_seconds"] / REFERENCE_SECONDS)


def processor() -> str:
    """Return the name of the processor: `AMD EPYC (family 25, model 1), AVX2`."""
    facts = _cpuinfo()
    name = facts.get("model name") or platform.processor() or platform.machine()
    kind = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return f"{name}{kind}, {environment().cpu}"


def cores() -> int:
    """Return the number of CPUs that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _products(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of `machine_rate`: the shape of the first stage, in every precision of the recipe."""
    stages = list(recipe.stages.values())
    precisions = {*(stage.precision for stage in stages), recipe.evaluation.scoring.precision}
    shape = recipe.shape_of(next(iter(recipe.stages)))
    size = {name: getattr(shape, name) for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "hidden_size")}
    model = {**size, "vocab_size": shape.padded_vocab_size, "context_length": shape.context_length}
    return {"model": model, "rows": stages[0].batch_size * stages[0].sequence_length, "precisions": sorted(precisions)}


def _key() -> str:
    return f"{processor()}; torch {version('torch')}"


def _shape(products: Mapping[str, Any]) -> str:
    model = products["model"]
    widths = "x".join(str(model[name]) for name in ("d_model", "hidden_size", "vocab_size"))
    return f"{widths}, {model['n_layers']} layers, {products['rows']} rows"


def _measure(products: Mapping[str, Any]) -> dict[str, Any] | None:
    command = [sys.executable, "-P", "-m", "olmo_core.train.machine_rate", json.dumps(products)]
    try:
        run = subprocess.run(command, capture_output=True, check=True, timeout=LIMIT_SECONDS)
        measured: dict[str, Any] = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return measured


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stored measurements; {} if the file is missing or damaged, because they can be repeated."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _write(path: Path, measurements: Mapping[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # code that needs the disk reports it if it is full or read-only
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(measurements, indent=1, sort_keys=True) + "\n")
        part.replace(path)


def _cpuinfo() -> dict[str, str]:
    """Return the entries of /proc/cpuinfo for the first processor; {} where it does not exist."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
