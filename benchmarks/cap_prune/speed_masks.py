"""A masked matrix of learned scores, forward and backward: ours against sorting all scores in every step.

The sizes of a feed-forward matrix of BERT-base and of MiniLM, one text of 16 pieces, a tenth of the weights
kept. Both give the same output and the same gradients of inputs, weights and scores.
"""

from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor
from torch.nn import functional

from nonet.kernels.masked_linear import masked_linear

SEED = 0
SHARE = 0.1  # of the weights kept
PIECES = 16
SIZES = {"BERT-base": (3072, 768), "MiniLM": (1536, 384)}
"""outputs and inputs of the first feed-forward layer"""


class PlainMask(torch.autograd.Function):  # type: ignore[misc]
    """Ones for the largest scores, by sorting; the gradient passes as if the mask were the scores."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, share: float) -> Tensor:
        """Zeros and ones."""
        order = scores.flatten().argsort(descending=True)
        mask = torch.zeros_like(scores)
        mask.view(-1)[order[: int(share * scores.numel())]] = 1
        return mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Straight through."""
        return gradient, None


def main(*, tiny: bool = False) -> list[Row]:
    """A row a size."""
    rows = []
    for name, (outputs, inputs) in ({"tiny": (16, 8)} if tiny else SIZES).items():
        random = torch.Generator().manual_seed(SEED)
        x, weight, scores, gradient = (
            torch.randn(shape, generator=random)
            for shape in ((PIECES, inputs), (outputs, inputs), (outputs, inputs), (PIECES, outputs))
        )
        leaves = [part.requires_grad_() for part in (x, weight, scores)]
        rows.append(
            versus(
                f"a masked {outputs} x {inputs} matrix of {name}, against sorting its scores",
                partial(both_ways, ours, leaves, gradient),
                partial(both_ways, plain, leaves, gradient),
                same,
                rounds=1 if tiny else 9,
                unit="weights",
                per_call=outputs * inputs,
            )
        )
    print(table(rows))
    if not tiny:
        save("cap-prune", rows, table="masks", data="random weights and scores", seed=SEED)
    return rows


def ours(x: Tensor, weight: Tensor, scores: Tensor) -> Tensor:
    """The layer's output."""
    return masked_linear(x, weight, scores, kept=int(SHARE * scores.numel()))


def plain(x: Tensor, weight: Tensor, scores: Tensor) -> Tensor:
    """The same with a mask of numbers."""
    mask: Any = PlainMask.apply(scores, SHARE)
    return functional.linear(x, weight * mask)


def both_ways(layer: Any, leaves: list[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients."""
    found = layer(*leaves)
    return (found.detach(), *torch.autograd.grad(found, leaves, gradient))


def same(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> bool | str:
    """Whether all agree."""
    for name, a, b in zip(("output", "of x", "of the weights", "of the scores"), left, right, strict=True):
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-4):
            return f"{name} differs by {(a - b).abs().max().item():.3g}"
    return True


if __name__ == "__main__":
    main()
