"""Checkpoints with the names of ALBEF, mPLUG and CLIP, from modules of open_clip, timm and transformers."""

import dataclasses

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal, seeded, whole
from nonet.training.weight_files import read_weight_file
from nonet.vision_language.checkpoints import convert_checkpoint, read_checkpoint_of_others
from nonet.vision_language.foreign_sizes import Said
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_folders import load_pair_model

SIZES = {"vocab_size": 50, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96,
         "max_position_embeddings": 24}  # fmt: skip


@torch.no_grad()
def shaken(module):
    for number, value in enumerate(module.parameters()):
        value.add_(torch.randn(value.shape, generator=seeded(number)) * 0.1)
    return module.eval()


def prefixed(module, prefix):
    return {prefix + name: value for name, value in module.state_dict().items()}


def bert(layers):
    from transformers import BertConfig, BertModel

    return shaken(BertModel(BertConfig(**SIZES, num_hidden_layers=layers), add_pooling_layer=False))


def blip(layers):
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    config = BlipTextConfig(
        **SIZES, num_hidden_layers=layers, encoder_hidden_size=64, layer_norm_eps=1e-12, bos_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    return shaken(BlipTextModel(config, add_pooling_layer=False))


def decoder(layers):
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(**SIZES, num_hidden_layers=layers, is_decoder=True, add_cross_attention=True)
    return shaken(BertLMHeadModel(config))


def word_head():
    from transformers import BertConfig, BertForMaskedLM

    return shaken(BertForMaskedLM(BertConfig(**SIZES, num_hidden_layers=1)))


def heads():
    return {
        "vision_proj.weight": normal(16, 64, seed=1), "vision_proj.bias": normal(16),
        "text_proj.weight": normal(16, 64, seed=2), "text_proj.bias": normal(16, seed=3),
        "itm_head.weight": normal(2, 64, seed=4), "itm_head.bias": normal(2), "temp": torch.tensor(0.05),
    }  # fmt: skip


def open_clip_vision():
    VisionTransformer = pytest.importorskip("open_clip").transformer.VisionTransformer

    return shaken(
        VisionTransformer(
            image_size=48,
            patch_size=8,
            width=64,
            layers=2,
            heads=1,
            mlp_ratio=4.0,
            output_dim=32,
            output_tokens=True,
            act_layer=QuickGELU,
        )
    )


class QuickGELU(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def open_clip_tokens(vision, images):
    """CLS and patches behind the last norm, without the projection."""
    x = vision.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([vision.class_embedding.expand(len(x), 1, -1), x], 1) + vision.positional_embedding
    return vision.ln_post(vision.transformer(vision.ln_pre(x)))


def albef():
    from timm.models.vision_transformer import VisionTransformer

    vision = shaken(VisionTransformer(48, 8, num_classes=0, embed_dim=64, depth=2, num_heads=1))
    text, fusion, head = bert(2), blip(2), word_head()
    state = prefixed(vision, "visual_encoder.") | prefixed(text, "text_encoder.bert.") | heads()
    for name, value in prefixed(fusion.encoder, "text_encoder.bert.encoder.").items():
        parts = name.split(".")
        parts[4] = str(int(parts[4]) + 2)
        state[".".join(parts)] = value
    state |= prefixed(head.cls, "text_encoder.cls.")
    words = state["text_encoder.bert.embeddings.word_embeddings.weight"]
    state["text_encoder.cls.predictions.decoder.weight"] = words
    state |= {"text_encoder.bert.embeddings.position_ids": torch.arange(24)[None]}
    state |= {
        "image_queue": torch.zeros(16, 8),
        "queue_ptr": torch.zeros(1),
        "text_proj_m.bias": torch.zeros(16),
    }
    state |= {"visual_encoder_m.norm.bias": torch.zeros(64)}
    return state, vision, text, fusion, head


def mplug():
    vision, text, fusion, writer, head = open_clip_vision(), bert(2), blip(4), decoder(2), word_head()
    state = prefixed(vision, "visual_encoder.visual.") | prefixed(text, "text_encoder.") | heads()
    state |= prefixed(fusion, "fusion_encoder.bert.") | prefixed(head.cls, "fusion_encoder.cls.")
    state |= prefixed(writer, "text_decoder.") | {
        "visual_encoder.transformer.resblocks.0.ln_1.bias": normal(8)
    }
    state |= {"visual_encoder.logit_scale": normal(1)}
    return state, vision, text, fusion, writer, head


def saved(state, tmp_path, key="model"):
    torch.save({key: state, "epoch": 3, "config": {"image_res": 48}}, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


@torch.no_grad()
def test_a_checkpoint_of_albef_gives_the_outputs_of_its_modules(tmp_path):
    state, vision, text, fusion, head = albef()
    said = []
    done = read_checkpoint_of_others(saved(state, tmp_path), say=said.append)
    model, config = done.model, done.model.config
    assert (config.text_layers, config.fusion_layers, config.decoder_layers, config.embed) == (2, 2, 0, 16)
    assert (config.pre_norm, config.quick_gelu, config.tied_words, config.image) == (False, False, True, 48)
    assert done.account.missing == done.account.unexpected == ()
    images, ids = normal(2, 3, 48, 48), whole(50, 2, 6)
    tokens, words = model.encode_image(images), model.encode_text(ids)
    torch.testing.assert_close(tokens, vision.forward_features(images), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(words, text(input_ids=ids).last_hidden_state, atol=1e-5, rtol=1e-5)
    wanted = fusion(encoder_embeds=words, encoder_hidden_states=tokens, is_decoder=False).last_hidden_state
    found = model.fusion(tokens, None, words, None)[1]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    transformed = head.cls.predictions.transform(found)
    wanted = transformed @ text.embeddings.word_embeddings.weight.T + head.cls.predictions.bias
    torch.testing.assert_close(model.mlm_logits(found), wanted, atol=1e-4, rtol=1e-5)
    assert model.tau.item() == pytest.approx(0.05)
    assert torch.equal(model.itm_head.weight, state["itm_head.weight"])
    assert done.foreign.left == {
        "the momentum twin": 2, "the queue": 2, "numbers of positions": 1, "a second name of a bias": 1
    }  # fmt: skip
    assert done.foreign.unknown == ()
    assert "assumed: 1 heads in the vision transformer, one for 64 of its width" in said


@torch.no_grad()
def test_a_checkpoint_of_mplug_runs_its_last_fusion_layers_only(tmp_path):
    state, vision, _, fusion, writer, head = mplug()
    told = Said(fusion_layers=2, stride=0)
    done = read_checkpoint_of_others(saved(state, tmp_path, "module"), said=told, say=lambda _: None)
    model, config = done.model, done.model.config
    assert (config.text_layers, config.fusion_layers, config.decoder_layers) == (2, 2, 2)
    assert (config.tied_words, done.account.missing, done.account.unexpected) == (False, (), ())
    images, ids = normal(2, 3, 48, 48), whole(50, 2, 6)
    tokens, words = model.encode_image(images), model.encode_text(ids)
    torch.testing.assert_close(tokens, open_clip_tokens(vision, images), atol=1e-5, rtol=1e-5)
    fusion.encoder.layer = fusion.encoder.layer[2:]
    fusion.encoder.config.num_hidden_layers = 2
    wanted = fusion(encoder_embeds=words, encoder_hidden_states=tokens, is_decoder=False).last_hidden_state
    found = model.fusion(tokens, None, words, None)[1]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.mlm_logits(found), head.cls(found), atol=1e-4, rtol=1e-5)
    source = torch.cat([tokens, found], 1)
    wanted = writer(input_ids=ids, encoder_hidden_states=source).logits
    torch.testing.assert_close(model.decoder(ids, None, source), wanted, atol=1e-4, rtol=1e-5)
    left = done.foreign.left
    assert left["parts of the fusion that are made and never run"] == 2 * 26
    assert left["CLIP's text encoder"] == 2
    assert left["CLIP's projection of images"] == 1
    assert done.foreign.unknown == ()


def test_a_connected_layer_leaves_its_attention_to_images_out_and_the_usual_is_told(tmp_path):
    state, *_ = mplug()
    path, said = saved(state, tmp_path), []
    done = read_checkpoint_of_others(path, said=Said(stride=2), say=said.append)
    assert "assumed: the last 4 of 4 fusion layers are run" in said
    assert done.model.fusion.layers[2].cross_attention is None
    assert done.foreign.left["parts of the fusion that are made and never run"] == 10
    read_checkpoint_of_others(path, say=said.append)
    assert "assumed: every 3rd fusion layer is connected" in said
    with pytest.raises(UserError, match="5 fusion layers are asked for; the checkpoint has 4"):
        read_checkpoint_of_others(path, said=Said(fusion_layers=5))


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["visual.", "module.visual.", ""])
def test_an_open_clip_gives_its_vision_transformer(tmp_path, prefix):
    vision = open_clip_vision()
    torch.save(prefixed(vision, prefix), tmp_path / "clip.pt")
    base, said = dataclasses.replace(TINY, decoder_layers=0), []
    model = read_checkpoint_of_others(tmp_path / "clip.pt", said=Said(base=base), say=said.append).model
    images = normal(2, 3, 48, 48)
    torch.testing.assert_close(model.vision(images), open_clip_tokens(vision, images), atol=1e-5, rtol=1e-5)
    assert "assumed: quick GELU, as in OpenAI's CLIP" in said
    assert "text: random weights" in said


@torch.no_grad()
def test_a_folder_of_transformers_clip_gives_its_vision_transformer_and_says_its_heads(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=48,
        patch_size=8, hidden_act="gelu",
    )  # fmt: skip
    clip = shaken(CLIPVisionModel(config))
    clip.save_pretrained(tmp_path / "clip")
    base = dataclasses.replace(TINY, decoder_layers=0, text_width=32)
    model = read_checkpoint_of_others(tmp_path / "clip", said=Said(base=base), say=lambda _: None).model
    assert (model.config.vit_heads, model.config.quick_gelu) == (4, False)
    images = normal(2, 3, 48, 48)
    wanted = clip.post_layernorm(clip(images).last_hidden_state)
    torch.testing.assert_close(model.vision(images), wanted, atol=1e-5, rtol=1e-5)


def test_another_size_of_image_resamples_as_mplug_did(tmp_path):
    state, vision, *_ = mplug()
    said = []
    model = read_checkpoint_of_others(
        saved(state, tmp_path), said=Said(fusion_layers=2, stride=0), image=96, say=said.append
    ).model
    assert "positions: resampled from 6 x 6 to 12 x 12" in said
    grid = vision.positional_embedding[None, 1:].view(1, 6, 6, 64).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(grid, size=(12, 12), mode="bilinear").flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.vision.vit.pos_embed[:, 1:], wanted)


def test_a_conversion_is_a_model_folder_with_tokenizer(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ndog\n")
    state, vision, *_ = albef()
    said = []
    convert_checkpoint(
        saved(state, tmp_path), tmp_path / "out", tokenizer=str(tmp_path / "words"), say=said.append
    )
    loaded = load_pair_model(tmp_path / "out")
    assert torch.equal(loaded.model.vision.vit.norm.bias, vision.norm.bias)
    assert loaded.tokenizer("dog")["input_ids"] == [2, 5, 3]
    assert "The licence is that of the checkpoint." in (tmp_path / "out" / "README.md").read_text()


def test_what_is_no_checkpoint_of_these_is_told_in_one_line(tmp_path):
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"neither ALBEF nor mPLUG .*: the first names are a.weight"):
        read_checkpoint_of_others(tmp_path / "a.pth")
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint_of_others(tmp_path / "b.pth")
    state, *_ = albef()
    del state["visual_encoder.blocks.1.norm1.bias"]
    with pytest.raises(UserError, match=r"incomplete: vision.vit.blocks.1.norm1.bias is absent"):
        read_checkpoint_of_others(saved(state, tmp_path), say=lambda _: None)
    torch.save({"model": {"x": print}}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"asks to import print, which could run code"):
        read_weight_file(tmp_path / "c.pth")
