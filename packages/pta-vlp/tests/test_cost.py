"""Costs against the table that was worked out from the formula, and against torch's own counter."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nonet.testing import normal
from pta_vlp.cost import (
    Tower,
    block_macs,
    detector_macs,
    full_macs,
    kept_tokens,
    pruned_macs,
    shared_speed_up,
    speed_up,
    tower_of,
)
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))

from tiny_towers import tiny_tower

# Side of the image: GMAC of all blocks, then how many times faster with (blocks before the selection, keep).
SETTINGS = [(6, 0.7), (6, 0.5), (6, 0.3), (4, 0.5), (4, 0.3), (2, 0.5), (2, 0.3)]
TABLE = {
    224: (17.45, [1.18, 1.34, 1.54, 1.50, 1.88, 1.72, 2.42]),
    256: (23.05, [1.18, 1.34, 1.55, 1.51, 1.89, 1.73, 2.44]),
    384: (55.14, [1.19, 1.36, 1.56, 1.54, 1.93, 1.78, 2.51]),
    512: (106.4, [1.20, 1.37, 1.58, 1.57, 1.97, 1.83, 2.59]),
}


@pytest.mark.parametrize("side", TABLE)
def test_costs_are_those_of_the_table(side):
    tower = Tower((side // 16) ** 2)
    whole, ratios = TABLE[side]
    assert full_macs(tower) / 1e9 == pytest.approx(whole, rel=0.0005)
    for (before, keep), wanted in zip(SETTINGS, ratios, strict=True):
        assert speed_up(tower, SelectOptions(block=before - 1, keep=keep)) == pytest.approx(
            wanted, abs=0.0051
        )


def test_five_texts_share_a_trunk():
    tower = Tower(256)
    half = SelectOptions(block=5, keep=0.5)
    wanted = 6 * block_macs(257) / 5 + 6 * block_macs(130)
    assert pruned_macs(tower, half, texts=5, detector=False) == wanted
    assert pruned_macs(tower, half, texts=5, shared=False, detector=False) == pruned_macs(
        tower, half, detector=False
    )
    assert speed_up(tower, half, texts=5) == pytest.approx(2.88, abs=0.01)
    assert shared_speed_up(tower, half, texts=5) == pytest.approx(2.88 / 5, abs=0.002)


def test_what_does_not_ask_the_text_costs_once_an_image():
    tower = Tower(256)
    plain = SelectOptions(block=5, keep=0.5, selection="attention")
    assert pruned_macs(tower, plain, texts=5) == pytest.approx(pruned_macs(tower, plain) / 5)
    for options in (SelectOptions(keep=1), SelectOptions(selection="off")):
        assert pruned_macs(tower, options, texts=5) == full_macs(tower) / 5
        assert kept_tokens(tower, options) == 257
    assert kept_tokens(tower, SelectOptions(keep=0.5, fuse=False)) == 129


@pytest.mark.parametrize("texts", [1, 3])
@pytest.mark.parametrize("side", [32, 64])
def test_costs_are_those_that_torch_counts(side, texts):
    pruned = tiny_tower(image=side, options=SelectOptions(block=1, keep=0.4))
    vision, tower = pruned.vision, tower_of(pruned.vision)
    images, text = normal(2, 3, side, side), normal(2 * texts, 32, seed=1)
    of_image = torch.arange(2).repeat_interleave(texts)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedded = vision.embed(images)
    patchify = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        pruned(images, text, of_image)
    counted = (counter.get_total_flops() - patchify) / 2 / len(text)
    assert pruned_macs(tower, pruned.options, texts=texts) == pytest.approx(counted, rel=0.01)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vision.blocks(embedded)
    assert full_macs(tower) * 2 == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


def test_the_detector_costs_what_torch_counts():
    pruned = tiny_tower(image=32, options=SelectOptions(block=0, keep=0.5))
    tower, detector = tower_of(pruned.vision), pruned.detector
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part = detector.image_part(normal(1, 16, 32))
    assert detector_macs(tower)[0] == counter.get_total_flops() / 2
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.join(part, detector.text_part(normal(1, 32)))
    assert detector_macs(tower)[1] == counter.get_total_flops() / 2
