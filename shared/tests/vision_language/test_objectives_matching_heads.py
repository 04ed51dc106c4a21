"""Matching and contrast in transformers on random tiny models: the same logits give the model's own loss."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from nonet.vision_language.objectives import (
    image_text_contrastive,
    image_text_matching,
    masked_codes,
    masked_lm,
    sigmoid_contrastive,
)

TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 24}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PICTURE = {"image_size": 8, "patch_size": 4}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["clip.modeling_clip", "blip.modeling_blip"])
def test_the_contrast_of_any_square_matrix_is_clips_and_blips(name):
    import importlib

    theirs = importlib.import_module(f"transformers.models.{name}").image_text_contrastive_loss
    for size in (1, 2, 7):
        similarity = 5 * torch.randn(size, size)
        found = image_text_contrastive(similarity)
        assert found.loss.item() == pytest.approx(theirs(similarity).item(), abs=1e-6)


def test_siglips_loss():
    from transformers import SiglipConfig, SiglipModel

    text = TINY | {"vocab_size": 40, "max_position_embeddings": 8, "projection_size": 16}
    config = SiglipConfig(text_config=text, vision_config=TINY | PICTURE)
    model = SiglipModel(config).eval()
    with torch.no_grad():
        model.logit_scale.fill_(1.2)
        model.logit_bias.fill_(-0.7)
        output = model(
            input_ids=torch.randint(2, 40, (4, 8)), pixel_values=torch.randn(4, 3, 8, 8), return_loss=True
        )
    similarity = normalize(output.image_embeds, dim=-1) @ normalize(output.text_embeds, dim=-1).mT
    found = sigmoid_contrastive(similarity, model.logit_scale.exp(), model.logit_bias)
    assert found.loss.item() == pytest.approx(output.loss.item(), rel=1e-5)


def test_flavas_loss_is_the_sum_of_our_parts():
    from transformers import FlavaConfig, FlavaForPreTraining

    parts = TINY | STILL
    config = FlavaConfig(
        text_config=parts | {"vocab_size": 40, "max_position_embeddings": 8},
        image_config=parts | PICTURE | {"vocab_size": 30},
        multimodal_config=parts,
        image_codebook_config={
            "num_groups": 4,
            "hidden_size": 4,
            "num_blocks_per_group": 1,
            "vocab_size": 30,
        },
        hidden_size=16,
        projection_dim=8,
    )
    model = FlavaForPreTraining(config).eval()
    ids, labels, matched = torch.randint(2, 40, (4, 6)), torch.full((4, 6), -100), torch.tensor([1, 0, 1, 1])
    labels[:, 2] = ids[:, 2]
    codes, hidden = torch.randint(0, 30, (4, 4)), torch.zeros(4, 4).bool()
    hidden[:, 1] = hidden[0, 3] = True
    with torch.no_grad():
        output = model(
            input_ids=ids, input_ids_masked=ids, pixel_values=torch.randn(4, 3, 8, 8),
            attention_mask=torch.ones_like(ids), bool_masked_pos=hidden, mlm_labels=labels,
            mim_labels=codes.masked_fill(~hidden, -100), itm_labels=matched, return_loss=True,
        )  # fmt: skip
    info, rows = output.loss_info, (matched == 1).nonzero()[:, 0]  # of pairs that match, among all texts
    ours = {
        "itm": image_text_matching(output.itm_logits, matched),
        "global_contrastive": image_text_contrastive(
            output.contrastive_logits_per_image, output.contrastive_logits_per_text, targets=rows
        ),
        "mmm_text": masked_lm(output.mmm_text_logits, labels[matched == 1][:, 2]),
        "mmm_image": masked_codes(
            output.mmm_image_logits, codes[matched == 1][hidden[matched == 1]],
            torch.ones(len(output.mmm_image_logits)).bool(),
        ),
    }  # fmt: skip
    for name, found in ours.items():
        assert found.loss.item() == pytest.approx(info[name].item(), rel=1e-5), name
    total = sum(found.loss.item() for found in ours.values())
    assert total == pytest.approx(output.loss.item(), rel=1e-5)


def bridge_tower(kind):
    from transformers import BridgeTowerConfig

    text = {
        "vocab_size": 40, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 24, "max_position_embeddings": 16, **STILL,
    }  # fmt: skip
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "patch_size": 4, "image_size": 8}
    config = BridgeTowerConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        contrastive_hidden_size=8, logit_scale_init_value=1.5, text_config=text, vision_config=vision,
    )  # fmt: skip
    return kind(config).eval(), {
        "input_ids": torch.randint(3, 40, (3, 6)),
        "attention_mask": torch.ones(3, 6).long(),
        "pixel_values": torch.randn(3, 3, 8, 8),
        "pixel_mask": torch.ones(3, 8, 8).long(),
    }


def test_bridgetowers_matching():
    from transformers import BridgeTowerForImageAndTextRetrieval

    model, inputs = bridge_tower(BridgeTowerForImageAndTextRetrieval)
    labels = torch.tensor([1, 0, 1])
    with torch.no_grad():
        output = model(**inputs, labels=labels)
    assert image_text_matching(output.logits, labels).loss.item() == pytest.approx(
        output.loss.item(), rel=1e-5
    )


def test_bridgetowers_contrast_is_three_halves_of_ours():
    """Of text with image, of text with both, and of image with both, each in one direction."""
    from transformers import BridgeTowerForContrastiveLearning

    model, inputs = bridge_tower(BridgeTowerForContrastiveLearning)
    with torch.no_grad():
        output = model(**inputs, return_loss=True)
    text, image, both = output.text_embeds, output.image_embeds, output.cross_embeds
    scale = model.logit_scale.exp()
    pairs = ((text, image), (text, both), (image, both))
    halves = [
        image_text_contrastive(queries @ keys.mT * scale).aux["image_to_text"].item()
        for queries, keys in pairs
    ]
    assert sum(halves) / 3 == pytest.approx(output.loss.item(), rel=1e-5)


def test_vilts_score_of_a_pair_is_one_logit_for_a_match():
    from transformers import ViltConfig, ViltForImageAndTextRetrieval

    config = ViltConfig(**TINY, **STILL, **PICTURE, vocab_size=40, max_position_embeddings=8)
    model = ViltForImageAndTextRetrieval(config).eval()
    labels = torch.tensor([1, 0, 0, 1])
    with torch.no_grad():
        logits = model(input_ids=torch.randint(1, 40, (4, 5)), pixel_values=torch.randn(4, 3, 8, 8)).logits
    expected = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    assert image_text_matching(logits[:, 0], labels).loss.item() == pytest.approx(expected.item(), rel=1e-6)
