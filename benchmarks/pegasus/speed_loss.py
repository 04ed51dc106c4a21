"""Loss of the vocabulary layer, forward and backward: ours against `F.cross_entropy(F.linear(...))`.

Time by turns in one process; peak memory of one step in a process of its own (CPU) or by torch's own account
(CUDA), on top of inputs and with the gradients of both. Vocabularies are PEGASUS's own 96,103 pieces and
16,000.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from benchmarks.harness import Row, peak_cuda_memory, peak_memory, save, table, versus
from torch import Tensor

from nonet.kernels.linear_cross_entropy import linear_cross_entropy


class Case(NamedTuple):
    """Shapes of one step."""

    rows: int
    width: int
    vocabulary: int
    padding: float
    """share of rows whose label does not count"""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


CPU = [Case(2048, 512, 16_000, 0.0), Case(512, 512, 96_103, 0.0), Case(512, 512, 96_103, 0.4)]
CUDA = [
    Case(8192, 1024, vocabulary, padding, "cuda", dtype)
    for vocabulary, padding, dtype in (
        (16_000, 0.0, torch.bfloat16),
        (96_103, 0.0, torch.bfloat16),
        (96_103, 0.4, torch.bfloat16),
        (96_103, 0.0, torch.float32),
    )
]
TINY = Case(16, 8, 101, 0.4)


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and a weight such that logits have variance 1, and labels."""
    torch.manual_seed(0)
    hidden = torch.randn(case.rows, case.width, device=case.device).to(case.dtype)
    weight = (torch.randn(case.vocabulary, case.width, device=case.device) * case.width**-0.5).to(case.dtype)
    labels = torch.randint(case.vocabulary, (case.rows,), device=case.device)
    labels[: int(case.rows * case.padding)] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def ours(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, weight, labels)


def peer(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), labels)


def step(given: tuple[Tensor, Tensor, Tensor], loss: Callable[..., Tensor]) -> tuple[float, Tensor, Tensor]:
    """A loss and its gradients, as a training step leaves them behind."""
    hidden, weight, _ = given
    hidden.grad = weight.grad = None
    value = loss(*given)
    value.backward()
    return value.item(), hidden.grad, weight.grad


def same(one: tuple[float, Tensor, Tensor], other: tuple[float, Tensor, Tensor]) -> bool | str:
    """Whether losses agree to 1e-5 (bfloat16 1e-2) and gradients to that part of their largest entry."""
    limit = 2e-2 if one[1].dtype == torch.bfloat16 else 1e-5
    if abs(one[0] - other[0]) > limit * abs(other[0]):
        return f"losses {one[0]} and {other[0]}"
    for name, mine, theirs in zip(("hidden", "weight"), one[1:], other[1:], strict=True):
        difference = ((mine - theirs).abs().max() / theirs.abs().max()).item()
        if difference > limit:
            return f"gradients of {name} differ by {difference:.1e} of the largest entry"
    return True


def prepared(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, after a small step of each contender: what they load and keep for good does not count."""
    torch.set_num_threads(2)
    for loss in (ours, peer):
        step(inputs(TINY), loss)
    return inputs(case)


def memory(case: Case, loss: Callable[..., Tensor]) -> float:
    """MiB at the peak of a step, gradients included."""
    if case.device == "cpu":
        return peak_memory(step, loss, prepare=partial(prepared, case))
    given = inputs(case)
    return peak_cuda_memory(lambda: step(given, loss))


def row(case: Case, **options: Any) -> Row:
    """Time and memory of one case."""
    given = inputs(case)
    kind = str(case.dtype).removeprefix("torch.")
    name = f"loss, {case.rows:,} x {case.width:,}, V = {case.vocabulary:,}, {kind}, {case.device}"
    name += f", {case.padding:.0%} padding" if case.padding else ""
    timed = versus(
        name,
        partial(step, given, ours),
        partial(step, given, peer),
        same,
        clock="cuda" if case.device == "cuda" else "cpu",
        **options,
    )
    del given
    return timed | {
        "ours, peak MiB": round(memory(case, ours)),
        "peer, peak MiB": round(memory(case, peer)),
        "logits, MiB": round(case.rows * case.vocabulary * case.dtype.itemsize / 2**20),
    }


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    torch.set_num_threads(2)
    if tiny:
        rows = [row(TINY, rounds=1, min_seconds=0)]
    else:
        rows = [row(case) for case in CPU + (CUDA if torch.cuda.is_available() else [])]
    print(table(rows))
    if not tiny:
        save("pegasus", rows, table="loss", versions=("torch", "triton"), data="random", seed=0)
    return rows


if __name__ == "__main__":
    main()
