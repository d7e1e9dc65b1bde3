"""Whether torch.compile can work in this process: what it does first is tried once on an empty kernel.

A compiler on the path is not enough: it may find no headers of Python, and what it wrote may lie in a folder from which
nothing may be run. Either would end a run at its first training step.
"""

from functools import cache
from pathlib import Path

from olmo_core.artifact.imports import swift_imports

EMPTY = 'extern "C" void kernel() {}'


@cache
def compiler_trouble() -> str:
    """Return why nothing can be compiled here and how to mend it, in one line; '' where it can.

    The library that is tried stays in inductor's cache, with the header that all kernels share: a second process of
    this machine only loads it.
    """
    with swift_imports():
        from torch._inductor import config
        from torch._inductor.codecache import CppPythonBindingsCodeCache
        from torch._inductor.exc import CppCompileError, InvalidCxxCompiler
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        from olmo_core.train.compile_cache import remove_torn

    folder = ""
    try:
        folder = cache_dir()
        remove_torn(Path(folder))
        CppPythonBindingsCodeCache.load_pybinding([], EMPTY)
    except InvalidCxxCompiler:
        return f"{config.cpp.cxx[-1]!r} is no C++ compiler that works; install g++, or set CXX to another one"
    except CppCompileError as error:
        lines = [line for line in str(error).splitlines() if "error:" in line]
        reason = lines[0].partition("error:")[2].strip() if lines else str(error).strip().splitlines()[-1]
        remedy = "install the headers of this Python (Debian: python3-dev)" if "Python.h" in reason else "see to it"
        return f"the C++ compiler fails: {reason}; {remedy}"
    except (ImportError, OSError) as error:
        where = f"{folder} cannot hold what is compiled" if folder else "inductor's folder cannot be made"
        return (
            f"{where} ({_first_line(error)}); set TORCHINDUCTOR_CACHE_DIR to a folder that can be written and is not "
            "mounted noexec"
        )
    return ""


def _first_line(error: Exception) -> str:
    root = error.__cause__ or error
    return str(root).strip().splitlines()[0].removesuffix(".")
