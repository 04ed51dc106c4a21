"""spconv as a form of `nonet.kernels.sparse_conv`, and its weights as ours. Optional: `nonet[spconv]`.

On CUDA it is a choice. On the CPU it is for comparisons at one thread: with two or more, its sums race, and
outputs are wrong now and then, so several threads are refused. Its backward pass asks for a CUDA stream even
on the CPU, where torch may have none: the question is answered with 0 while the pass runs.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor

from nonet.errors import UserError, needs
from nonet.kernels.kernel_map import KernelMap

# Shapes: K taps, C and D channels in and out.


def taps_of_spconv(weight: Tensor, *, axes: Literal["xyz", "zyx"], pointwise: bool = False) -> Tensor:
    """Weights (K, C, D) for `sparse_conv` of a spconv layer's parameter `weight`.

    A layer of size k > 1 keeps (D, k, k, k, C): channels out, a number for each axis of its indices (batch,
    a, b, c), in that order, channels in. Whose indices are (batch, x, y, z), as Pointcept's, has kernels over
    x, y, z; the taps here run over z, y, x. A tap looks in the same direction in both.

    A submanifold layer of size 1 is a plain product, for which spconv views the memory of its parameter as
    (C, D), in whatever shape it is declared: read as (D, 1, 1, 1, C), such a layer is silently wrong.

    Args:
        weight: (D, k, k, k, C), as in spconv 2 (its layout KRSC), or any shape of C * D numbers whose last
            axis is C, for a pointwise layer.
        axes: what the three numbers behind the batch in the layer's indices were.
        pointwise: it is a submanifold layer of size 1.

    Raises:
        ValueError: the shape is not one of these.
    """
    if weight.ndim != 5 or not weight.shape[1] == weight.shape[2] == weight.shape[3]:
        raise ValueError(f"weights {tuple(weight.shape)}: expected (out, k, k, k, in), as in spconv 2")
    D, size, C = weight.shape[0], weight.shape[1], weight.shape[4]
    if pointwise:
        if size != 1:
            raise ValueError(f"weights {tuple(weight.shape)}: a pointwise layer has size 1")
        return weight.contiguous().view(1, C, D)
    spatial = (3, 2, 1) if axes == "xyz" else (1, 2, 3)
    return weight.permute(*spatial, 4, 0).reshape(size**3, C, D)


def weight_of_taps(taps_KCD: Tensor, *, axes: Literal["xyz", "zyx"], pointwise: bool = False) -> Tensor:
    """A spconv layer's parameter (D, k, k, k, C) of weights (K, C, D): the way back of `taps_of_spconv`."""
    K, C, D = taps_KCD.shape
    size = round(K ** (1 / 3))
    if size**3 != K or (pointwise and size != 1):
        raise ValueError(f"{K} taps: expected a cube{', of size 1' if pointwise else ''}")
    if pointwise:
        return taps_KCD.contiguous().view(D, 1, 1, 1, C)
    order = (4, 2, 1, 0, 3) if axes == "xyz" else (4, 0, 1, 2, 3)
    return taps_KCD.reshape(size, size, size, C, D).permute(*order).contiguous()


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """(n_out, D) by spconv. Args as in `nonet.kernels.sparse_conv`.

    Raises:
        UserError: spconv is not installed, or torch has several threads on the CPU.
    """
    with _operators(features) as ops:
        pairs, counts = _pairs(kernel_map)
        found = ops.indice_conv(features, _filters(weight), pairs, counts, kernel_map.n_out)
    return cast(Tensor, found if bias is None else found + bias)


def weight_gradient(features: Tensor, gradient: Tensor, kernel_map: KernelMap) -> Tensor:
    """(K, C, D) by spconv. Args and Raises as in `convolve`."""
    K, C, D = kernel_map.taps, features.shape[1], gradient.shape[1]
    with _operators(features) as ops:
        pairs, counts = _pairs(kernel_map)
        given = _filters(features.new_zeros(K, C, D))
        _, found = ops.indice_conv_backward(features, given, gradient.contiguous(), pairs, counts)
    return cast(Tensor, found.reshape(D, K, C).permute(1, 2, 0).contiguous())


@functools.cache
def import_spconv() -> Any:
    """The module `spconv.pytorch`, without the warnings about old ways that importing it gives.

    Raises:
        UserError: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return needs("spconv.pytorch", to="convolve with spconv", install="nonet[spconv]")


@contextmanager
def no_streams() -> Iterator[None]:
    """Inside the block, spconv's question for a CUDA stream is answered with 0, where torch has no CUDA."""
    ops = import_spconv().ops
    asked = ops.get_current_stream
    ops.get_current_stream = lambda: 0
    try:
        yield
    finally:
        ops.get_current_stream = asked


@contextmanager
def _operators(features: Tensor) -> Iterator[Any]:
    """The operators of spconv, where they are right."""
    ops = import_spconv().ops
    if features.is_cuda:
        yield ops
        return
    if torch.get_num_threads() > 1:
        raise UserError(
            f"spconv on the CPU is wrong with several threads, and torch has {torch.get_num_threads()}: set "
            "OMP_NUM_THREADS=1, or leave NONET_SPARSE_CONV out"
        )
    with no_streams():
        yield ops


def _filters(weight: Tensor) -> Tensor:
    """The layout (D, K, 1, 1, C) that spconv has for weights (K, C, D)."""
    return weight.permute(2, 0, 1).contiguous()[:, :, None, None]


def _pairs(kernel_map: KernelMap) -> tuple[Tensor, Tensor]:
    """The pairs for spconv: (2, K, most) int32, -1 behind the last of a tap, and (K,) int32 counts."""
    if "spconv" not in kernel_map.forms:
        counts = torch.diff(kernel_map.starts)
        most = int(counts.max())
        pairs = torch.full((2, kernel_map.taps, most), -1, dtype=torch.int32, device=kernel_map.inputs.device)
        for tap, (first, last) in enumerate(kernel_map.spans()):
            pairs[0, tap, : last - first] = kernel_map.inputs[first:last]
            pairs[1, tap, : last - first] = kernel_map.outputs[first:last]
        kernel_map.forms["spconv"] = pairs, counts.int().to(pairs.device)
    found: tuple[Tensor, Tensor] = kernel_map.forms["spconv"]
    return found
