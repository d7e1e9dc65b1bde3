"""What made an artifact beside its declared values: the source of its step, the commit, the environment.

None of it bears identity. It is kept in the record so that a difference can be named.
"""

import ast
import hashlib
import os
import platform
import subprocess
import zlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import canonical

if TYPE_CHECKING:
    from olmo_core.artifact.job import Work

# Packages whose version can change a byte of some artifact.
_PACKAGES = ("huggingface_hub", "numpy", "safetensors", "tokenizers", "torch", "transformers", "zstandard")
# What torch asks of an x86 processor before it lets oneDNN multiply bf16 (mkldnn_bf16_device_check), and the settings
# of oneDNN below that.
_BF16_FLAGS = frozenset({"avx512bw", "avx512vl", "avx512dq"})
_NO_BF16_ISA = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI"})


class Source(BaseModel):
    """The source of a step's work over its import closure inside the project."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="Sha256 over the digests of all modules.")
    modules: dict[str, str] = Field(description="Module name -> sha256 of its file.")

    def changed(self, now: "Source") -> list[str]:
        """Return the modules that were added, removed or edited between this source and `now`, sorted."""
        names = self.modules.keys() | now.modules.keys()
        return sorted(name for name in names if self.modules.get(name) != now.modules.get(name))


class Code(BaseModel):
    """The state of the project's git checkout; all None outside one."""

    model_config = ConfigDict(frozen=True)

    commit: str | None = Field(default=None, description="Commit id, 40 hex digits.")
    dirty: bool | None = Field(default=None, description="Whether tracked files differ from the commit.")


class Environment(BaseModel):
    """Interpreter, machine and packages; bytes are promised equal only inside one digest."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="Sha256 over everything else here.")
    python: str = Field(description="Version of Python.")
    machine: str = Field(description="Operating system and processor architecture.")
    cpu: str = Field(description="Widest vector instructions PyTorch would pick: AVX512, AVX2, SVE256 or DEFAULT.")
    arithmetic: str = Field(
        default="",
        description="What decides the bits of matrix products: the CPU's instructions, how it multiplies bf16, GPUs.",
    )
    zlib: str = Field(description="Version of zlib, which decides the bytes of gz files.")
    packages: dict[str, str] = Field(description="Package -> version, for the packages that can change bytes.")


def source_of(work: "Work") -> Source:
    """Return the source of the module of a work function and of every module of its top-level package that is imported.

    Imports inside functions count; those under `if TYPE_CHECKING` do not, because they never run. Files that are read
    rather than imported do not count either: their step's version stands for them.
    """
    top = work.__module__.partition(".")[0]
    modules: dict[str, str] = {}
    todo = [work.__module__]
    while todo:
        module = todo.pop()
        if module in modules or (path := _module_file(module)) is None:
            continue
        modules[module], imported = _read(path, path.stat().st_mtime_ns, module)
        todo += [other for other in imported if other.partition(".")[0] == top]
    modules = dict(sorted(modules.items()))
    return Source(digest=hashlib.sha256(canonical(modules).encode()).hexdigest(), modules=modules)


def _module_file(module: str) -> Path | None:
    """Return the file of a module, None where the name is no module. Looks at files only: nothing is executed."""
    top, *below = module.split(".")
    spec = _top_level(top)
    if spec is None or not below:
        return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
    for location in spec.submodule_search_locations or ():
        stem = Path(location, *below)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@lru_cache(maxsize=64)
def _top_level(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ValueError:  # made by hand or `__main__`: work without a file that could be named
        return None


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int, module: str) -> tuple[str, tuple[str, ...]]:
    text = path.read_bytes()
    return hashlib.sha256(text).hexdigest(), tuple(_imports(ast.parse(text, str(path)), module, path))


def _imports(tree: ast.AST, module: str, path: Path) -> Iterator[str]:
    """Yield the names of modules that may be imported; a name that turns out to be no module is harmless."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                parents = package[: len(package) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (name for other in node.orelse for name in _imports(ast.Module([other], []), module, path))
        else:
            yield from _imports(node, module, path)


@lru_cache(maxsize=1)
def code_state() -> Code:
    """Return commit and dirty flag of the checkout this file is tracked in; nothing where it is installed."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return Code()
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return Code(commit=_git(here.parent, "rev-parse", "HEAD"), dirty=None if changes is None else bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return what this process runs in, without importing any of the packages."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    values = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_capability(),
        "arithmetic": _arithmetic(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    digest = hashlib.sha256(canonical({**values, "packages": packages}).encode()).hexdigest()
    return Environment(digest=digest, packages=packages, **values)


def _cpu_flags() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split())
    except OSError:
        return set()


def _cpu_capability() -> str:
    """Return what `torch.backends.cpu.get_cpu_capability()` would say, read from the kernel instead."""
    if wanted := os.environ.get("ATEN_CPU_CAPABILITY"):
        return wanted.upper()
    flags = _cpu_flags()
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma"} <= flags:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= flags else "DEFAULT"


def _arithmetic() -> str:
    """Return what `olmo_core.model.arithmetic` chooses by, read from the kernel instead of from torch."""
    flags, lowered = _cpu_flags(), os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    kernels = flags >= _BF16_FLAGS and lowered.upper() not in _NO_BF16_ISA
    gpus = sorted({_gpu_model(path) for path in Path("/proc/driver/nvidia/gpus").glob("*/information")})
    return ", ".join([f"CPU {_cpu_capability()}", "own bf16" if kernels else "bf16 in fp32", *gpus])


def _gpu_model(information: Path) -> str:
    return information.read_text().partition("Model:")[2].partition("\n")[0].strip()
