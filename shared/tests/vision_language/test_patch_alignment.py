"""The loss of patch-text alignment and what is measured of a patch detector."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_alignment import (
    PatchMeasures,
    average_precision,
    patch_alignment_loss,
    region_logits,
)
from nonet.vision_language.patch_detector import PatchDetector

CONFIG = dataclasses.replace(
    TINY, vit_width=32, vit_depth=3, text_width=16, text_hidden=32, vocabulary=64, decoder_layers=0, dropout=0
)


def test_equal_logits_cost_ln_2_and_hand_numbers_fit() -> None:
    masks = torch.tensor([[True, False], [False, False]])
    assert patch_alignment_loss(torch.zeros(2, 2, 2), masks).loss.item() == pytest.approx(math.log(2))
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]], [[0.0, math.log(3)], [math.log(3), 0.0]]])
    loss, aux = patch_alignment_loss(logits, masks)
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.25) + math.log(0.75)) / 4
    assert loss.item() == pytest.approx(expected)
    assert aux["accuracy"].item() == 0.75  # equal logits say no
    assert aux["recall"].item() == 1


def test_log_probabilities_cost_what_logits_cost() -> None:
    logits, masks = torch.randn(3, 9, 2), torch.rand(3, 9) > 0.5
    ours = patch_alignment_loss(logits, masks).loss
    assert patch_alignment_loss(logits.log_softmax(-1), masks).loss.item() == pytest.approx(ours.item())


def test_no_texts_cost_nothing_and_have_a_gradient() -> None:
    logits = torch.zeros(0, 9, 2, requires_grad=True)
    loss = patch_alignment_loss(logits, torch.zeros(0, 9, dtype=torch.bool)).loss
    loss.backward()
    assert loss.item() == 0


def test_masks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        patch_alignment_loss(torch.zeros(2, 9, 2), torch.zeros(2, 4, dtype=torch.bool))


@pytest.fixture
def parts() -> tuple[PairModel, PatchDetector, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model, detector = PairModel(CONFIG).eval(), PatchDetector(32, text_width=16)
    batch = {
        "images": torch.randn(2, 3, 48, 48),
        "of_image": torch.tensor([1, 0, 1]),
        "input_ids": torch.randint(5, 64, (3, 4)),
        "attention_mask": torch.ones(3, 4, dtype=torch.int64),
    }
    return model, detector, batch


def test_a_trunk_for_each_image_gives_what_one_for_each_text_gives(
    parts: tuple[PairModel, PatchDetector, dict[str, torch.Tensor]],
) -> None:
    model, detector, batch = parts
    found = region_logits(model, detector, batch, 1)
    assert found.shape == (3, 36, 2)
    repeated = batch | {"images": batch["images"][batch["of_image"]], "of_image": torch.arange(3)}
    assert torch.allclose(found, region_logits(model, detector, repeated, 1), atol=1e-5)
    patches = model.vision.vit.forward_intermediates(  # another way to the second block's output
        batch["images"], indices=[1], output_fmt="NLC", intermediates_only=True
    )[0]
    text = model.text(batch["input_ids"], batch["attention_mask"])[:, 0]
    assert torch.allclose(found, detector(patches[batch["of_image"]], text), atol=1e-5)


def test_the_loss_reaches_blocks_up_to_the_detector_and_the_text(
    parts: tuple[PairModel, PatchDetector, dict[str, torch.Tensor]],
) -> None:
    model, detector, batch = parts
    logits = region_logits(model, detector, batch, 1)
    patch_alignment_loss(logits, torch.rand(3, 36) > 0.5).loss.backward()
    reached = [block.attn.qkv.weight.grad is not None for block in model.vision.vit.blocks]
    assert reached == [True, True, False]
    assert model.text.layers[0].self_attention.query.weight.grad.abs().sum() > 0
    assert all(value.grad is not None for value in detector.parameters())


def test_measures_are_those_of_scikit_learn() -> None:
    random = torch.Generator().manual_seed(0)
    scores = (torch.rand(6, 50, generator=random) * 20).round() / 20  # many equal ones
    masks = torch.rand(6, 50, generator=random) < 0.2 + 0.5 * scores
    measures = PatchMeasures(keep=(0.1, 0.5, 1))
    measures.add(scores[:2], masks[:2])
    measures.add(scores[2:], masks[2:])
    found = measures.result()
    truth, said = masks.flatten().numpy(), (scores > 0.5).flatten().numpy()
    assert found["ap"] == pytest.approx(average_precision_score(truth, scores.flatten().numpy()))
    assert found["precision"] == pytest.approx(precision_score(truth, said))
    assert found["recall"] == pytest.approx(recall_score(truth, said))
    assert found["f1"] == pytest.approx(f1_score(truth, said))
    assert found["accuracy"] == pytest.approx((truth == said).mean())
    assert found["recall@1"] == 1


def test_recall_at_keep_counts_box_patches_among_the_kept_and_ties_go_to_the_first() -> None:
    measures = PatchMeasures(keep=(0.25, 0.5))
    measures.add(torch.tensor([[0.5, 0.5, 0.1, 0.9]]), torch.tensor([[True, True, False, False]]))
    assert measures.result()["recall@0.25"] == 0
    assert measures.result()["recall@0.5"] == 0.5


def test_average_precision_by_hand() -> None:
    truth = torch.tensor([True, False, True])
    assert average_precision(torch.tensor([3.0, 2.0, 1.0]), truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(torch.ones(3), ~torch.ones(3, dtype=torch.bool)) == 0


def test_nothing_measured_gives_zeros_and_a_share_above_1_is_refused() -> None:
    assert set(PatchMeasures(keep=(0.5,)).result().values()) == {0.0}
    with pytest.raises(ValueError, match=r"keep is \[1\.5\]"):
        PatchMeasures(keep=(1.5,))


def squares(random, count):
    """Images of three coloured squares in a grid of 3 x 3 cells, a text for each, and its patches."""
    images = 0.3 * random.random((count, 3, 48, 48))
    masks = np.zeros((count, 3, 6, 6), bool)
    for row in range(count):
        for colour, cell in enumerate(random.permutation(9)[:3]):
            y, x = divmod(int(cell), 3)
            images[row, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = np.eye(3)[colour][:, None, None]
            masks[row, colour, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = True
    ids = torch.tensor([[2, 5 + colour] for colour in range(3)] * count)
    batch = {"images": torch.from_numpy(images).float() * 2 - 1, "input_ids": ids}
    batch |= {"attention_mask": torch.ones_like(ids), "of_image": torch.arange(3 * count) // 3}
    return batch, torch.from_numpy(masks.reshape(3 * count, 36))


def test_the_detector_learns_which_patches_a_text_names():
    """Each text names one square of three, so a detector that is deaf to it has an AP of about 1/3."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    config = dataclasses.replace(CONFIG, text_width=32, text_hidden=64, vit_attention_dropout=0)
    model, detector = PairModel(config), PatchDetector(32)
    parts = (model.vision.vit, model.text, detector)
    optimizer = torch.optim.AdamW([value for part in parts for value in part.parameters()], lr=3e-3)
    for _ in range(110):
        batch, masks = squares(random, 10)
        loss = patch_alignment_loss(region_logits(model, detector, batch, 0), masks).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    measures = PatchMeasures()
    batch, masks = squares(random, 32)
    with torch.no_grad():
        measures.add(detector.score(region_logits(model.eval(), detector, batch, 0)), masks)
    assert measures.result()["ap"] > 0.8
