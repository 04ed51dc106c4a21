"""The vision tower against transformers' CLIP, and its parts against the whole."""

import dataclasses

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal, seeded
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.vision import VisionTower, build_vision, resample_positions

CONFIG = dataclasses.replace(TINY, vit_width=32, vit_depth=2, text_width=32)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return build_vision(CONFIG).eval()


def clip_of(tower):
    """transformers' CLIP vision model with the tower's weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    vit = tower.vit
    model = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=48,
            patch_size=8,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
        )
    ).eval()
    state = {
        "embeddings.class_embedding": vit.cls_token[0, 0],
        "embeddings.patch_embedding.weight": vit.patch_embed.proj.weight,
        "embeddings.position_embedding.weight": vit.pos_embed[0],
        "pre_layrnorm.weight": vit.norm_pre.weight, "pre_layrnorm.bias": vit.norm_pre.bias,
        "post_layernorm.weight": vit.norm.weight, "post_layernorm.bias": vit.norm.bias,
    }  # fmt: skip
    for number, block in enumerate(vit.blocks):
        weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
        parts = zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True)
        layer = f"encoder.layers.{number}."
        for name, weight, bias in parts:
            state |= {f"{layer}self_attn.{name}.weight": weight, f"{layer}self_attn.{name}.bias": bias}
        for name, module in (("self_attn.out_proj", block.attn.proj), ("layer_norm1", block.norm1),
                             ("layer_norm2", block.norm2), ("mlp.fc1", block.mlp.fc1),
                             ("mlp.fc2", block.mlp.fc2)):  # fmt: skip
            state |= {f"{layer}{name}.weight": module.weight, f"{layer}{name}.bias": module.bias}
    model.load_state_dict(state)
    return model


@torch.no_grad()
def test_the_tokens_are_those_of_transformers_clip_behind_its_last_norm(tower):
    for value in tower.parameters():  # biases and norms are trivial at first
        value.add_(torch.randn(value.shape, generator=seeded(1)) * 0.1)
    model, images = clip_of(tower), normal(2, 3, 48, 48)
    wanted = model.post_layernorm(model(images).last_hidden_state)
    torch.testing.assert_close(tower(images), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_patches_then_positions_are_embed_and_blocks_can_be_cut_anywhere(tower):
    images = normal(2, 3, 48, 48)
    tokens = tower.from_patches(tower.patches(images))
    assert torch.equal(tokens, tower.embed(images))
    assert tokens.shape == (2, 37, 32)
    assert (tower.grid, tower.patch, tower.width, tower.depth) == ((6, 6), 8, 32, 2)
    cut = tower.finish(tower.blocks(tower.blocks(tokens, 0, 1), 1))
    assert torch.equal(cut, tower(images))
    assert torch.equal(cut, tower.vit.forward_features(images))


@torch.no_grad()
def test_a_patch_embedding_depends_on_its_own_pixels_alone(tower):
    images = normal(1, 3, 48, 48)
    changed = images.clone()
    changed[:, :, 8:16, 16:24] += 1  # row 1, column 2
    differs = (tower.patches(images) != tower.patches(changed)).any(-1)[0]
    assert differs.nonzero().flatten().tolist() == [1 * 6 + 2]


@torch.no_grad()
def test_cls_attention_is_the_mean_over_heads_of_the_softmax_row(tower):
    tokens = tower.embed(normal(2, 3, 48, 48))
    block = tower.vit.blocks[1]
    query, key, _ = block.attn.qkv(block.norm1(tokens)).view(2, 37, 3, 4, 8).permute(2, 0, 3, 1, 4)
    rows = torch.einsum("bhqe,bhke->bhqk", query, key).div(8**0.5).softmax(-1)
    torch.testing.assert_close(tower.cls_attention(tokens, 1), rows[:, :, 0, 1:].mean(1))


@torch.no_grad()
def test_positions_of_another_grid_are_resampled_and_none_are_lost(tower):
    table = tower.vit.pos_embed.clone()
    assert torch.equal(resample_positions(table, (6, 6), (6, 6)), table)
    assert table.abs().sum() > 0  # the lineage starts with zeros here
    tower.resize(64, 48)
    assert tower.grid == (8, 6)
    assert torch.equal(tower.vit.pos_embed, resample_positions(table, (6, 6), (8, 6)))
    assert torch.equal(tower.vit.pos_embed[:, 0], table[:, 0])
    assert tower(normal(1, 3, 64, 48)).shape == (1, 49, 32)


def test_resampling_keeps_a_plane_whichever_way_it_is_done():
    rows, _ = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    table = torch.cat([torch.tensor([7.0]), (rows + 0.5).flatten() / 6])[None, :, None]
    for bilinear in (True, False):
        new = resample_positions(table, (6, 6), (12, 12), bilinear=bilinear)
        assert new[0, 0, 0] == 7
        inner = new[0, 1:, 0].view(12, 12)[3:9, 3:9]  # away from the border, where it is clamped
        wanted = ((torch.arange(3.0, 9.0) + 0.5) / 12)[:, None].expand(6, 6)
        torch.testing.assert_close(inner, wanted, atol=2e-3, rtol=0)


def test_checkpointing_changes_no_gradient(tower):
    tower.train()
    tower.vit.blocks.requires_grad_(True)
    images, found = normal(1, 3, 48, 48), []
    for tower.checkpointing in (False, True):
        torch.manual_seed(0)
        tower.zero_grad()
        tower(images).square().sum().backward()
        found.append(tower.vit.blocks[0].mlp.fc1.weight.grad.clone())
    torch.testing.assert_close(found[0], found[1])


def test_a_wider_transformer_is_brought_to_the_width_of_text():
    tower = build_vision(dataclasses.replace(CONFIG, vit_width=48, vit_heads=4))
    assert tower(normal(1, 3, 48, 48)).shape == (1, 37, 32)
    assert tower.blocks(tower.embed(normal(1, 3, 48, 48)), 0, 1).shape == (1, 37, 48)


@pytest.mark.parametrize(
    ("name", "bias", "act"),
    [("vit_base_patch16_clip_quickgelu_224", None, "QuickGELU"), ("deit_base_patch16_224", 768, "GELU")],
)
def test_the_named_transformers_are_clips_and_albefs(name, bias, act):
    config = dataclasses.replace(TINY, vit=name, vit_width=0, vit_depth=0, vit_heads=0, patch=16, image=256)
    with torch.device("meta"):
        tower = build_vision(config)
    found = tower.vit.patch_embed.proj.bias
    assert (None if found is None else len(found)) == bias
    assert type(tower.vit.blocks[0].mlp.act).__name__ == act
    assert (tower.grid, tower.width) == ((16, 16), 768)
    if bias is None:
        assert round(sum(p.numel() for p in tower.vit.parameters()) / 1e6, 2) == 85.85


def test_other_networks_and_sizes_are_refused():
    named = dataclasses.replace(TINY, vit="resnet18", vit_width=0, vit_depth=0, vit_heads=0)
    with pytest.raises(UserError, match="resnet18"):
        build_vision(named)
    with pytest.raises(UserError, match="timm has no model vit_huge_nothing"):
        build_vision(dataclasses.replace(named, vit="vit_huge_nothing"))
    with pytest.raises(UserError, match="not a plain vision transformer"):
        VisionTower(torch.nn.Linear(1, 1), width=1)
    tower = build_vision(CONFIG)
    with pytest.raises(
        UserError, match="images of 50 pixels do not divide into patches of 8; nearest: 48 or 56"
    ):
        tower.resize(50, 48)
    with pytest.raises(ValueError, match="images are 40 x 48 pixels, the model takes 48 x 48"):
        tower(normal(1, 3, 40, 48))
