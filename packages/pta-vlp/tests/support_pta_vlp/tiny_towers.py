"""A tiny vision tower with a detector, both with random weights and without dropout."""

import dataclasses

import torch

from nonet.vision_language.pair_config import TINY
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.vision import build_vision
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

CONFIG = dataclasses.replace(
    TINY, vit_width=32, vit_depth=4, vit_heads=2, image=32, text_width=32, dropout=0.0,
    vit_attention_dropout=0.0,
)  # fmt: skip


def tiny_tower(seed=0, options=None, **changes):
    """In evaluation mode; the same seed gives the same weights. 16 patches an image of 32 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vision = build_vision(dataclasses.replace(CONFIG, **changes))
        detector = PatchDetector(vision.width, text_width=32)
        torch.nn.init.normal_(detector.rest[-1].weight)  # scores that differ by more than rounding
    return PrunedVision(vision, detector, options or SelectOptions(block=1)).eval()
