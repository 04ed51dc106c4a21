"""Two-stage retrieval against loops over single pairs."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_tasks"))
import tiny_tasks

from nonet.data.image_augment import PlainImages
from nonet.data.image_text_pairs import read_pairs
from nonet.errors import UserError
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.tasks.retrieval import candidates, evaluate_retrieval, retrieval_set

PLAIN = PlainImages(height=48, width=48)
TEXTS = TextBatch(tiny_tasks.tokenizer(), 12)


@pytest.fixture
def table(tmp_path):
    names = tiny_tasks.images(tmp_path, 6)
    records = [
        {"image": name, "caption": [tiny_tasks.sentence(3 * i + j, 3 + j) for j in range(1 + i % 2)]}
        for i, name in enumerate(names)
    ]
    return read_pairs([tiny_tasks.lines(tmp_path / "pairs.jsonl", records)])


def one_by_one(model, table):
    """Cosines and matching logits of every pair, each from a pass of its own."""
    texts = [text for i in range(len(table)) for text in table.captions_of(i)]
    cosines, logits = np.zeros((2, len(table), len(texts)), np.float32)
    with torch.no_grad():
        for i in range(len(table)):
            image = model.encode_image(PLAIN(table.open(i))[None])
            for j, text in enumerate(texts):
                ids, mask = TEXTS([text])
                found = model.encode_text(ids, mask)
                cosines[i, j] = (model.image_features(image) * model.text_features(found)).sum()
                logits[i, j] = model.itm_logits(model.fusion(image, None, found, mask)[1])[0, 1]
    return cosines, logits


@pytest.mark.parametrize("stride", [0, 1])
def test_scores_are_those_of_pairs_one_by_one(table, stride):
    model = tiny_tasks.model(dataclasses.replace(tiny_tasks.SMALL, fusion_layers=2, stride=stride))
    cosines, logits = one_by_one(model, table)
    plain = evaluate_retrieval(model, table, TEXTS, PLAIN, batch=4)
    np.testing.assert_allclose(plain.image_scores, cosines, atol=1e-5)
    again = evaluate_retrieval(model, table, TEXTS, PLAIN, rerank=2, batch=4)
    for scores, axis in ((again.image_scores, 1), (again.text_scores, 0)):
        kept = scores > -100
        assert (kept.sum(axis) == 2).all()
        np.testing.assert_allclose(scores[kept], logits[kept], atol=2e-5)
        least = np.where(kept, cosines, np.inf).min(axis, keepdims=True)
        assert (np.where(kept, -np.inf, cosines).max(axis, keepdims=True) <= least).all()
    assert again.pairs == ((again.image_scores > -100) | (again.text_scores > -100)).sum()


def test_recalls_are_those_of_sorted_lists(table):
    model = tiny_tasks.model()
    found = evaluate_retrieval(model, table, TEXTS, PLAIN, rerank=3)
    owner = retrieval_set(table).image_of_text
    best = found.image_scores.argsort(1)[:, ::-1][:, 0]
    ranked = np.mean([owner[text] == image for image, text in enumerate(best)])
    assert found.numbers()["TR@1"] == pytest.approx(100 * ranked)
    texts = np.mean([owner[t] in found.text_scores[:, t].argsort()[-1:] for t in range(len(owner))])
    assert found.numbers()["IR@1"] == pytest.approx(100 * texts)
    six = [value for name, value in found.numbers().items() if "@" in name]
    assert len(six) == 6
    assert found.numbers()["R-mean"] == pytest.approx(np.mean(six))


def test_a_model_that_tells_nothing_apart_finds_nothing(table):
    model = tiny_tasks.model()
    with torch.no_grad():
        for part in (model.itm_head, model.vision_proj, model.text_proj):
            part.weight.zero_()
    for rerank in (0, 9):
        found = evaluate_retrieval(model, table, TEXTS, PLAIN, rerank=rerank)
        assert found.numbers()["IR@1"] == found.numbers()["TR@1"] == found.numbers()["IR@5"] == 0


def test_items_of_one_image_are_one_image(tmp_path):
    names = tiny_tasks.images(tmp_path, 3)
    rows = [(names[2], "c", 7), (names[0], "a", 5), (names[2], "e", 7), (names[1], "b", 6)]
    records = [{"image": name, "caption": text, "image_id": number} for name, text, number in rows]
    found = retrieval_set(read_pairs([tiny_tasks.lines(tmp_path / "train.jsonl", records)]))
    assert found.texts == ["c", "a", "e", "b"]
    assert found.items.tolist() == [0, 1, 3]
    assert found.image_of_text.tolist() == [0, 1, 0, 2]


def test_more_candidates_than_there_are_is_all_of_them():
    to_text, to_image = candidates(torch.randn(3, 5), 99)
    assert to_text.all()
    assert to_image.all()


def test_workers_change_nothing_and_the_mode_is_kept(table):
    model = tiny_tasks.model().train()
    here = evaluate_retrieval(model, table, TEXTS, PLAIN)
    there = evaluate_retrieval(model, table, TEXTS, PLAIN, workers=1, batch=2)
    np.testing.assert_allclose(here.image_scores, there.image_scores, atol=1e-6)
    assert model.training


def test_an_image_that_cannot_be_read_is_an_error(table):
    table.path(4).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image4\.png"):
        evaluate_retrieval(tiny_tasks.model(), table, TEXTS, PLAIN)
