"""A CRF's loss with its gradients, and its best paths: `nonet.kernels.crf` against pytorch-crf.

Three labels (O, B and I) over documents of different lengths, as a tagger has them: 16 of up to 512 words, as
in Wu et al. 2022, and 64 of up to 200. Both get the same scores and bool masks. `python -m
benchmarks.keyphrase_plm.speed_crf` keeps the rows in results/keyphrase-plm.json.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor
from torchcrf import CRF

from nonet.kernels.crf import log_partition, path_score, viterbi

LABELS = 3


class Case(NamedTuple):
    """Shapes of one batch."""

    documents: int
    words: int
    """of the longest document; the shortest has half as many"""


CASES = [Case(16, 512), Case(64, 200)]
TINY = [Case(3, 12)]


class Given(NamedTuple):
    """What both sides get, for B documents of up to W words."""

    scores: Tensor
    """(B, W, 3) float32"""
    tags: Tensor
    """(B, W) int64"""
    mask: Tensor
    """(B, W) bool"""
    crf: CRF
    """whose weights ours takes"""


def given(case: Case) -> Given:
    torch.manual_seed(0)
    shape = case.documents, case.words
    lengths = torch.linspace(case.words // 2, case.words, case.documents).long()
    mask = torch.arange(case.words) < lengths[:, None]
    crf = CRF(LABELS, batch_first=True)
    return Given((torch.randn(*shape, LABELS) * 2).requires_grad_(), torch.randint(LABELS, shape), mask, crf)


def weights(crf: CRF) -> tuple[Tensor, Tensor, Tensor]:
    return crf.transitions, crf.start_transitions, crf.end_transitions


def step(case: Given, *, ours: bool) -> tuple[float, list[Tensor]]:
    """The mean loss of a document, and its gradients by scores, transitions, start and end."""
    scores, tags, mask, crf = case
    if ours:
        whole = log_partition(scores, *weights(crf), mask)
        loss = (whole - path_score(scores, tags, *weights(crf), mask)).mean()
    else:
        loss = -crf(scores, tags, mask=mask, reduction="mean")
    return loss.item(), list(torch.autograd.grad(loss, [scores, *weights(crf)]))


def same_step(one: tuple[float, list[Tensor]], other: tuple[float, list[Tensor]]) -> bool | str:
    """Whether losses agree to 1e-5 and gradients to 1e-3 of their largest entry: float32 over 512 words."""
    if abs(one[0] - other[0]) > 1e-5 * abs(other[0]):
        return f"losses {one[0]} and {other[0]}"
    for at, (mine, theirs) in enumerate(zip(one[1], other[1], strict=True)):
        apart = ((mine - theirs).abs().max() / theirs.abs().max()).item()
        if apart > 1e-3:
            return f"gradients {at} differ by {apart:.1e} of the largest entry"
    return True


def our_paths(case: Given) -> list[list[int]]:
    tags, _ = viterbi(case.scores, *weights(case.crf), case.mask)
    lengths = case.mask.sum(1).tolist()
    return [row[:length] for row, length in zip(tags.tolist(), lengths, strict=True)]


def peer_paths(case: Given) -> list[list[int]]:
    with torch.no_grad():
        return case.crf.decode(case.scores, case.mask)


def same_paths(batch: Given, one: list[list[int]], other: list[list[int]]) -> bool | str:
    """Whether the paths' scores, in float64, agree to 1e-4: where two are nearly equal, rounding decides."""
    parts = [part.detach().double() for part in (batch.scores, *weights(batch.crf))]
    mine, theirs = (
        path_score(parts[0], padded(batch, side), *parts[1:], batch.mask) for side in (one, other)
    )
    apart = (mine - theirs).abs().max().item()
    return True if apart <= 1e-4 else f"scores differ by {apart:.1e}"


def padded(batch: Given, paths: list[list[int]]) -> Tensor:
    tags = torch.zeros_like(batch.tags)
    tags[batch.mask] = torch.tensor([tag for path in paths for tag in path])
    return tags


def compare(case: Case, rounds: int, seconds: float) -> list[Row]:
    batch = given(case)
    shape = f"{case.documents} documents of {case.words // 2} to {case.words} words, {LABELS} labels"
    common = {"rounds": rounds, "min_seconds": seconds, "unit": "documents", "per_call": case.documents}
    sides: list[tuple[str, Callable, Callable, Callable]] = [
        ("loss and gradients", partial(step, batch, ours=True), partial(step, batch, ours=False), same_step),
        (
            "best paths",
            partial(our_paths, batch),
            partial(peer_paths, batch),
            partial(same_paths, batch),
        ),
    ]
    return [
        versus(f"CRF {what} against pytorch-crf, {shape}", ours, peer, same, **common)
        for what, ours, peer, same in sides
    ]


def main(*, tiny: bool = False) -> list[Row]:
    """Time both; `tiny` only checks on small batches that they agree, and keeps nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [
            row
            for case in (TINY if tiny else CASES)
            for row in compare(case, 1 if tiny else 9, 0.0 if tiny else 0.2)
        ]
    finally:
        torch.set_num_threads(threads)
    print(table(rows))
    if not tiny:
        save("keyphrase-plm", rows, versions=("torch", "numpy", "pytorch-crf"), threads=1)
    return rows


if __name__ == "__main__":
    main()
