"""Linear-chain conditional random fields: log partition, path score, marginals and the best path.

A path y of a sequence of n positions has the score

    s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]

and the probability exp(s(y)) / Z (Lafferty, McCallum and Pereira 2001). The recursions over t are products of
T x T matrices, over (log-sum-exp, +) for Z and marginals and over (max, +) for the best path, and so can be
bracketed at will (Sarkka and Garcia-Fernandez 2021). Here positions are cut into runs of `RADIX`: the runs
are multiplied side by side, the same is done to their products until few are left, and on the way back each
run is walked in both directions from what lies before and after it. RADIX = 2 is a tree, RADIX = n the usual
loop, and anything gives the same numbers.

This is an `autograd.Function` as its gradients are the marginals, which come out of the same pass: forward
computes them where they are wanted, backward scales them.

Cost, for B sequences of L positions and T labels:

    flops   B L (T^3 + 3 T^2) exponentials and about four times as many additions and maxima; the loop has
            3 T^2. So from T = `LOOP_FROM` on the loop is taken.
    bytes   b B L (5 T^3 + 12 T^2) for the passes of torch's operators, b bytes an element; the Triton form,
            one program a sequence with T^2 numbers in registers, has b B L 5 T and no T^3.
    steps   that depend on each other: 2 RADIX log(L) / log(RADIX), against 2 L.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.kernels.dispatch import backend

# Shapes: B sequences, L positions (padded), T labels, n positions or runs of positions, C positions of a run,
# S runs; N = S * B.

RADIX = 8  # positions of a run: of 2..23 the fastest on a CPU for T = 3 and 5, L = 200 and 512
LOOP_FROM = 9  # labels from which on T^3 costs more than L steps in a row

Fold = Callable[[Tensor, int], Tensor]


class Sums(NamedTuple):
    """What a pass over the sequences gives.

    Attributes:
        log_partition: (B,) log Z; 0 for an empty sequence.
        unary: (B, L, T) probability of each label at each position; 0 beyond the length.
        pairs: (B, T, T) expected number of transitions from one label to another.
    """

    log_partition: Tensor
    unary: Tensor
    pairs: Tensor


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, *, radix: int = 0
) -> Tensor:
    """Log Z of each sequence, the log of the sum of exp(score) over all paths, in nats.

    Args:
        emissions: (B, L, T) float32 or float64; bfloat16 and float16 are computed in float32. -inf forbids.
        transitions: (T, T), from the row's label to the column's.
        start: (T,), of the first label.
        end: (T,), of the last one.
        mask: (B, L) bool, True at the positions of a sequence: the first ones, then False to the end.
        radix: positions of a run in the form of torch operators; 0 chooses.

    Returns:
        (B,) float64 for float64, else float32. An empty sequence has one path, of score 0.

        Gradients of first order for emissions (the marginals), transitions, start and end.

        Against float64: float64 1e-12 relative, float32 1e-6 of log Z and 5e-5 for probabilities (L = 512).

    Raises:
        ValueError: shapes, types or devices do not fit, or the mask has a hole.
        RuntimeError: in backward, if it should build a graph for second derivatives (`create_graph`).

    Example:
        Two labels, one position, all scores 0: log 2 = 0.6931; two positions: log 4.
    """
    _check(emissions, transitions, start, end, mask, radix)
    return _log_partition(emissions, transitions, start, end, mask, radix)


def path_score(
    emissions: Tensor, tags: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor
) -> Tensor:
    """The score s(y) of one path of each sequence; `path_score - log_partition` is its log-probability.

    Args:
        emissions: as in `log_partition`.
        tags: (B, L) int64, labels in 0..T-1 where the mask is True, anything elsewhere.
        transitions: as in `log_partition`.
        start: likewise.
        end: likewise.
        mask: likewise.

    Returns:
        (B,) float64 for float64, else float32; 0 for an empty sequence. Gradients of every order.

    Raises:
        ValueError: shapes, types or devices do not fit, the mask has a hole, or a label is out of range.
    """
    _check(emissions, transitions, start, end, mask)
    B, L, T = emissions.shape
    if tags.shape != mask.shape or tags.dtype != torch.int64 or tags.device != mask.device:
        raise ValueError(
            f"tags {tuple(tags.shape)} {tags.dtype} do not fit mask {tuple(mask.shape)}: int64 there"
        )
    tags = tags.masked_fill(~mask, 0)
    if tags.numel():
        least, most = torch.stack(tags.aminmax()).tolist()
        if least < 0 or most >= T:
            raise ValueError(f"label {least if least < 0 else most} is not in 0..{T - 1}")
    exact = _exact(emissions)
    if not L:
        return (emissions.sum((1, 2)) + transitions.sum() * 0).to(exact)
    chosen = emissions.to(exact).gather(2, tags[:, :, None]).squeeze(2).masked_fill(~mask, 0).sum(1)
    # The number of times that each transition is made: its gradient is then no scatter.
    bins = torch.where(mask[:, 1:], tags[:, :-1] * T + tags[:, 1:], T * T)
    counts = bins.new_zeros(B, T * T + 1).scatter_add_(1, bins, torch.ones_like(bins))[:, : T * T]
    moves = (counts * transitions.to(exact).flatten()).sum(1)
    last = tags.gather(1, (mask.sum(1, keepdim=True) - 1).clamp_min(0)).squeeze(1)
    ends = start.to(exact)[tags[:, 0]] + end.to(exact)[last]
    return chosen + moves + ends.masked_fill(~mask[:, 0], 0)


@torch.no_grad()  # type: ignore[untyped-decorator]
def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, *, radix: int = 0
) -> Tensor:
    """The probability of each label at each position, over all paths, without gradients.

    Args and Raises are those of `log_partition`.

    Returns:
        (B, L, T) of the type of log Z; 0 where the mask is False.
    """
    _check(emissions, transitions, start, end, mask, radix)
    return _sums(*_in_exact(emissions, transitions, start, end), mask, radix).unary


@torch.no_grad()  # type: ignore[untyped-decorator]
def viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, *, radix: int = 0
) -> tuple[Tensor, Tensor]:
    """The best path of each sequence and its score, without gradients.

    Args and Raises are those of `log_partition`.

    Returns:
        tags: (B, L) int64, -1 where the mask is False. Of equal labels the lower one is taken, from the end
            on, as far as sums of floats are equal.
        scores: (B,) of the type of log Z; 0 for an empty sequence.
    """
    _check(emissions, transitions, start, end, mask, radix)
    parts = _in_exact(emissions, transitions, start, end)
    if not emissions.shape[1]:
        return mask.long(), parts[0].new_zeros(len(mask))
    scores, top_B = _without_top(parts[0], mask)
    if backend(emissions) == "triton":
        from nonet.kernels.crf_triton import best_paths

        tags, rest = best_paths(scores, *parts[1:], mask.sum(1))
    else:
        tags, rest = _best_paths(scores, *parts[1:], mask, radix)
    return tags, (rest.double() + top_B).to(rest.dtype)


class _LogPartition(torch.autograd.Function):  # type: ignore[misc]
    """Forward computes the marginals if a gradient is wanted, backward scales them by its argument."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int
    ) -> Tensor:
        sums = _sums(emissions, transitions, start, end, mask, radix)
        ctx.save_for_backward(sums.unary, sums.pairs, mask)
        return sums.log_partition

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph
            raise RuntimeError("log_partition has first derivatives only")
        unary, pairs, mask = ctx.saved_tensors
        of_emissions = unary * gradient[:, None, None]
        of_transitions = (pairs * gradient[:, None, None]).sum(0)
        if not mask.shape[1]:
            none = unary.new_zeros(unary.shape[2])
            return of_emissions, of_transitions, none, none, None, None
        last = (mask.sum(1) - 1).clamp_min(0)[:, None, None].expand(-1, 1, unary.shape[2])
        of_end = of_emissions.gather(1, last).sum((0, 1))
        return of_emissions, of_transitions, of_emissions[:, 0].sum(0), of_end, None, None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int
) -> Tensor:
    return _LogPartition.apply(*_in_exact(emissions, transitions, start, end), mask, radix)


def _exact(emissions: Tensor) -> torch.dtype:
    """The type to compute in."""
    return torch.promote_types(emissions.dtype, torch.float32)


def _in_exact(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    exact = _exact(emissions)
    return emissions.to(exact), transitions.to(exact), start.to(exact), end.to(exact)


def _check(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int = 0
) -> None:
    if emissions.ndim != 3 or not emissions.shape[2] or not emissions.is_floating_point():
        raise ValueError(f"emissions {tuple(emissions.shape)} {emissions.dtype}: expected (B, L, T) floats")
    B, L, T = emissions.shape
    for name, part, shape in (
        ("transitions", transitions, (T, T)),
        ("start", start, (T,)),
        ("end", end, (T,)),
    ):
        if part.shape != shape or not part.is_floating_point():
            raise ValueError(
                f"{name} {tuple(part.shape)} {part.dtype} do not fit emissions {(B, L, T)}: {shape}"
            )
    if mask.shape != (B, L) or mask.dtype != torch.bool:
        raise ValueError(f"mask {tuple(mask.shape)} {mask.dtype} does not fit emissions: {(B, L)} of bool")
    devices = {str(part.device) for part in (emissions, transitions, start, end, mask)}
    if len(devices) > 1:
        raise ValueError(f"tensors are on {' and '.join(sorted(devices))}")
    if L and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("the mask has a hole: a sequence is the first positions of its row")
    if radix == 1 or radix < 0:
        raise ValueError(f"radix {radix}: a run has two positions at least; 0 chooses")


def _sums(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int
) -> Sums:
    """Log Z and the marginals; every argument in the type to compute in."""
    B, L, T = emissions.shape
    if not B or not L:
        return Sums(emissions.new_zeros(B), emissions.clone(), emissions.new_zeros(B, T, T))
    emissions, top_B = _without_top(emissions, mask)
    if backend(emissions) == "triton":
        from nonet.kernels.crf_triton import sums

        rest, unary, pairs = sums(emissions, transitions, start, end, mask.sum(1))
    else:
        rest, unary, pairs = _scanned_sums(emissions, transitions, start, end, mask, radix)
    return Sums((rest.double() + top_B).to(emissions.dtype), unary, pairs)


def _without_top(emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Emissions less the largest of each position, and the sum of these (B,) in float64.

    So the sums over a sequence stay small, and with them their rounding errors.
    """
    top_BL = emissions.amax(2)
    top_BL = top_BL.masked_fill(~mask | ~top_BL.isfinite(), 0)
    return emissions - top_BL[:, :, None], top_BL.sum(1, dtype=torch.float64)


def _scanned_sums(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int
) -> tuple[Tensor, Tensor, Tensor]:
    steps_LTTB, left_TB, right_TB = _as_steps(emissions, transitions, start, end, mask)
    before_LTB, after_LTB = _states(steps_LTTB, left_TB, right_TB, _radix(steps_LTTB, radix), _log_sum_exp)
    joint_LTTB = before_LTB[:, :, None] + steps_LTTB + after_LTB[:, None]
    total_B = _log_sum_exp(joint_LTTB[0].flatten(0, 1).clone(), 0)
    # Where no path is allowed, log Z is -inf and the marginals are 0.
    least, tiny = torch.finfo(total_B.dtype).min, torch.finfo(total_B.dtype).tiny
    joint_LTTB = (joint_LTTB - total_B.clamp_min(least)).exp_()
    # Rounding errors of what lies before and after are the same for all labels: dividing takes them out.
    joint_LTTB.mul_(mask.t()[:, None, None] / joint_LTTB.sum((1, 2), keepdim=True).clamp_min(tiny))
    unary_BLT = joint_LTTB.sum(1).permute(2, 0, 1).contiguous()
    pairs_BTT = joint_LTTB[1:].sum(0).permute(2, 0, 1).contiguous()
    return total_B.masked_fill(~mask[:, 0], 0), unary_BLT, pairs_BTT


def _best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, radix: int
) -> tuple[Tensor, Tensor]:
    steps_LTTB, left_TB, right_TB = _as_steps(emissions, transitions, start, end, mask)
    before_LTB, _ = _states(steps_LTTB, left_TB, right_TB, _radix(steps_LTTB, radix), torch.amax)
    reached_LTTB = before_LTB[:, :, None] + steps_LTTB
    best, last_B = (reached_LTTB[-1].amax(0) + right_TB).max(0)
    # from_LTB[t, y] is the best label before label y at t. Maps of neighbours are put together, then of
    # neighbours' neighbours: after log L rounds each leads from the last position straight to its own.
    from_LTB = _first_best(reached_LTTB[1:])
    reach = 1
    while reach < len(from_LTB):
        from_LTB[:-reach] = from_LTB[:-reach].gather(1, from_LTB[reach:])
        reach *= 2
    earlier_LB = from_LTB.gather(1, last_B.expand(len(from_LTB), 1, -1)).squeeze(1)
    tags_BL = torch.cat([earlier_LB, last_B[None]]).t()
    return tags_BL.masked_fill(~mask, -1), best.masked_fill(~mask[:, 0], 0)


def _first_best(scores_LTTB: Tensor) -> Tensor:
    """`scores_LTTB.argmax(1)`, of equal ones the first, which torch finds one number at a time."""
    best, *others = scores_LTTB.unbind(1)
    found = torch.zeros_like(best, dtype=torch.int64)
    for label, scores in enumerate(others, 1):
        found.masked_fill_(scores > best, label)
        best = torch.maximum(best, scores)
    return found


def _radix(steps: Tensor, radix: int) -> int:
    return radix or (RADIX if steps.shape[1] < LOOP_FROM else len(steps))


def _as_steps(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences as matrices from label to label, and the vectors before and after them.

    Sequences are the last axis, so that operators run over contiguous numbers. The first matrix has the
    scores of the first label in every row, and the vector before it lets row 0 through; beyond a sequence's
    length there are unit matrices of the semiring (0 on the diagonal, else -inf), which change nothing.
    """
    B, _, T = emissions.shape
    scores_LTB = emissions.permute(1, 2, 0)
    steps_LTTB = transitions[:, :, None] + scores_LTB[:, None]
    steps_LTTB[0] = start[:, None] + scores_LTB[0]
    steps_LTTB = torch.where(mask.t()[:, None, None], steps_LTTB, _unit(steps_LTTB))
    left_TB = emissions.new_full((T, B), float("-inf"))
    left_TB[0] = 0
    return steps_LTTB, left_TB, end[:, None].expand(T, B)


def _unit(steps: Tensor) -> Tensor:
    """(T, T, 1) the unit matrix of both semirings."""
    T = steps.shape[1]
    return steps.new_full((T, T), float("-inf")).fill_diagonal_(0)[:, :, None]


def _states(steps: Tensor, left: Tensor, right: Tensor, radix: int, fold: Fold) -> tuple[Tensor, Tensor]:
    """The vector before each matrix and the one after it.

    Args:
        steps: (n, T, T, B) matrices.
        left: (T, B) vector before the first.
        right: (T, B) vector after the last.
        radix: matrices of a run.
        fold: the semiring's sum along an axis.

    Returns:
        (n, T, B) left times all matrices before this one, and (n, T, B) all matrices after it times right.
    """
    n, T, _, B = steps.shape
    if n <= radix:
        return _walk(steps, left, right, fold)
    C, S = radix, -(-n // radix)
    if n < S * C:
        steps = torch.cat([steps, _unit(steps).expand(S * C - n, T, T, B)])
    runs_CTTN = steps.view(S, C, T, T, B).permute(1, 2, 3, 0, 4).reshape(C, T, T, S * B)
    product_TTN = functools.reduce(lambda one, other: fold(one[:, :, None] + other[None], 1), runs_CTTN)
    products_STTB = product_TTN.view(T, T, S, B).permute(2, 0, 1, 3).contiguous()
    ends = _states(products_STTB, left, right, radix, fold)
    befores_TN, afters_TN = (part.transpose(0, 1).reshape(T, S * B) for part in ends)
    walked = _walk(runs_CTTN, befores_TN, afters_TN, fold)
    before, after = (part.view(C, T, S, B).permute(2, 0, 1, 3).reshape(S * C, T, B)[:n] for part in walked)
    return before, after


def _walk(steps: Tensor, left: Tensor, right: Tensor, fold: Fold) -> tuple[Tensor, Tensor]:
    """`_states` one matrix after the other, in both directions at the same time."""
    both = torch.stack([steps, steps.flip(0).transpose(1, 2)], 1)
    states = steps.new_empty(len(steps), 2, *left.shape)
    states[0, 0], states[0, 1] = left, right
    for at in range(len(steps) - 1):
        states[at + 1] = fold(states[at][:, :, None] + both[at], 1)
    return states[:, 0], states[:, 1].flip(0)


def _log_sum_exp(numbers: Tensor, axis: int) -> Tensor:
    """torch.logsumexp over few numbers, overwriting them, in three quarters of the time."""
    top = numbers.amax(axis, keepdim=True).clamp_min_(torch.finfo(numbers.dtype).min)  # -inf - -inf is nan
    return numbers.sub_(top).exp_().sum(axis).log_().add_(top.squeeze(axis))
