"""Turning a function into machine code, once for all kernels of this folder. Ours.

numba is an optional dependency (`nonet[text]`); a module with kernels imports this one, and whoever lacks
numba reads how to get it. Machine code is kept in `__pycache__` beside the source (or in NUMBA_CACHE_DIR) and
used again as long as that source file is unchanged. Trap: only the file of the function that Python calls is
looked at, not the files of the kernels that it calls in turn.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from nonet.errors import needs

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The same function as machine code that runs without Python's global lock.

    Args:
        function: plain loops over numpy arrays and numbers; other kernels may be called.

    Returns:
        The compiled function; the first call with new argument types compiles, or loads what an earlier
        process compiled.

    Raises:
        UserError: numba is not installed.
    """
    numba = needs("numba", to=f"compile {function.__module__}", install="nonet[text]")
    machine_code: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return machine_code
