"""The loss of a language model head, cross-entropy after a linear layer, without the logits of a whole batch.

Rows are worked off in chunks: a matrix product gives a chunk's logits, one pass turns them in place into
losses and into the loss's gradient by the logits, two products add that to the gradients of the hidden states
and of the weight. So forward has all gradients, and backward only scales them: chunking as in Hsu et al. 2024
(Liger Kernel), the online sum of exponentials from Milakov and Gimelshein 2018; ignored rows are left out
before anything else.

This is an `autograd.Function` and no `torch.library` operator because gradients of the weight's size change
hands between forward and backward: an operator would have to return them, and could neither scale them in
place nor let go of them. torch.compile breaks the graph here.

Cost, for n rows that count, D wide, V words, b bytes an element:

    flops   2 n D V without gradients, 6 n D V with both.
    bytes   The products read the weight once a chunk and, with more than one chunk, read and write its
            gradient (b V D each; for bfloat16, whose products are summed in float32, 12 V D together).
            The pass between them reads the logits twice and writes them once: 3 b n V.
    memory  One chunk of logits (`CHUNK_BYTES`; a float32 copy of it for bfloat16 without Triton) besides the
            gradients themselves, where torch's own two calls hold two to three times b n V (float32).
"""

import functools
import math
from typing import Any, Literal

import torch
from torch import Tensor

from nonet.kernels.dispatch import backend, import_triton

# Shapes: N rows (tokens), n of them with a label that counts, C rows of a chunk, D width, V vocabulary.

CHUNK_BYTES = {"cpu": 128 * 2**20, "cuda": 512 * 2**20}
"""Logits held at a time, in bytes: few enough to be worth it, and enough that going through the weight and
its gradient again for every chunk is cheap. An H200 does the 6 C D V flops of a chunk in the time in which it
moves the 12 V D bytes if C is 330 rows (790 TFLOP/s, 4.8 TB/s): 512 MiB, 2,793 rows of bfloat16 with
V = 96,103, make that an eighth on top."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    chunk: int | None = None,
) -> Tensor:
    """`F.cross_entropy(F.linear(hidden, weight, bias), labels, ...)` in the memory of a chunk of logits.

    With logits z = W h + b and a label y, a row's loss in nats is

        logsumexp(z) - (1 - e) z_y - e mean(z)

    Args:
        hidden: (..., D) float32, float64 or bfloat16; under autocast it is cast to autocast's type.
        weight: (V, D), of the type of `hidden`; under autocast any, and its gradient is summed in its own
            type.
        labels: (...) int64 in 0..V-1, or `ignore_index` for rows that do not count.
        bias: (V,), of the type of `weight`, or None.
        ignore_index: the label of rows that do not count.
        label_smoothing: e in 0..1: the target is (1 - e) one-hot + e/V.
        reduction: "mean" over the rows that count (nan if none does, as in torch), or "sum" (0 if none does).
        chunk: rows at a time; without it as many as `CHUNK_BYTES` allow.

    Returns:
        A scalar: float64 for float64, else float32 (torch would round a bfloat16 loss to bfloat16).

        Gradients of first order for hidden, weight and bias; none for labels. The first backward takes the
        gradients that forward computed, a second one over the same graph (`retain_graph`) computes them
        again.

        Against float64: float64 1e-12 relative, float32 1e-6 for the loss and 1e-5 of the largest entry for
        gradients, bfloat16 2e-2 for both; the sum of bfloat16 products over chunks is float32.

    Raises:
        ValueError: shapes, types or devices do not fit, a label is out of range, or an option is.
        RuntimeError: in backward, if it should build a graph for second derivatives (`create_graph`).

    Example:
        Two words, hidden state 1, weights 0 and ln 3: probabilities 1/4 and 3/4, loss -ln 3/4 = 0.2877.
    """
    return _loss(hidden, weight, labels, bias, ignore_index, label_smoothing, reduction, chunk)


def token_losses(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> Tensor:
    """Every row's own loss, its negative log-likelihood in nats, without gradients.

    Args and Raises are those of `linear_cross_entropy`.

    Returns:
        (...) as `labels`; float64 for float64, else float32; 0 where the label is `ignore_index`.
    """
    _check(hidden, weight, labels, bias, label_smoothing, chunk)
    with torch.no_grad():
        rows, kept, counted = _rows_that_count(hidden, labels, weight.shape[0], ignore_index)
        if kept is not None:
            rows = rows.index_select(0, kept)
        losses, *_ = _chunked(rows, weight, bias, counted, label_smoothing, 1.0, chunk)
        if kept is not None:
            losses = losses.new_zeros(labels.numel()).index_copy_(0, kept, losses)
        return losses.view(labels.shape)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _loss(
    hidden: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None,
    ignore_index: int, label_smoothing: float, reduction: str, chunk: int | None,
) -> Tensor:  # fmt: skip
    _check(hidden, weight, labels, bias, label_smoothing, chunk)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction '{reduction}': say mean or sum; token_losses gives one loss a row")
    rows, kept, labels = _rows_that_count(hidden, labels, weight.shape[0], ignore_index)
    rows = rows if kept is None else rows.index_select(0, kept)
    wanted = tuple(
        torch.is_grad_enabled() and part is not None and part.requires_grad for part in (rows, weight, bias)
    )
    return _LinearCrossEntropy.apply(rows, weight, bias, labels, label_smoothing, reduction, chunk, wanted)


def _check(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None,
    label_smoothing: float,
    chunk: int | None,
) -> None:
    if weight.ndim != 2 or hidden.ndim == 0 or hidden.shape[-1] != weight.shape[1] or not weight.shape[0]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} does not fit weight {tuple(weight.shape)}: (..., D), (V, D)"
        )
    if labels.shape != hidden.shape[:-1] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels {tuple(labels.shape)} {labels.dtype} do not fit hidden {tuple(hidden.shape)}: "
            "one int64 label a row"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}: (V,)")
    dtypes = {tensor.dtype for tensor in (hidden, weight, bias) if tensor is not None}
    allowed = {torch.float32, torch.float64, torch.bfloat16}
    if not dtypes <= allowed or (len(dtypes) > 1 and not torch.is_autocast_enabled(hidden.device.type)):
        raise ValueError(
            f"hidden is {hidden.dtype}, weight {weight.dtype}: cast to one of float32, float64, bfloat16"
        )
    if len({tensor.device for tensor in (hidden, weight, labels, bias) if tensor is not None}) > 1:
        raise ValueError(
            f"hidden is on {hidden.device}, weight on {weight.device}, labels on {labels.device}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing {label_smoothing} is not in 0..1")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk {chunk} is less than one row")


def _rows_that_count(
    hidden: Tensor, labels: Tensor, vocabulary: int, ignore_index: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Hidden (N, D) in the type to compute in, which rows (n,) count or None for all, and their labels."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:  # which autocast leaves alone
        hidden = hidden.to(torch.get_autocast_dtype(device))
    if hidden.dtype == torch.float16:
        raise ValueError("autocast is to float16, in which small gradients vanish: use bfloat16")
    rows, labels = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    kept = (labels != ignore_index).nonzero().squeeze(1)
    counted = labels if len(kept) == len(labels) else labels.index_select(0, kept)
    if len(counted):
        least, most = torch.stack(counted.aminmax()).tolist()
        if least < 0 or most >= vocabulary:
            bad = least if least < 0 else most
            raise ValueError(
                f"label {bad} is neither in 0..{vocabulary - 1} nor ignore_index ({ignore_index})"
            )
    return rows, None if counted is labels else kept, counted


class _LinearCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """Forward computes the gradients that are wanted, backward scales them by its argument."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        reduction: str,
        chunk: int | None,
        wanted: tuple[bool, bool, bool],
    ) -> Tensor:
        count = len(labels)
        scale = 1.0 if reduction == "sum" else 1.0 / max(count, 1)
        losses, *gradients = _chunked(rows, weight, bias, labels, smoothing, scale, chunk, wanted)
        if any(wanted):
            ctx.save_for_backward(rows, weight, bias, labels)
            ctx.options, ctx.gradients = (smoothing, scale, chunk, wanted), gradients
        return losses.sum() if reduction == "sum" else losses.sum() / count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: once_differentiable would give some as 0
            raise RuntimeError(
                "linear_cross_entropy has first derivatives only; F.cross_entropy(F.linear(...)) has more"
            )
        # Given away, not kept: a gradient that nobody else holds becomes weight.grad without a copy.
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            _, *gradients = _chunked(*ctx.saved_tensors, *ctx.options)
        if gradient.is_cuda or gradient.item() != 1:  # on CUDA, asking would wait for the device
            for part in gradients:
                if part is not None:
                    part.mul_(gradient)
        return (*gradients, None, None, None, None, None)


def _chunked(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    smoothing: float,
    scale: float,
    chunk: int | None,
    wanted: tuple[bool, bool, bool] = (False, False, False),
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Losses (n,), and `scale` times the gradients of their sum by rows, weight and bias as far as wanted."""
    n, D = rows.shape
    V, dtype = weight.shape[0], rows.dtype
    exact = torch.promote_types(dtype, torch.float32)  # float64 stays what it is
    if backend(rows) == "triton":
        one_pass, stride = _losses_and_gradient_triton, math.ceil(V / 64) * 64  # rows begin at 128 bytes
    else:
        one_pass, stride = _losses_and_gradient, V
    C = chunk or max(1, CHUNK_BYTES.get(rows.device.type, CHUNK_BYTES["cpu"]) // (V * rows.element_size()))
    C = math.ceil(n / max(1, math.ceil(n / C)))  # chunks of one size: 1000 rows by 600 are 500 and 500

    losses = rows.new_empty(n, dtype=exact)
    d_rows = torch.empty_like(rows) if wanted[0] else None
    d_weight = d_bias = None
    if wanted[1]:
        d_weight = weight.new_empty(V, D, dtype=exact if n > C else weight.dtype)
    if wanted[2]:
        d_bias = weight.new_zeros(V, dtype=exact)
    with torch.autocast(rows.device.type, enabled=False):
        weight_VD, offset = weight.to(dtype), None if bias is None else bias.to(dtype)
        for start in range(0, n, max(C, 1)):
            part = slice(start, start + C)
            hidden_CD = rows[part]
            logits_CV = _logits(hidden_CD, weight_VD, offset, stride)
            one_pass(logits_CV, labels[part], losses[part], smoothing, any(wanted))  # now d loss / d logits
            if d_rows is not None:
                torch.mm(logits_CV, weight_VD, out=d_rows[part]).mul_(scale)
            if d_weight is not None:
                _add_product(d_weight, logits_CV.t(), hidden_CD, scale, first=start == 0)
            if d_bias is not None:
                d_bias.add_(logits_CV.sum(0, dtype=exact), alpha=scale)
            del logits_CV  # before the next chunk's are made
    if d_weight is not None:
        d_weight = (d_weight if n else d_weight.zero_()).to(weight.dtype)
    return losses, d_rows, d_weight, None if d_bias is None else d_bias.to(weight.dtype)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """The logits hidden @ weight.T + bias (C, V), with `stride` elements from row to row."""
    if stride == len(weight) and hidden.dtype == torch.float32 and hidden.is_cpu and _has_onednn():
        # F.linear takes it for bfloat16 only; for float32 it is 1.6 times as fast as MKL on a Zen 4.
        return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")
    logits = hidden.new_empty(len(hidden), stride)[:, : len(weight)]
    if bias is None:
        return torch.mm(hidden, weight.t(), out=logits)
    return torch.addmm(bias, hidden, weight.t(), out=logits)


@functools.cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _add_product(total: Tensor, left: Tensor, right: Tensor, scale: float, *, first: bool) -> None:
    """Add scale * left @ right to `total`, or put it there if it is the first."""
    if total.dtype == left.dtype:
        torch.addmm(total, left, right, beta=0 if first else 1, alpha=scale, out=total)  # beta 0: not read
    elif first:
        torch.mul(left @ right, scale, out=total)
    else:
        total.add_(left @ right, alpha=scale)


def _losses_and_gradient(
    logits: Tensor, labels: Tensor, losses: Tensor, smoothing: float, gradient: bool
) -> None:
    """Put each row's loss into `losses` and, with `gradient`, its gradient by the logits over the logits.

    Args:
        logits: (C, V), overwritten in any case; Triton overwrites what lies between the rows, too.
        labels: (C,) int64.
        losses: (C,) to be filled; its type is the one to compute in.
        smoothing: e.
        gradient: whether the gradient softmax(z) - (1 - e) one-hot - e/V is wanted.
    """
    label_C1 = labels.unsqueeze(1)
    if logits.dtype == losses.dtype:
        logp = torch.log_softmax(logits, 1, out=logits)  # every element is read before it is written
    else:
        logp = torch.log_softmax(logits, 1, dtype=losses.dtype)
    torch.neg(logp.gather(1, label_C1).squeeze(1), out=losses)
    if smoothing:
        losses.mul_(1 - smoothing).sub_(logp.mean(1), alpha=smoothing)
    if not gradient:
        return
    target_C1 = torch.full_like(label_C1, smoothing - 1, dtype=logp.dtype)
    logp.exp_()
    if smoothing:
        logp.sub_(smoothing / logits.shape[1])
    logp.scatter_add_(1, label_C1, target_C1)
    if logp is not logits:
        logits.copy_(logp)


def _losses_and_gradient_triton(
    logits: Tensor, labels: Tensor, losses: Tensor, smoothing: float, gradient: bool
) -> None:
    """The same by one Triton program a row: two passes over the row, float32 (float64 for float64) inside."""
    if not len(logits):
        return
    V = logits.shape[1]
    block = min(4096, max(16, 1 << (V - 1).bit_length()))
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        _kernel()[(len(logits),)](
            logits, labels, losses, V, logits.stride(0), ON_LABEL=1 - smoothing, ON_ALL=smoothing / V,
            GRADIENT=gradient, DOUBLE=losses.dtype == torch.float64, BLOCK=block, num_warps=8,
        )  # fmt: skip


@functools.cache
def _kernel() -> Any:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def losses_and_gradient(  # type: ignore[no-untyped-def]
        logits, labels, losses, V, stride,
        ON_LABEL: tl.constexpr,  # constants, since Triton would round float arguments to float32
        ON_ALL: tl.constexpr,
        GRADIENT: tl.constexpr, DOUBLE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        number = tl.float64 if DOUBLE else tl.float32
        row = tl.program_id(0).to(tl.int64)
        logits += row * stride
        label = tl.load(labels + row)
        at_label = tl.load(logits + label).to(number)  # before anything is written over it
        columns = tl.arange(0, BLOCK)
        # Memory is masked at the row's padded end, and V in registers only: a mask that does not end at a
        # multiple of 16 would have every element of the row read and written on its own.

        # The running sum of exp(z - largest) is scaled anew whenever a block brings a larger z.
        largest = tl.full((), float("-inf"), number)
        total = tl.full((), 0.0, number)
        plain = tl.full((), 0.0, number)
        for start in range(0, V, BLOCK):
            there, inside = start + columns < stride, start + columns < V
            z = tl.load(logits + start + columns, mask=there, other=0.0).to(number)
            z = tl.where(inside, z, float("-inf"))
            larger = tl.maximum(largest, tl.max(z, 0))
            base = tl.where(larger == float("-inf"), 0.0, larger)  # -inf - -inf would be nan
            total = total * tl.exp(largest - base) + tl.sum(tl.exp(z - base), 0)
            largest = larger
            if ON_ALL > 0:
                plain += tl.sum(tl.where(inside, z, 0.0), 0)
        normalizer = largest + tl.log(total)
        loss = normalizer - ON_LABEL * at_label
        if ON_ALL > 0:
            loss -= ON_ALL * plain
        tl.store(losses + row, loss)

        if GRADIENT:
            for start in range(0, V, BLOCK):
                there = start + columns < stride
                z = tl.load(logits + start + columns, mask=there, other=0.0).to(number)
                z = tl.where(start + columns < V, z, float("-inf"))
                slope = tl.exp(z - normalizer) - ON_LABEL * (start + columns == label).to(number)
                if ON_ALL > 0:
                    slope -= ON_ALL
                tl.store(logits + start + columns, slope.to(logits.dtype.element_ty), mask=there)

    return losses_and_gradient
