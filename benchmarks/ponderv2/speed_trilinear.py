"""Trilinear sampling in a training step with an eikonal term: our passes against torch's grid_sample.

Points on rays through a volume, their values, the slopes of a field of them with a graph of their own, a
loss on both, and its gradient to the volume: what a step of a neural surface does, without networks. Both
sides get the volume as channels last, which is faster for both, and once as it comes from a plain
convolution. `python -m benchmarks.ponderv2.speed_trilinear` keeps the rows in results/ponderv2.json.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor

from nonet.kernels.trilinear import Form, trilinear

SEED = 0
SAMPLES = 56  # of a ray


class Case(NamedTuple):
    """One step."""

    rays: int
    channels: int
    side: int
    """of the volume, in places"""
    channels_last: bool


CASES = [Case(160, 64, 40, True), Case(160, 32, 40, True), Case(160, 64, 40, False)]
TINY = [Case(4, 8, 6, True), Case(4, 8, 6, False)]


def main(*, tiny: bool = False) -> list[Row]:
    """Time both; `tiny` only checks on a few points that they agree, and keeps nothing."""
    timed: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {"rounds": 5}
    rows = [compare(case, **timed) for case in (TINY if tiny else CASES)]
    print(table(rows))
    if not tiny:
        save("ponderv2", rows, table="trilinear", versions=("torch", "numba"), data="made-up rays", seed=SEED)
    return rows


def compare(case: Case, **timed: Any) -> Row:
    """Time a step both ways."""
    random = torch.Generator().manual_seed(SEED)
    volume = torch.randn(1, case.channels, *3 * [case.side], generator=random)
    if case.channels_last:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
    start = torch.rand(case.rays, 1, 3, generator=random) * 2 - 1
    ahead = torch.nn.functional.normalize(torch.randn(case.rays, 1, 3, generator=random), dim=-1)
    points = (start + ahead * torch.linspace(0, 1.2, SAMPLES)[None, :, None]).reshape(1, -1, 3)
    weights = torch.randn(case.channels, generator=random) / case.channels**0.5
    kind = "channels last" if case.channels_last else "channels first"
    return versus(
        f"{case.rays} rays of {SAMPLES}, {case.channels} channels, {case.side}^3, {kind}",
        partial(step, volume, points, weights, "gather"),
        partial(step, volume, points, weights, "grid_sample"),
        same,
        unit="points",
        per_call=points.shape[1],
        **timed,
    )


def step(volume: Tensor, points: Tensor, weights: Tensor, form: Form) -> Tensor:
    """The gradient of a loss on values and slopes to the volume."""
    volume, points = volume.detach().requires_grad_(), points.detach().requires_grad_()
    field = torch.nn.functional.softplus(trilinear(volume, points, form=form), beta=100) @ weights
    (slopes,) = torch.autograd.grad(field.sum(), points, create_graph=True)
    loss = ((slopes.square().sum(-1) + 1e-9).sqrt() - 1).square().mean() + field.square().mean()
    (found,) = torch.autograd.grad(loss, volume)
    return found


def same(ours: Tensor, theirs: Tensor) -> bool | str:
    """Whether gradients agree to float32."""
    gap = float((ours - theirs).abs().max() / theirs.abs().max())
    return gap < 1e-4 or f"gradients differ by {gap:.3g} of the greatest"


if __name__ == "__main__":
    main()
