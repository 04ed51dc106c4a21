"""A linear layer some of whose weights are masked by learned scores, with the straight-through gradient.

    W' = W * [S > t]      y = x W'^T + b      dW = dW' * [S > t]      dS = dW' * W

as in movement pruning (Sanh, Wolf and Rush 2020, section 3): scores get a gradient as if the mask were S
itself, weights only where they are kept. The mask is never stored: a `Cut` of two numbers says it, and both
directions compare again. Exactly so many weights are kept as asked for, also among equal scores, of which
those with the lower flat index stay: all scores are 0 when a training begins.

The products are torch's. In the Triton form one pass gives W' in autocast's type, and one pass over dW', W
and S gives both gradients. This is an `autograd.Function` because W and S are kept for backward by reference.

Cost, for n weights of b bytes, besides the products:

    forward   reads W and S, writes W': 3 b n bytes; W' lives until backward, which the product needs it for.
    backward  reads dW', W and S, writes dW and dS: 5 b n bytes.
    cut       one selection of the k-th largest of n, linear in n; who calls it decides how often.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.kernels.dispatch import backend, import_triton

# Shapes: O outputs, I inputs, n = O * I weights.

BLOCK = 1024  # weights that a Triton program does


class Cut(NamedTuple):
    """Which values are kept: those above the threshold, and of those equal to it the first ones."""

    threshold: Tensor
    """() of the values' type"""
    last: Tensor
    """() int64, the last flat index at which a value equal to the threshold is kept; -1: at none"""


@torch.no_grad()  # type: ignore[untyped-decorator]
def cut_largest(values: Tensor, kept: int) -> Cut:
    """The cut that keeps exactly so many of the largest values; of equal ones the lower flat index stays.

    Args:
        values: any shape, n floats.
        kept: how many, 0..n.

    Raises:
        ValueError: `kept` is out of range.

    Example:
        All of 5 values are 0 and 3 are kept: the threshold is 0, the last index 2.
    """
    n = values.numel()
    if not 0 <= kept <= n:
        raise ValueError(f"{kept} of {n} values cannot be kept")
    if kept in (0, n):
        infinite = float("inf") if kept == 0 else float("-inf")
        return Cut(values.new_full((), infinite), _number(n * (kept > 0) - 1, values))
    flat = values.detach().reshape(-1)
    if flat.is_cpu and flat.dtype in (torch.float32, torch.float64):
        numbers = flat.numpy()  # numpy selects some 8 times as fast as torch on a CPU
        threshold = np.partition(numbers, n - kept)[n - kept]
        ties = kept - int(np.count_nonzero(numbers > threshold))
        places = np.flatnonzero(numbers == threshold)
        last = n - 1 if ties == len(places) else int(places[ties - 1])
        return Cut(flat.new_tensor(threshold.item()), torch.tensor(last))
    # Nothing here waits for the device: the number of equal values to keep stays a tensor.
    bound = flat.topk(kept, sorted=False).values.amin()
    ties_1 = (kept - (flat > bound).sum()).view(1)
    counted_n = (flat == bound).cumsum(0)
    return Cut(bound, torch.searchsorted(counted_n, ties_1)[0])


def cut_above(values: Tensor, threshold: float) -> Cut:
    """The cut that keeps the values above a threshold."""
    return Cut(values.new_full((), threshold), _number(-1, values))


@torch.no_grad()  # type: ignore[untyped-decorator]
def kept_by(values: Tensor, cut: Cut) -> Tensor:
    """The mask that a cut stands for: bool of the values' shape."""
    if values.is_cpu:
        last = int(cut.last)
        if last < 0:
            return values > cut.threshold
        if last >= values.numel() - 1:
            return values >= cut.threshold
    index = torch.arange(values.numel(), device=values.device).view(values.shape)
    return (values > cut.threshold) | ((values == cut.threshold) & (index <= cut.last))


def masked_weight(
    weight: Tensor,
    cut: Cut,
    *,
    by: Tensor | None = None,
    scores: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """W' = W where the cut keeps `by`, else 0, with the gradients above.

    Args:
        weight: (O, I) floats.
        cut: of `by`, as `cut_largest` or `cut_above` gave it.
        by: (O, I) what the cut compares; the absolute weights if None. It gets no gradient.
        scores: (O, I) what gets dS = dW' * W; None: nothing does.
        dtype: of the result; the weights' if None.

    Returns:
        (O, I). Gradients of first order.

    Raises:
        ValueError: shapes or devices do not fit.
    """
    for name, part in (("by", by), ("scores", scores)):
        if part is not None and (part.shape != weight.shape or part.device != weight.device):
            raise ValueError(
                f"{name} {tuple(part.shape)} on {part.device} does not fit weight {tuple(weight.shape)} "
                f"on {weight.device}"
            )
    return _masked_weight(weight, scores, by, cut, dtype or weight.dtype)


def masked_linear(
    x: Tensor,
    weight: Tensor,
    scores: Tensor | None,
    *,
    kept: int | None = None,
    threshold: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """`F.linear` with only the weights of the largest scores.

    Args:
        x: (..., I).
        weight: (O, I).
        scores: (O, I); the absolute weights if None, and then nothing but the weights learns.
        kept: exactly so many weights stay, 0..n; or
        threshold: those whose score is above it stay.
        bias: (O,).

    Returns:
        (..., O); under autocast in its type.

    Raises:
        ValueError: neither or both of `kept` and `threshold`, or shapes do not fit.
    """
    if (kept is None) == (threshold is None):
        raise ValueError("say either kept or threshold")
    by = weight.detach().abs() if scores is None else scores.detach()
    cut = cut_above(by, threshold) if threshold is not None else cut_largest(by, int(kept or 0))
    found = masked_weight(
        weight, cut, by=None if scores is None else by, scores=scores, dtype=product_type(weight)
    )
    return F.linear(x, found, bias)


def product_type(weight: Tensor) -> torch.dtype:
    """The type that products with a weight are computed in: autocast's where that is on."""
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:  # which autocast leaves alone
        return torch.get_autocast_dtype(device)
    return weight.dtype


def _number(number: int, like: Tensor) -> Tensor:
    return torch.full((), number, dtype=torch.int64, device=like.device)  # filled there: no copy to wait for


class _MaskedWeight(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        scores: Tensor | None,
        by: Tensor | None,
        threshold: Tensor,
        last: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(weight, by, threshold, last)
        ctx.scores_type = None if scores is None else scores.dtype
        if backend(weight) == "triton":
            return _mask_triton(weight, by, Cut(threshold, last), dtype)
        kept = kept_by(weight.abs() if by is None else by, Cut(threshold, last))
        return torch.where(kept, weight, 0).to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph
            raise RuntimeError("masked_weight has first derivatives only")
        weight, by, threshold, last = ctx.saved_tensors
        cut, (for_weight, for_scores) = Cut(threshold, last), ctx.needs_input_grad[:2]
        if backend(weight) == "triton":
            kind = ctx.scores_type if for_scores else None
            return *_gradients_triton(gradient, weight, by, cut, for_weight, kind), None, None, None, None
        d_weight = d_scores = None
        if for_scores:
            d_scores = (gradient * weight).to(ctx.scores_type)
        if for_weight:
            kept = kept_by(weight.abs() if by is None else by, cut)
            d_weight = torch.where(kept, gradient, 0).to(weight.dtype)
        return d_weight, d_scores, None, None, None, None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _masked_weight(
    weight: Tensor, scores: Tensor | None, by: Tensor | None, cut: Cut, dtype: torch.dtype
) -> Tensor:
    by = None if by is None else by.detach()
    found: Tensor = _MaskedWeight.apply(weight, scores, by, cut.threshold, cut.last, dtype)
    return found


def _mask_triton(weight: Tensor, by: Tensor | None, cut: Cut, dtype: torch.dtype) -> Tensor:
    weight = weight.contiguous()
    found, n = torch.empty_like(weight, dtype=dtype), weight.numel()
    if n:
        with torch.cuda.device_of(weight):  # Triton launches on the current device
            _kernels()[0][(-(-n // BLOCK),)](
                weight, (weight if by is None else by).contiguous(), cut.threshold, cut.last, found, n,
                ABSOLUTE=by is None, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
    return found


def _gradients_triton(
    gradient: Tensor,
    weight: Tensor,
    by: Tensor | None,
    cut: Cut,
    for_weight: bool,
    scores_type: torch.dtype | None,
) -> tuple[Tensor | None, Tensor | None]:
    weight, n = weight.contiguous(), weight.numel()
    d_weight = torch.empty_like(weight) if for_weight else None
    d_scores = None if scores_type is None else torch.empty_like(weight, dtype=scores_type)
    if n and (for_weight or d_scores is not None):
        with torch.cuda.device_of(weight):
            _kernels()[1][(-(-n // BLOCK),)](
                gradient.contiguous(), weight, (weight if by is None else by).contiguous(),
                cut.threshold, cut.last,
                weight if d_weight is None else d_weight, weight if d_scores is None else d_scores, n,
                ABSOLUTE=by is None, WEIGHT=for_weight, SCORES=d_scores is not None, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
    return d_weight, d_scores


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def mask(  # type: ignore[no-untyped-def]
        weight, by, threshold, last, found, n, ABSOLUTE: tl.constexpr, BLOCK: tl.constexpr
    ):  # fmt: skip
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = index < n
        w = tl.load(weight + index, mask=inside, other=0.0)
        value = tl.abs(w) if ABSOLUTE else tl.load(by + index, mask=inside, other=0.0)
        bound, final = tl.load(threshold), tl.load(last)
        kept = (value > bound) | ((value == bound) & (index <= final))
        tl.store(found + index, tl.where(kept, w, 0.0).to(found.dtype.element_ty), mask=inside)

    @triton.jit  # type: ignore[untyped-decorator]
    def gradients(  # type: ignore[no-untyped-def]
        gradient, weight, by, threshold, last, d_weight, d_scores, n,
        ABSOLUTE: tl.constexpr, WEIGHT: tl.constexpr, SCORES: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = index < n
        slope = tl.load(gradient + index, mask=inside, other=0.0)
        w = tl.load(weight + index, mask=inside, other=0.0)
        slope = slope.to(w.dtype)
        if SCORES:
            tl.store(d_scores + index, (slope * w).to(d_scores.dtype.element_ty), mask=inside)
        if WEIGHT:
            value = tl.abs(w) if ABSOLUTE else tl.load(by + index, mask=inside, other=0.0)
            bound, final = tl.load(threshold), tl.load(last)
            kept = (value > bound) | ((value == bound) & (index <= final))
            tl.store(d_weight + index, tl.where(kept, slope, 0.0), mask=inside)

    return mask, gradients
