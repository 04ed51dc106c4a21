"""Contrast of queries with keys of all processes and a queue, without the whole matrix of similarities.

With z_ij = q_i k_j / tau, y what is right in shares and z' the similarities of a teacher, a query's loss in
nats is the cross entropy

    l_i = - sum_j t_ij log softmax(z_i)_j,   t_i = (1 - alpha) y_i + alpha softmax(z'_i)

Source: ours. Queries are worked off in chunks: a chunk's similarities, its targets and its gradient
softmax(z) - t are made, used in two products, and let go, as `linear_cross_entropy` does it with words. So
forward has all gradients, and backward scales them; keys of a queue have none, and are not copied behind the
others.

Cost, for B queries, N keys and e numbers each, with float32:

    flops   2 B N e without gradients, 4 B N e with that of the queries, 6 B N e with the keys' too; 2 B N e
            more with a teacher.
    memory  four chunks of similarities (`CHUNK_BYTES` each, on a CPU `CPU_CHUNK_BYTES`) besides the
            gradients, 4 e (B + C) bytes, where torch's own calls hold similarities, probabilities, targets
            and gradients whole, 4 B N bytes each. 4,096 queries and 65,536 keys: 1,024 MiB each, and a chunk
            128 or 8.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Shapes: B queries, C keys that may have a gradient, M keys of a queue, N = C + M, e size of a feature, c
# queries of a chunk.

CHUNK_BYTES = 128 * 2**20
"""similarities held at a time, in bytes; a chunk of 512 queries has 65,536 float32 keys"""

CPU_CHUNK_BYTES = 8 * 2**20
"""the same on a CPU, whose caches hold a chunk of that size: it takes less time than a larger one"""


class Contrast(NamedTuple):
    """What is found.

    Attributes:
        loss: scalar, the sum over the queries; float32, or float64 for float64.
        hits: (B,) bool, whether the most similar key is a right one.
    """

    loss: Tensor
    hits: Tensor


class Teacher(NamedTuple):
    """Features that say which keys are alike; without gradient.

    Attributes:
        queries: (B, e), of the same examples.
        keys: (C, e), of the same examples; the queue's keys are the teacher's, too.
    """

    queries: Tensor
    keys: Tensor


def global_contrastive(
    queries: Tensor,
    keys: Tensor,
    labels: Tensor,
    tau: Tensor | float,
    *,
    key_labels: Tensor | None = None,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    teacher: Teacher | None = None,
    alpha: float = 0.0,
    chunk: int | None = None,
) -> Contrast:
    """The contrastive loss of queries, and which of them find what is right.

    Args:
        queries: (B, e) float, of length 1.
        keys: (C, e) float, of length 1: those of all processes.
        labels: (B,) int64: the place of the right key; with `key_labels` the label that all right keys have,
            each in an equal share.
        tau: temperature; a scalar tensor may be learned.
        key_labels: (C,) int64.
        queue: (M, e) float: earlier keys, without gradient.
        queue_labels: (M,) int64: None: no key of the queue is right.
        teacher: None: what is right is known from labels alone.
        alpha: share of the teacher in the targets, in 0..1.
        chunk: queries at a time; without it as many as `CHUNK_BYTES` or `CPU_CHUNK_BYTES` allow.

    Returns:
        Their sum, with gradients of first order for queries, keys and tau; and hits. A query without a right
        key learns from the teacher alone.

    Raises:
        ValueError: shapes or options do not fit.
        RuntimeError: in backward, if it should build a graph for second derivatives.

    Example:
        The unit matrix of size 2 as queries and keys, labels 0 and 1, tau 1: 2 ln(1 + 1/e) = 0.6265234.
    """
    _check(queries, keys, labels, key_labels, queue, queue_labels, teacher, alpha, chunk)
    exact = torch.promote_types(queries.dtype, torch.float32)
    tau = torch.as_tensor(tau, dtype=exact, device=queries.device)
    numbers = _Labels(labels, key_labels, queue_labels)
    with torch.autocast(queries.device.type, enabled=False):
        loss, hits = _Contrast.apply(
            queries.to(exact), keys.to(exact), tau, None if queue is None else queue.to(exact), numbers,
            teacher if alpha else None, alpha, chunk,
        )  # fmt: skip
    return Contrast(loss, hits)


class _Labels(NamedTuple):
    queries: Tensor
    keys: Tensor | None
    queue: Tensor | None


def _check(
    queries: Tensor, keys: Tensor, labels: Tensor, key_labels: Tensor | None, queue: Tensor | None,
    queue_labels: Tensor | None, teacher: Teacher | None, alpha: float, chunk: int | None,
) -> None:  # fmt: skip
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} do not fit keys {tuple(keys.shape)}: (B, e), (C, e)"
        )
    if labels.shape != queries.shape[:1] or (key_labels is not None and key_labels.shape != keys.shape[:1]):
        raise ValueError(f"{len(queries)} queries and {len(keys)} keys have one label each")
    if queue is not None and queue.shape[1:] != keys.shape[1:]:
        raise ValueError(f"a queue {tuple(queue.shape)} does not fit keys {tuple(keys.shape)}")
    if queue_labels is not None and (
        key_labels is None or queue is None or queue_labels.shape != queue.shape[:1]
    ):
        raise ValueError("labels of a queue go with a queue of as many keys, and with labels of keys")
    if teacher is not None and (teacher.queries.shape != queries.shape or teacher.keys.shape != keys.shape):
        raise ValueError("a teacher has as many queries and keys as there are")
    if alpha and teacher is None:
        raise ValueError(f"alpha {alpha:g} of a teacher that is not there")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha:g} is not in 0..1")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk {chunk} is less than one query")


class _Contrast(torch.autograd.Function):  # type: ignore[misc]
    """Forward computes the gradients that are wanted, backward scales them by its argument."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, tau: Tensor, queue: Tensor | None, labels: _Labels,
        teacher: Teacher | None, alpha: float, chunk: int | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        wanted = ctx.needs_input_grad[:3]
        d_queries = torch.empty_like(queries) if wanted[0] or wanted[2] else None
        d_keys = torch.zeros_like(keys) if wanted[1] else None
        N = len(keys) + (0 if queue is None else len(queue))
        room = CPU_CHUNK_BYTES if queries.is_cpu else CHUNK_BYTES
        rows = chunk or max(1, room // max(1, N * queries.element_size()))
        losses, hits = (
            queries.new_empty(len(queries)),
            labels.queries.new_empty(len(queries), dtype=torch.bool),
        )
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            mine = queries[part]
            scores = _similarities(mine, keys, queue, tau)
            targets = _right(labels, part, N, len(keys), scores)
            hits[part] = targets.gather(1, scores.argmax(1, keepdim=True))[:, 0] > 0
            if teacher is not None:
                taught = _similarities(
                    teacher.queries[part].to(mine), teacher.keys.to(mine), queue, tau
                ).softmax(1)
                targets.mul_(1 - alpha).add_(taught, alpha=alpha)
                del taught
            mass = targets.sum(1, keepdim=True)
            logs = scores.logsumexp(1, keepdim=True)
            losses[part] = (mass * logs)[:, 0] - torch.linalg.vecdot(targets, scores)
            if d_queries is None and d_keys is None:
                continue
            gradient = scores.sub_(logs).exp_().mul_(mass).sub_(targets).div_(tau)  # by q_i k_j
            del targets
            if d_queries is not None:
                torch.mm(gradient[:, : len(keys)], keys, out=d_queries[part])
                if queue is not None:
                    d_queries[part].addmm_(gradient[:, len(keys) :], queue)
            if d_keys is not None:
                d_keys.addmm_(gradient[:, : len(keys)].mT, mine)
        # z = q k / tau, so that tau dz/dtau = - z, and sum_j dl/dz_j z_j = q dl/dq.
        d_tau = None
        if wanted[2] and d_queries is not None:
            d_tau = -(d_queries * queries).sum() / tau
        ctx.gradients = (d_queries if wanted[0] else None, d_keys, d_tau)
        ctx.mark_non_differentiable(hits)
        return losses.sum(), hits

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph
            raise RuntimeError("global_contrastive has first derivatives only")
        found = tuple(None if part is None else part * gradient for part in ctx.gradients)
        return (*found, None, None, None, None, None)


def _similarities(queries: Tensor, keys: Tensor, queue: Tensor | None, tau: Tensor) -> Tensor:
    """(c, N), those of `keys` first."""
    count = len(keys)
    scores = queries.new_empty(len(queries), count + (0 if queue is None else len(queue)))
    scores[:, :count] = queries @ keys.mT
    if queue is not None:
        scores[:, count:] = queries @ queue.mT
    return scores.div_(tau)


def _right(labels: _Labels, part: slice, width: int, count: int, like: Tensor) -> Tensor:
    """What is right for a chunk of queries, (c, N) in shares."""
    mine = labels.queries[part]
    if labels.keys is None:
        return like.new_zeros(len(mine), width).scatter_(1, mine[:, None], 1.0)
    right = like.new_zeros(len(mine), width)
    right[:, :count] = mine[:, None] == labels.keys
    if labels.queue is not None:
        right[:, count:] = mine[:, None] == labels.queue
    return right.div_(right.sum(1, keepdim=True).clamp_min_(1))
