"""Which of its forms a kernel uses: the reference in torch operators, Triton, or numba's. Source: ours.

Triton is taken for CUDA tensors where it is installed. The environment variable NONET_KERNELS overrides that:
`reference` for every device, `triton` without a silent way round it (on CPU tensors this needs Triton's
interpreter, TRITON_INTERPRET=1, which is for tests: it is some thousand times slower). Some kernels have a
form that numba compiles for the CPU, which is taken where numba is installed and nothing else is asked for.
"""

import functools
import importlib.util
import os
from types import ModuleType
from typing import Literal

from torch import Tensor

from nonet.errors import UserError, needs

Backend = Literal["reference", "triton"]


def backend(tensor: Tensor) -> Backend:
    """The form of a kernel to use for tensors like this one.

    Raises:
        UserError: NONET_KERNELS is neither empty, `reference` nor `triton`, or asks for Triton on CPU tensors
            without the interpreter.
    """
    wanted = os.environ.get("NONET_KERNELS", "")
    if wanted not in ("", "reference", "triton"):
        raise UserError(
            f"NONET_KERNELS={wanted}: say reference or triton, or leave it out to let the device decide"
        )
    if wanted == "triton" and not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(
            f"NONET_KERNELS=triton, but the tensors are on {tensor.device}: use CUDA, or leave it out"
        )
    if wanted == "reference" or (wanted == "" and not (tensor.is_cuda and _triton_is_installed())):
        return "reference"
    return "triton"


def compiled_form(tensor: Tensor) -> bool:
    """Whether the compiled form (numba) is taken for a tensor: on the CPU where numba is installed.

    The environment variable NONET_KERNELS=reference turns it off, as it does with Triton.
    """
    wanted = os.environ.get("NONET_KERNELS", "")
    return tensor.device.type == "cpu" and wanted == "" and _numba_is_installed()


@functools.cache
def import_triton() -> ModuleType:
    """Triton, imported at the first need: that takes a quarter of a second, and 700 MB of disk to have it.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # today's default; 3.9 warns that it will change
    return needs("triton", to="run Triton kernels", install="nonet[gpu]")


@functools.cache
def _triton_is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None
