"""How fast a model answers texts about images at several shares of patches, on this machine (ours).

Timed is what an image and a text cost once the text is encoded: the vision tower with its selection, and the
fusion of both. The trunk runs once per image; with all patches, or a selection that does not ask the text,
the whole tower does. All shares take turns in each round, and a ratio is taken within a round, so that a
machine whose speed changes disturbs them alike.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pta_vlp.cost import kept_tokens, pruned_macs, tower_of
from pta_vlp.model_folders import Loaded
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

# Shapes: B images, q texts about each, E = B q pairs, L word pieces.


class Point(NamedTuple):
    """What a share of patches costs with some texts about each image.

    Attributes:
        keep: the share.
        texts: about each image.
        tokens: of an image behind the selection.
        gmac: 1e9 multiply-accumulates of the vision tower for one pair.
        milliseconds: for one pair, the median of the rounds.
        faster: how many times as long one pair takes with all patches and as many texts, the median; 1 there.
        low: the least of the rounds.
        high: the greatest.
    """

    keep: float
    texts: int
    tokens: int
    gmac: float
    milliseconds: float
    faster: float
    low: float
    high: float

    def as_row(self) -> dict[str, str]:
        """The row of a table."""
        return {
            "keep": f"{self.keep:g}", "texts an image": str(self.texts), "tokens": str(self.tokens),
            "GMAC a text": f"{self.gmac:.3g}", "ms a text": f"{self.milliseconds:.3g}",
            "times as fast": f"{self.faster:.2f} ({self.low:.2f} to {self.high:.2f})",
        }  # fmt: skip


@torch.inference_mode()  # type: ignore[untyped-decorator]
def speed_curve(
    loaded: Loaded, options: SelectOptions, keeps: Sequence[float], texts: Sequence[int], *, images: int = 8,
    length: int = 12, rounds: int = 5, device: str = "cpu", seed: int = 0,
) -> list[Point]:  # fmt: skip
    """Time a model on noise; what the images show does not change what they cost.

    Args:
        loaded: the model.
        options: of the selection, but for `keep`.
        keeps: shares of the patches; 1 is timed beside them, as what the others are compared with.
        texts: numbers of texts about each image.
        images: B, at a time.
        length: word pieces of a text.
        rounds: in each of them, everything is timed once.
        device: to compute on.
        seed: of the noise.

    Returns:
        A point for each share and number of texts, by number of texts and then as the shares are given.

    Raises:
        UserError: the selection needs what the model lacks.
    """
    model = loaded.model.to(device).eval()
    detector = None if loaded.detector is None else loaded.detector.to(device)
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, *model.config.image_size, generator=random).to(device)
    length = min(length, model.config.max_length)
    words = torch.randint(model.config.vocabulary, (images * max(texts), length), generator=random)
    encoded = model.encode_text(words.to(device))
    shares = list(dict.fromkeys([1.0, *keeps]))
    towers = {
        keep: PrunedVision(model.vision, detector, dataclasses.replace(options, keep=keep)) for keep in shares
    }
    taken: dict[tuple[float, int], list[float]] = {(keep, q): [] for q in texts for keep in shares}
    for number in range(rounds + 1):
        for keep, q in taken:
            seconds = _seconds(model, towers[keep], pixels, encoded[: images * q], q, device)
            if number:  # the first round warms up
                taken[keep, q].append(1000 * seconds / (images * q))
    sizes = tower_of(model.vision)
    points = []
    for keep, q in ((keep, q) for q in texts for keep in keeps):
        own, full = taken[keep, q], taken[1.0, q]
        ratios = [most / each for most, each in zip(full, own, strict=True)]
        chosen = towers[keep].options
        points.append(
            Point(
                keep, q, kept_tokens(sizes, chosen), pruned_macs(sizes, chosen, texts=q) / 1e9,
                statistics.median(own), statistics.median(ratios), min(ratios), max(ratios),
            )
        )  # fmt: skip
    return points


def _seconds(model: Any, tower: PrunedVision, pixels: Tensor, text: Tensor, q: int, device: str) -> float:
    """Of one pass over all pairs, by the wall clock."""
    of_image = torch.arange(len(pixels), device=device).repeat_interleave(q)
    _settle(device)
    start = time.perf_counter()
    seen = tower(pixels, text[:, 0], of_image)
    model.fusion(seen.tokens, None, text, None)
    _settle(device)
    return time.perf_counter() - start


def _settle(device: str) -> None:
    """Wait for what a GPU still has to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
