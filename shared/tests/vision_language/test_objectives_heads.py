"""Pre-training heads of transformers on random tiny models: the same logits give the model's own loss."""

import pytest
import torch
from torch import nn

from nonet.vision_language.objectives import (
    answer_label,
    causal_lm,
    denoise,
    masked_codes,
    masked_lm,
    masked_pixels,
    patchify,
    region_classification,
    region_regression,
    shift_right,
)

TINY = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def labels_of(ids, share=0.5):
    labels = ids.masked_fill(torch.rand(ids.shape) > share, -100)
    labels[0, 0] = ids[0, 0]
    return labels


def test_lxmerts_loss_is_the_sum_of_our_parts():
    from transformers import LxmertConfig, LxmertForPreTraining

    config = LxmertConfig(
        **TINY, **STILL, num_qa_labels=9, num_object_labels=11, num_attr_labels=7, visual_feat_dim=6,
        l_layers=1, x_layers=1, r_layers=1,
    )  # fmt: skip
    model = LxmertForPreTraining(config).eval()
    ids, features = torch.randint(1, 40, (3, 5)), torch.randn(3, 4, 6)
    labels, matched, answers = labels_of(ids), torch.tensor([0, 1, 1]), torch.tensor([2, 8, 0])
    mask = torch.rand(3, 4) < 0.5
    mask[0, 0] = True
    confidence = torch.rand(3, 4)
    weights = confidence * mask
    objects, attributes = torch.randint(0, 11, (3, 4)), torch.randint(0, 7, (3, 4))
    inputs = {"input_ids": ids, "visual_feats": features, "visual_pos": torch.rand(3, 4, 4)}
    with torch.no_grad():
        output = model(
            **inputs, labels=labels, matched_label=matched, ans=answers,
            obj_labels={
                "obj": (objects, weights),
                "attr": (attributes, weights),
                "feat": (features, weights),
            },
        )  # fmt: skip
        heads = model.obj_predict_head(model.lxmert(**inputs).vision_output)
    lxmert = {"confidence": confidence, "normaliser": config.visual_loss_normalizer}
    smooth = {"distance": "smooth-l1", "over_features": "mean"}
    parts = [
        masked_lm(output.prediction_logits, labels),
        answer_label(output.cross_relationship_score, matched),
        answer_label(output.question_answering_score, answers),
        region_classification(heads["obj"], objects, mask, **lxmert),
        region_classification(heads["attr"], attributes, mask, **lxmert),
        region_regression(heads["feat"], features, mask, **smooth, **lxmert),
    ]
    assert all(part.loss > 0 for part in parts)
    assert sum(part.loss for part in parts).item() == pytest.approx(output.loss.item(), abs=1e-5)


def test_visualberts_loss_is_the_sum_of_our_parts():
    from transformers import VisualBertConfig, VisualBertForPreTraining

    config = VisualBertConfig(**TINY, **STILL, num_hidden_layers=1, visual_embedding_dim=6)
    model = VisualBertForPreTraining(config).eval()
    ids = torch.randint(1, 40, (3, 5))
    labels = torch.cat([labels_of(ids), torch.full((3, 4), -100)], 1)
    matched = torch.tensor([0, 1, 1])
    with torch.no_grad():
        output = model(
            input_ids=ids, attention_mask=torch.ones(3, 5), visual_embeds=torch.randn(3, 4, 6),
            visual_attention_mask=torch.ones(3, 4), visual_token_type_ids=torch.ones(3, 4).long(),
            labels=labels, sentence_image_labels=matched,
        )  # fmt: skip
    ours = masked_lm(output.prediction_logits, labels).loss
    ours = ours + answer_label(output.seq_relationship_logits, matched).loss
    assert ours.item() == pytest.approx(output.loss.item(), abs=1e-5)


def test_vilts_masked_language_model_has_our_loss():
    from transformers import ViltConfig, ViltForMaskedLM

    config = ViltConfig(**TINY, **STILL, num_hidden_layers=1, image_size=8, patch_size=4, max_image_length=-1)
    model = ViltForMaskedLM(config).eval()
    ids = torch.randint(1, 40, (2, 5))
    labels = labels_of(ids)
    with torch.no_grad():
        output = model(
            input_ids=ids, pixel_values=torch.randn(2, 3, 8, 8), pixel_mask=torch.ones(2, 8, 8).long(),
            labels=labels,
        )  # fmt: skip
    assert masked_lm(output.logits, labels).loss.item() == pytest.approx(output.loss.item(), abs=1e-5)


def flava():
    from transformers import FlavaConfig, FlavaForPreTraining

    layers = {**TINY, **STILL, "num_hidden_layers": 1}
    config = FlavaConfig(
        text_config=layers,
        image_config={**layers, "image_size": 8, "patch_size": 4, "vocab_size": 12},
        multimodal_config=layers,
        hidden_size=16,
        projection_dim=8,
        init_codebook=False,
    )
    return FlavaForPreTraining(config).eval()


def test_flavas_masked_language_model_has_our_loss():
    model = flava()
    ids = torch.randint(1, 40, (2, 5))
    labels = labels_of(ids)
    with torch.no_grad():
        output = model(input_ids_masked=ids, input_ids=ids, mlm_labels=labels.clone(), return_loss=True)
        hidden = model.flava(input_ids=ids, skip_multimodal_encoder=True).text_embeddings
        logits = model.mlm_head(hidden[:, -5:])
    assert output.loss_info.mlm.item() == pytest.approx(output.loss.item())
    assert masked_lm(logits, labels).loss.item() == pytest.approx(output.loss_info.mlm.item(), abs=1e-5)


def test_flavas_masked_image_model_has_our_loss():
    model = flava()
    pixels, codes = torch.randn(2, 3, 8, 8), torch.randint(0, 12, (2, 2, 2))
    mask = torch.tensor([[[True, False], [False, True]], [[False, False], [True, False]]])
    with torch.no_grad():
        output = model(pixel_values=pixels, bool_masked_pos=mask, mim_labels=codes.clone(), return_loss=True)
        hidden = model.flava(pixel_values=pixels, bool_masked_pos=mask, skip_multimodal_encoder=True)
        logits = model.mim_head(hidden.image_embeddings[:, -4:])
    ours = masked_codes(logits, codes.flatten(1), mask.flatten(1)).loss
    assert ours.item() == pytest.approx(output.loss_info.mim.item(), abs=1e-5)


def test_beits_masked_image_model_has_our_loss():
    from transformers import BeitConfig, BeitForMaskedImageModeling

    config = BeitConfig(
        **TINY,
        **STILL,
        num_hidden_layers=1,
        image_size=8,
        patch_size=4,
        use_mask_token=True,
        drop_path_rate=0.0,
    )
    model = BeitForMaskedImageModeling(config).eval()
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    codes = torch.randint(0, 40, (2, 4))
    with torch.no_grad():
        output = model(torch.randn(2, 3, 8, 8), bool_masked_pos=mask, labels=codes[mask])
    ours = masked_codes(output.logits, codes, mask).loss
    assert ours.item() == pytest.approx(output.loss.item(), abs=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_maes_loss_over_pixels_is_ours(normalise):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = {name: TINY[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
    config = ViTMAEConfig(
        **sizes, **STILL, num_hidden_layers=1, decoder_hidden_size=16, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2, decoder_intermediate_size=24, image_size=8, patch_size=2,
        norm_pix_loss=normalise,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config).eval()
    pixels = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        output = model(pixels)
    mask = output.mask.bool()
    assert mask.sum(1).tolist() == [12, 12]
    patches = patchify(pixels, 2)
    assert torch.equal(patches, model.patchify(pixels))
    ours = masked_pixels(output.logits, patches, mask, normalise=normalise).loss
    assert ours.item() == pytest.approx(output.loss.item(), abs=1e-5)


def test_a_captioners_loss_is_ours_with_the_shift():
    from transformers import GitConfig, GitForCausalLM

    config = GitConfig(
        **TINY, **STILL, num_hidden_layers=1, max_position_embeddings=32, bos_token_id=1, eos_token_id=2,
        vision_config={
            "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "num_hidden_layers": 1,
            "image_size": 8, "patch_size": 4,
        },
    )  # fmt: skip
    model = GitForCausalLM(config).eval()
    ids = torch.randint(3, 40, (2, 6))
    labels = ids.clone()
    labels[1, 4:] = -100
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=torch.randn(2, 3, 8, 8), labels=labels)
    text = output.logits[:, -6:]  # the image's positions come first
    assert causal_lm(text, labels).loss.item() == pytest.approx(output.loss.item(), abs=1e-5)


def test_t5s_loss_over_corrupted_spans_is_ours_without_a_shift():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    labels = torch.randint(2, 40, (2, 6))
    labels[1, 3:] = -100
    with torch.no_grad():
        output = model(input_ids=torch.randint(2, 40, (2, 5)), labels=labels)
    assert denoise(output.logits, labels).loss.item() == pytest.approx(output.loss.item(), abs=1e-5)
    theirs = model.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(shift_right(labels, start_id=0, pad_id=0), theirs)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)(output.logits.flatten(0, 1), labels.flatten())
    assert denoise(output.logits, labels, label_smoothing=0.1).loss.item() == pytest.approx(
        smooth.item(), abs=1e-5
    )
