"""Scores of patches."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_folders import load_pair_model, save_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector
from timix.scoring import Passed, pass_through, patch_scores, score_entropy, scores_of_pairs

CONFIG = dataclasses.replace(
    TINY, vit_width=32, vit_depth=3, image_width=64, text_width=16, text_hidden=32, vocabulary=64, embed=8,
    decoder_layers=0,
)  # fmt: skip


class Scene:
    """A model with two images and texts that went through it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = PairModel(CONFIG).eval()
        self.detector = PatchDetector(32, text_width=16)
        self.images = torch.randn(2, 3, 48, 64)
        self.text = self.model.encode_text(torch.randint(5, 64, (2, 4)))
        self.passed = pass_through(self.model.vision, self.model.vision.embed(self.images), 1)

    def scores(self, score: str, detector: PatchDetector | None = None) -> Tensor:
        return patch_scores(score, self.model, self.passed, self.text, block=1, detector=detector)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("score", ["tpp", "attn", "itc", "random"])
def test_scores_have_the_grid_of_the_image_and_no_gradient(scene: Scene, score: str) -> None:
    found = scene.scores(score, scene.detector)
    assert found.shape == (2, 6, 8)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_the_way_through_the_tower_gives_its_tokens(scene: Scene) -> None:
    assert torch.equal(scene.passed.tokens, scene.model.encode_image(scene.images))
    block = scene.model.vision.vit.blocks[1]
    assert torch.equal(block(scene.passed.before), scene.passed.behind)


def test_the_predictor_scores_by_its_log_probability(scene: Scene) -> None:
    logits = scene.detector(scene.passed.behind[:, 1:], scene.text[:, 0])
    expected = logits.softmax(-1)[..., 1].log()
    assert torch.allclose(scene.scores("tpp", scene.detector).flatten(1), expected, atol=1e-6)


def test_cosines_are_those_of_each_patch_with_the_own_text(scene: Scene) -> None:
    found = scene.scores("itc")
    text = scene.model.text_proj(scene.text[1, 0])
    patch = scene.model.vision_proj(scene.passed.tokens[1, 1 + 2 * 8 + 5])  # row 2, column 5
    expected = torch.cosine_similarity(patch, text, dim=0)
    assert found[1, 2, 5].item() == pytest.approx(expected.item(), abs=1e-6)


def test_attention_follows_the_patch_that_cls_looks_at(scene: Scene) -> None:
    """One patch is made equal to CLS's query direction by hand: keys are the identity, CLS is it."""
    block = scene.model.vision.vit.blocks[1]
    saved = block.attn.qkv.weight.detach().clone()
    with torch.no_grad():
        block.attn.qkv.weight[:32] = torch.eye(32)
        block.attn.qkv.weight[32:64] = torch.eye(32) * 5
    before = torch.randn(2, 49, 32)
    before[:, 1 + 3 * 8 + 6] = before[:, 0]
    found = patch_scores("attn", scene.model, Passed(before, before, before[..., :16]), scene.text, block=1)
    with torch.no_grad():
        block.attn.qkv.weight.copy_(saved)
    assert found.flatten(1).argmax(1).tolist() == [3 * 8 + 6] * 2


def test_random_scores_say_nothing(scene: Scene) -> None:
    assert scene.scores("random").abs().sum() == 0


def test_a_saved_model_scores_pairs_with_its_predictor_and_says_if_it_has_none(
    scene: Scene, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer(["a dog and a cat"], 64)
    saved = tmp_path / "with", tmp_path / "without"
    save_pair_model(scene.model, tokenizer, saved[0], "", extras={"patch_detector": scene.detector})
    save_pair_model(scene.model, tokenizer, saved[1], "")
    loaded = load_pair_model(str(saved[0]))
    found = scores_of_pairs(loaded, "tpp", scene.images, ["a dog", "cat"], 1)
    ids = torch.tensor([[2, *tokenizer("a dog", add_special_tokens=False)["input_ids"], 3]])
    text = scene.model.encode_text(ids)[:, 0]
    logits = scene.detector(scene.passed.behind[:1, 1:], text)
    assert torch.allclose(found[0].flatten(), logits[0].log_softmax(-1)[:, 1], atol=1e-5)
    bare = load_pair_model(str(saved[1]))
    assert scores_of_pairs(bare, "itc", scene.images, ["a dog", "cat"], 1).shape == (2, 6, 8)
    with pytest.raises(UserError, match="has no patch predictor"):
        scores_of_pairs(bare, "tpp", scene.images, ["a dog", "cat"], 1)


def test_entropy_of_scores_is_ln_2_for_even_odds_and_0_for_certainty() -> None:
    assert score_entropy(torch.full((2, 3, 3), math.log(0.5))).item() == pytest.approx(math.log(2))
    assert score_entropy(torch.tensor([0.0, -math.inf])).item() == 0
    assert score_entropy(torch.tensor([math.log(0.25)])).item() == pytest.approx(0.5623351)


def test_a_predictor_that_is_missing_is_asked_for_with_the_ways_without_boxes(scene: Scene) -> None:
    with pytest.raises(UserError, match=r"needs a patch predictor.*attn, itc or random"):
        scene.scores("tpp")


def test_an_unknown_score_or_block_is_refused(scene: Scene) -> None:
    with pytest.raises(UserError, match="score gradcam: say tpp, attn, itc, random"):
        scene.scores("gradcam")
    with pytest.raises(UserError, match="block 3: the vision tower has blocks 0 to 2"):
        pass_through(scene.model.vision, torch.zeros(1, 49, 32), 3)
