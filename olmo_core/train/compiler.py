"""Whether torch.compile works in this process, found out by compiling and loading an empty kernel.

A compiler on the path is not enough: it may lack the headers of Python, or its output may be in a folder mounted
noexec. Either would end a run at its first training step.
"""

from functools import cache
from pathlib import Path

from olmo_core.artifact.imports import swift_imports

EMPTY = 'extern "C" void kernel() {}'


@cache
def compiler_trouble() -> str:
    """Return one line with the reason why compiling fails here and the remedy; '' if it works.

    The test library stays in inductor's cache, with the header that all kernels share, so a second process on this
    machine only loads it.
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
        return f"{config.cpp.cxx[-1]!r} is not a working C++ compiler; install g++, or set CXX to another one"
    except CppCompileError as error:
        lines = [line for line in str(error).splitlines() if "error:" in line]
        reason = lines[0].partition("error:")[2].strip() if lines else str(error).strip().splitlines()[-1]
        remedy = "install the headers of this Python (Debian: python3-dev)" if "Python.h" in reason else "repair it"
        return f"the C++ compiler fails: {reason}; {remedy}"
    except (ImportError, OSError) as error:
        where = f"{folder} cannot hold compiled code" if folder else "inductor's folder cannot be created"
        return (
            f"{where} ({_first_line(error)}); set TORCHINDUCTOR_CACHE_DIR to a writable folder that is not mounted "
            "noexec"
        )
    return ""


def _first_line(error: Exception) -> str:
    root = error.__cause__ or error
    return str(root).strip().splitlines()[0].removesuffix(".")
