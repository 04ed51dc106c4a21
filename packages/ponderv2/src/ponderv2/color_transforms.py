"""Augmentations of the points' colours, for fine-tuning (released code: `ponder/datasets/transform.py`).

A cloud without colour passes unchanged. Pre-training does not use them: the renderer is to give true colours.
"""

from dataclasses import dataclass, replace

import numpy as np

from ponderv2.samples import Sample
from ponderv2.scenes import Array


@dataclass(frozen=True)
class ChromaticAutoContrast:
    """With probability `p` mix in, by a random share, colours stretched to 0..255 channel by channel."""

    p: float = 0.2

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """A channel that is constant stays as it is."""
        applied, share = generator.random() < self.p, np.float32(generator.random())
        color = sample.cloud.color
        if color is None or not applied or not len(color):
            return sample
        low, high = color.min(0), color.max(0)
        span = high - low
        stretched = np.where(span > 0, (color - low) * (255 / np.where(span > 0, span, 1)), color)
        return _with_color(sample, (1 - share) * color + share * stretched)


@dataclass(frozen=True)
class ChromaticTranslation:
    """With probability `p` add to each channel a number from -255 `ratio` to 255 `ratio`."""

    p: float = 0.95
    ratio: float = 0.05

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The result is clipped to 0..255."""
        applied, shift = generator.random() < self.p, generator.uniform(-1, 1, 3) * 255 * self.ratio
        if sample.cloud.color is None or not applied:
            return sample
        return _with_color(sample, sample.cloud.color + shift)


@dataclass(frozen=True)
class ChromaticJitter:
    """With probability `p` add normal noise of deviation 255 `std` to each colour of each point."""

    p: float = 0.95
    std: float = 0.05

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The result is clipped to 0..255."""
        color = sample.cloud.color
        if generator.random() >= self.p or color is None:
            return sample
        return _with_color(
            sample, color + generator.standard_normal(color.shape, np.float32) * 255 * self.std
        )


def _with_color(sample: Sample, color: Array) -> Sample:
    return replace(sample, cloud=replace(sample.cloud, color=color.clip(0, 255).astype(np.float32)))
