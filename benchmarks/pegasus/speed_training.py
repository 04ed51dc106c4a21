"""A training step, and its memory: our loss and model against transformers' own with its `labels=` loss.

Both have the same weights, see the same batch and take the same optimiser (AdamW, no weight decay); losses
are equal to 1e-5 before anything is timed. The step is forward, backward and update. transformers makes the
logits of the whole batch, ours a part of them at a time; with V = 96,103 this is what the memory of a step
is made of. Dropout is off, so that both compute the same.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from benchmarks.harness import Row, peak_cuda_memory, peak_memory, save, table, versus
from benchmarks.pegasus.models import SMALL, TINY, random_batch, twins

from pegasus.losses import GapSentenceLoss, Objective
from pegasus.options import ModelOptions

SEED = 0
PAPER_VOCABULARY = 96_103


class Case(NamedTuple):
    """Shapes of one step."""

    model: ModelOptions
    vocabulary: int
    batch: tuple[int, int, int]
    """documents, input tokens, target tokens"""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        documents, inputs, targets = self.batch
        kind = str(self.dtype).removeprefix("torch.")
        return f"V = {self.vocabulary:,}, {documents} x ({inputs} + {targets}) tokens, {kind}, {self.device}"


PLAIN = replace(SMALL, dropout=0.0)
CPU = [Case(PLAIN, 16_000, (8, 128, 64)), Case(PLAIN, PAPER_VOCABULARY, (4, 128, 64))]
BASE = ModelOptions(size="base", dropout=0.0)
CUDA = [
    Case(BASE, vocabulary, (32, 512, 256), "cuda", dtype)
    for vocabulary, dtype in (
        (16_000, torch.bfloat16), (PAPER_VOCABULARY, torch.bfloat16), (PAPER_VOCABULARY, torch.float32)
    )
]  # fmt: skip
WEIGHED = [Case(PLAIN, PAPER_VOCABULARY, (8, 128, 128))]
SMALLEST = Case(replace(TINY, dropout=0.0), 400, (2, 16, 8))


class Contender(NamedTuple):
    """A model with its batch and optimiser."""

    loss: Callable[[], torch.Tensor]
    optimizer: torch.optim.Optimizer


def contenders(case: Case, rate: float = 0.0) -> tuple[Contender, Contender]:
    """Ours and the peer; at rate 0 the update does all its work and the weights stay."""
    ours, peer = twins(case.model, case.vocabulary, device=case.device, dtype=case.dtype, seed=SEED)
    batch = random_batch(case.batch, case.vocabulary, device=case.device, seed=SEED)
    objective, peer = Objective(ours, GapSentenceLoss()).train(), peer.train()

    def our_loss() -> torch.Tensor:
        term = objective(batch)["gsg"]
        return term.total / term.count

    def peer_loss() -> torch.Tensor:
        return peer(**batch).loss  # type: ignore[no-any-return]

    optimizers = [torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0) for model in (ours, peer)]
    return Contender(our_loss, optimizers[0]), Contender(peer_loss, optimizers[1])


def step(contender: Contender) -> float | torch.Tensor:
    """One training step; the loss."""
    contender.optimizer.zero_grad()
    loss = contender.loss()
    loss.backward()
    contender.optimizer.step()
    return loss.detach()


def same(limit: float, mine: torch.Tensor, other: torch.Tensor) -> bool | str:
    """Equal losses, relative to `limit`."""
    a, b = float(mine), float(other)
    return abs(a - b) <= limit * abs(b) or f"losses {a} and {b}"


def row(case: Case, **options: Any) -> Row:
    """The time of a step."""
    ours, peer = contenders(case)
    return versus(
        f"training step, {case}",
        partial(step, ours),
        partial(step, peer),
        partial(same, 1e-5 if case.dtype == torch.float32 else 2e-2),
        unit="target tokens",
        per_call=case.batch[0] * case.batch[2],
        clock="cuda" if case.device == "cuda" else "cpu",
        **options,
    )


def warmed(case: Case, which: int) -> Contender:
    """A contender whose gradients are there, after a small step: what stays for good does not count."""
    small = contenders(SMALLEST._replace(device=case.device))[which]
    small.loss().backward()
    contender = contenders(case)[which]
    for group in contender.optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    return contender


def passes(contender: Contender) -> None:
    """Forward and backward."""
    contender.loss().backward()


def weigh(case: Case) -> Row:
    """Peak memory of one forward and backward pass, beyond weights and gradients."""
    found = []
    for which in (0, 1):
        if case.device == "cpu":
            found.append(peak_memory(passes, prepare=partial(warmed, case, which)))
        else:
            found.append(peak_cuda_memory(partial(passes, warmed(case, which))))
    documents, _, targets = case.batch
    return {
        "name": f"forward + backward, {case}",
        "ours, peak MiB": round(found[0]),
        "peer, peak MiB": round(found[1]),
        "saved, MiB": round(found[1] - found[0]),
        "logits, MiB": round(documents * targets * case.vocabulary * case.dtype.itemsize / 2**20, 1),
    }


def main(tiny: bool = False) -> list[Row]:
    """Print both tables; kept in benchmarks/results unless they are tiny."""
    cuda = CUDA if torch.cuda.is_available() else []
    if tiny:
        rows, weights = [row(SMALLEST, rounds=1, min_seconds=0)], [weigh(SMALLEST)]
    else:
        rows = [row(case, rounds=3) for case in CPU + cuda]
        weights = [weigh(case) for case in WEIGHED + cuda]
    print(table(rows), table(weights), sep="\n\n")
    if not tiny:
        about: dict[str, Any] = {
            "data": "random",
            "seed": SEED,
            "threads": f"{torch.get_num_threads()} CPU threads",
        }
        save("pegasus", rows, table="training", versions=("torch", "transformers", "triton"), **about)
        save("pegasus", weights, table="memory", versions=("torch", "transformers", "triton"), **about)
    return rows + weights


if __name__ == "__main__":
    main()
