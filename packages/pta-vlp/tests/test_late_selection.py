"""Late selection against a loop over single pairs that selects by hand."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
import square_tasks

from nonet.data.image_augment import PlainImages
from nonet.data.image_text_pairs import read_pairs
from nonet.testing import devices, seeded
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.tasks.pair_matching import EncodedTexts
from nonet.vision_language.tasks.retrieval import evaluate_retrieval
from pta_vlp.cost import Tower, detector_macs, full_macs, pruned_macs
from pta_vlp.late_selection import LateLook, LateMatching
from pta_vlp.patch_selection import select
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

PLAIN = PlainImages(height=48, width=48)
TEXTS = TextBatch(square_tasks.tokenizer(), 20)
BLOCK, KEEP = 1, 11  # of 36 patches, 0.31 are 11


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return read_pairs([square_tasks.write(tmp_path_factory.mktemp("late"), 5, 1)["retrieval", "train"]])


def standard(values):
    return (values - values.mean()) / values.std(correction=0)


def by_hand(model, detector, image, text, *, alpha, fuse):
    """The matching head's logit of a pair: scores, order and fused token written out."""
    ids, mask = TEXTS([text])
    words = model.encode_text(ids, mask)
    before = model.vision.blocks(model.vision.embed(image), 0, BLOCK)
    middle = model.vision.blocks(before, BLOCK, BLOCK + 1)
    logs = detector(middle[:, 1:], words[:, 0])[0].log_softmax(-1)[:, 1]
    attention = model.vision.cls_attention(before, BLOCK)[0]
    scores = alpha * standard(logs) + (1 - alpha) * standard(attention)
    order = sorted(range(36), key=lambda patch: -float(scores[patch]))
    kept, dropped = sorted(order[:KEEP]), order[KEEP:]
    tokens = model.vision(image)[0]
    rows = [tokens[0], *(tokens[1 + patch] for patch in kept)]
    if fuse:
        weights = standard(scores)[dropped].exp()
        rows.append((weights[:, None] * tokens[[1 + patch for patch in dropped]]).sum(0) / weights.sum())
    fused = model.fusion(torch.stack(rows)[None], None, words, mask)[1]
    return model.itm_logits(fused)[0, 1]


@pytest.mark.parametrize("stride", [0, 1])
@pytest.mark.parametrize(("selection", "alpha", "fuse"), [("text", 1.0, True), ("mixed", 0.4, False)])
def test_scores_are_those_of_pairs_one_by_one(table, stride, selection, alpha, fuse):
    config = dataclasses.replace(square_tasks.SMALL, fusion_layers=2, stride=stride)
    model, detector = square_tasks.model(config), square_tasks.detector(config)
    options = SelectOptions(selection=selection, block=BLOCK, keep=0.31, alpha=0.4, fuse=fuse)
    matching = LateMatching(model, PrunedVision(model.vision, detector, options))
    found = evaluate_retrieval(model, table, TEXTS, PLAIN, rerank=99, batch=3, matching=matching)
    texts = [text for i in range(len(table)) for text in table.captions_of(i)]
    assert found.image_scores.shape == (4, len(texts)) == (4, 8)
    with torch.no_grad():
        expected = [
            [by_hand(model, detector, PLAIN(table.open(i))[None], text, alpha=alpha, fuse=fuse)
             for text in texts]
            for i in range(len(table))
        ]  # fmt: skip
    np.testing.assert_allclose(found.image_scores, np.array(expected), atol=5e-5)
    assert np.ptp(found.image_scores) > 0.1


def test_the_index_does_not_know_the_text(table):
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, square_tasks.detector(), SelectOptions(block=BLOCK, keep=0.2))
    late = evaluate_retrieval(model, table, TEXTS, PLAIN, matching=LateMatching(model, pruned))
    plain = evaluate_retrieval(model, table, TEXTS, PLAIN)
    np.testing.assert_allclose(late.image_scores, plain.image_scores, atol=1e-6)


@devices
def test_a_device_gives_the_scores_of_the_cpu(table, device):
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, square_tasks.detector(), SelectOptions(block=BLOCK, keep=0.5))
    expected = evaluate_retrieval(
        model, table, TEXTS, PLAIN, rerank=99, batch=1, matching=LateMatching(model, pruned)
    )
    model.to(device)
    found = evaluate_retrieval(
        model, table, TEXTS, PLAIN, rerank=99, batch=4, matching=LateMatching(model, pruned.to(device))
    )
    np.testing.assert_allclose(found.image_scores, expected.image_scores, atol=1e-4)
    np.testing.assert_allclose(found.text_scores, expected.text_scores, atol=1e-4)


def test_what_is_held_between_the_stages_changes_nothing(table):
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, square_tasks.detector(), SelectOptions(block=BLOCK, keep=0.5))
    found = [
        evaluate_retrieval(
            model, table, TEXTS, PLAIN, rerank=3, batch=2, held=held, matching=LateMatching(model, pruned)
        ).image_scores
        for held in (0, 20_000, 1 << 30)  # no image, the first two, all of them
    ]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])


def test_no_candidate_is_no_score(table):
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, square_tasks.detector(), SelectOptions(block=BLOCK))
    matching = LateMatching(model, pruned)
    with torch.no_grad():
        texts = EncodedTexts(model, ["a red square"], TEXTS, batch=2, device="cpu", tokens=True)
        image = matching.see(torch.zeros(1, 3, 48, 48))
        assert matching.scores(image, texts, torch.zeros(0, dtype=torch.int64), batch=2).shape == (0,)


def test_a_selection_that_does_not_ask_the_text_is_refused():
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, None, SelectOptions(selection="attention", block=BLOCK))
    with pytest.raises(ValueError, match="late selection is by text, not by attention"):
        LateMatching(model, pruned)


@pytest.mark.parametrize("selection", ["text", "attention"])
def test_a_tower_may_drop_patches_behind_its_last_block(selection):
    model, detector = square_tasks.model(), square_tasks.detector()
    options = SelectOptions(selection=selection, block=BLOCK, keep=0.31)
    early, late = (
        PrunedVision(model.vision, detector, dataclasses.replace(options, late=late))
        for late in (False, True)
    )
    images, of_image = torch.randn(2, 3, 48, 48, generator=seeded()), torch.tensor([1, 0, 1])
    texts = torch.randn(3, 32, generator=seeded(1))
    with torch.no_grad():
        found, other = late(images, texts, of_image), early(images, texts, of_image)
        expected = select(model.vision(images)[of_image], other.scores, 0.31)
    assert torch.equal(found.kept, other.kept)
    torch.testing.assert_close(found.tokens, expected.tokens, atol=2e-5, rtol=0)
    assert (found.tokens - other.tokens).abs().max() > 0.01


def test_dropping_late_costs_the_full_tower_once_an_image():
    tower, options = Tower(256), SelectOptions(late=True)
    assert pruned_macs(tower, options, texts=5, detector=False) == full_macs(tower) / 5
    of_image, of_pair = detector_macs(tower)
    assert pruned_macs(tower, options, texts=5) == pytest.approx((full_macs(tower) + of_image) / 5 + of_pair)
    early = dataclasses.replace(options, late=False)
    assert pruned_macs(tower, options, texts=1) > pruned_macs(tower, early, texts=1)
    assert pruned_macs(tower, options, texts=3) < pruned_macs(tower, early, texts=3)


def test_matching_learns_on_the_tokens_that_it_is_used_on(table):
    model = square_tasks.model()
    pruned = PrunedVision(model.vision, square_tasks.detector(), SelectOptions(block=BLOCK, keep=0.31))
    learnt, used = LateLook(model, pruned), LateMatching(model, pruned)
    images = torch.stack([PLAIN(table.open(i)) for i in range(3)])
    captions = [table.captions_of(i)[0] for i in range(3)]
    ids, mask = TEXTS(captions)
    seen = learnt(model, {"images": images})
    torch.testing.assert_close(seen.tokens, model.vision(images), atol=1e-5, rtol=0)
    pairs, texts = torch.tensor([0, 2, 1, 0]), torch.tensor([0, 1, 2, 2])
    words = model.encode_text(ids, mask)
    tokens = learnt.pairs(model, seen, pairs, words[texts])
    logits = model.itm_logits(model.fusion(tokens, None, words[texts], mask[texts])[1])[:, 1]
    encoded = EncodedTexts(model, captions, TEXTS, batch=4, device="cpu", tokens=True)
    with torch.no_grad():
        found = used.see(images)
        expected = [
            used.scores(found.one(int(image)), encoded, text[None], batch=1)[0]
            for image, text in zip(pairs, texts, strict=True)
        ]
    torch.testing.assert_close(logits.detach(), torch.stack(expected), atol=5e-5, rtol=0)
    logits.sum().backward()
    blocks = model.vision.vit.blocks
    assert all(block.attn.qkv.weight.grad.abs().sum() > 0 for block in blocks)  # the trunk and the rest
    assert all(weight.grad is None for weight in pruned.detector.parameters())
    other = square_tasks.model()
    assert learnt(other, {"images": images}).trunk is None  # the twin's
