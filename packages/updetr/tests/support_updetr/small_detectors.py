"""Small detectors whose every weight, statistics of norms included, is away from its initial value."""

import torch

from nonet.testing import seeded
from updetr.batches import Images
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig

SIZES = {
    "backbone": "resnet-tiny", "width": 16, "heads": 2, "encoder_layers": 2, "decoder_layers": 2,
    "hidden": 24, "queries": 12, "patches": 4, "labels": ("cat", "dog", "cow"),
}  # fmt: skip


def small(seed=0, **changes):
    """A small detector, see `shake`."""
    torch.manual_seed(seed)
    return shake(Detector(DetectorConfig(**(SIZES | changes))), seed).eval()


def shake(module, seed=0):
    """Move every weight and buffer, so that no norm is the identity and answers differ between queries."""
    random = seeded(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            noise = torch.rand(value.shape, generator=random)
            if value.dim() < 2:
                value.add_(0.4 * noise)
            elif "backbone" not in name:
                value.mul_(1 + noise)
    return module


def batch(height=96, width=64, count=2, seed=1):
    """Random images, the last one smaller than the others."""
    pixels = torch.randn(count, 3, height, width, generator=seeded(seed))
    mask = torch.ones(count, height, width, dtype=torch.bool)
    mask[-1, height * 2 // 3 :] = False
    mask[-1, :, width * 3 // 4 :] = False
    return Images(pixels * mask[:, None], mask)


@torch.no_grad()
def answers(detector, images=None):
    """The last layer's logits and boxes."""
    outputs = detector(batch() if images is None else images)
    return outputs.logits[-1], outputs.boxes[-1]


def same(first, second, atol=0.0):
    """Whether two pairs of logits and boxes are equal; queries must differ, or it would say little."""
    assert min(float(part.std(1).max()) for part in first) > 1e-3
    return all(torch.allclose(a, b, rtol=0, atol=atol) for a, b in zip(first, second, strict=True))
