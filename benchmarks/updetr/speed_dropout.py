"""Dropout on a processor against torch's: by itself, in attention, and in a whole step of a small detector.

Both drop a tenth; masks differ, so that what has to agree is how much is dropped, and sums on average.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor
from torch.nn import functional as F

from updetr import attention, dropout
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig

SEED, SHARE = 0, 0.1
NUMBERS = 1_000_000
SMALL = {"backbone": "resnet-tiny", "width": 128, "encoder_layers": 2, "decoder_layers": 3, "hidden": 256}
BATCH, MAP = 16, (8, 10)
"""images, and rows and columns of their features"""

Dropping = Callable[[Tensor, float], Tensor]


def main(*, tiny: bool = False) -> list[Row]:
    """Three rows."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rounds = {"rounds": 1, "min_seconds": 0.0} if tiny else {}
    x = torch.randn(NUMBERS // 100 if tiny else NUMBERS, requires_grad=True)
    layer = attention.Attention(128, heads=8, dropout=SHARE).train()
    images = 2 if tiny else BATCH
    tokens = torch.randn(images, MAP[0] * MAP[1], 128, requires_grad=True)
    config = DetectorConfig(**SMALL, queries=40, patches=8, dropout=SHARE)
    detector = Detector(config).train()
    maps = torch.randn(images, detector.backbone.channels[-1], *MAP)
    of = f"{images} images of {tokens.shape[1]} features"
    works = {
        f"dropout of {len(x):,} numbers, and its gradient": partial(drop, x),
        f"attention of {of}, 8 heads of 16, and its gradient": partial(attend, layer, tokens),
        f"a step of {of}, 2 + 3 layers of 128, 40 queries, with gradients": partial(step, detector, maps),
    }
    rows = [
        versus(name, work, partial(by_torch, work), alike, **rounds)  # type: ignore[arg-type]
        for name, work in works.items()
    ]
    print(table(rows))
    if not tiny:
        save("updetr", rows, table="dropout", versions=("torch", "numba"), data="noise", seed=SEED)
    return rows


def drop(x: Tensor) -> Tensor:
    """The gradient of a sum: a mask."""
    return torch.autograd.grad(dropout.dropped(x, SHARE).sum(), x)[0]


def attend(layer: attention.Attention, tokens: Tensor) -> Tensor:
    """The gradient of a sum of squares."""
    found = layer(tokens, tokens, tokens, torch.zeros(tokens.shape[:2], dtype=torch.bool))
    return torch.autograd.grad(found.square().sum(), tokens)[0]


def step(detector: Detector, maps: Tensor) -> Tensor:
    """The logits, after the gradients of a sum of squares."""
    memory = detector.encode_maps((maps,), torch.ones(len(maps), *MAP, dtype=torch.bool))
    outputs, _ = detector.decode_with_states(memory)
    loss = outputs.logits.square().sum() + outputs.boxes.square().sum()
    detector.zero_grad()
    loss.backward()
    return outputs.logits.detach()


def by_torch(work: Callable[[], Tensor]) -> Tensor:
    """The same work with torch's dropout and its attention."""
    with torchs_dropout():
        return work()


@contextmanager
def torchs_dropout() -> Iterator[None]:
    """Inside, nothing is ours."""

    def attended(q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, share: float) -> Tensor:
        seen = None if padding is None else ~padding[:, None, None, :]
        return F.scaled_dot_product_attention(q, k, v, seen, share)

    with mock.patch.object(dropout, "dropped", F.dropout), mock.patch.object(attention, "_attend", attended):
        yield


def alike(ours: Tensor, peers: Tensor) -> bool | str:
    """Whether as much was dropped, and what is left is as large: within a third, as masks differ."""
    sizes = [float(each.abs().mean()) for each in (ours, peers)]
    zeroed = [float((each == 0).double().mean()) for each in (ours, peers)]
    if abs(sizes[0] / sizes[1] - 1) > 1 / 3 or abs(zeroed[0] - zeroed[1]) > 0.02:
        return f"sizes {sizes}, shares of zeros {zeroed}"
    return True


if __name__ == "__main__":
    main()
