"""Encoder and decoder against torch's own layers, groups of queries against a mask, and how they begin."""

import math

import pytest
import torch
from torch import nn

from nonet.testing import normal
from updetr.attention import Attention
from updetr.dropout import Dropout
from updetr.transformer import Decoder, DecoderLayer, Encoder, EncoderLayer, Transformer

SIZES = {"heads": 4, "hidden": 24}


def stirred(module):
    """The same module with biases and norms away from where they begin."""
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() == 1:
                weight.add_(torch.randn(weight.shape, generator=drawn) * 0.3)
    return module


def padding(images=2, features=7):
    found = torch.zeros(images, features, dtype=torch.bool)
    found[1, 4:] = True
    return found


def test_attention_is_that_of_torch():
    ours = stirred(Attention(16, heads=4, dropout=0.0))
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = normal(2, 5, 16), normal(2, 7, 16, seed=1), normal(2, 7, 16, seed=2)
    wanted, _ = theirs(query, key, value, key_padding_mask=padding())
    torch.testing.assert_close(ours(query, key, value, padding()), wanted)
    wanted, _ = theirs(key, key, value)
    torch.testing.assert_close(ours(key, key, value), wanted)


@pytest.mark.parametrize("prenorm", [False, True])
def test_layers_without_positions_are_those_of_torch(prenorm):
    ours = stirred(EncoderLayer(16, **SIZES, dropout=0.1, prenorm=prenorm)).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=prenorm).eval()
    theirs.load_state_dict(ours.state_dict())
    x, none = normal(2, 7, 16), torch.zeros(2, 7, 16)
    seen = ~padding()
    wanted = theirs(x.clone().requires_grad_(), src_key_padding_mask=padding())
    torch.testing.assert_close(ours(x, none, padding())[seen], wanted[seen])

    ours = stirred(DecoderLayer(16, **SIZES, dropout=0.1, prenorm=prenorm)).eval()
    theirs = nn.TransformerDecoderLayer(16, 4, 24, batch_first=True, norm_first=prenorm).eval()
    theirs.load_state_dict(ours.state_dict())
    queries = normal(2, 5, 16, seed=3)
    wanted = theirs(queries, x, memory_key_padding_mask=padding())
    torch.testing.assert_close(ours(queries, torch.zeros(2, 5, 16), x, x, padding(), groups=1), wanted)


def test_values_carry_no_positions():
    layer = EncoderLayer(16, **SIZES, dropout=0.0, prenorm=False)
    with torch.no_grad():
        layer.self_attn.in_proj_weight[:32] = 0  # every key is as good as another: the mean of the values
    x = normal(2, 7, 16)
    none = torch.zeros(2, 7, dtype=torch.bool)
    torch.testing.assert_close(layer(x, normal(2, 7, 16, seed=1), none), layer(x, torch.zeros_like(x), none))


def masked_decoder(decoder, places, memory, positions, hidden, mask):
    """The decoder with a mask over all queries instead of groups, block by block on torch's attention."""
    x, found = torch.zeros_like(places), []
    for layer in decoder.layers:
        around = nn.MultiheadAttention(16, 4, batch_first=True)
        around.load_state_dict(layer.self_attn.state_dict())
        normal_x = layer.norm1(x)
        x = x + around(normal_x + places, normal_x + places, normal_x, attn_mask=mask)[0]
        x = x + layer.multihead_attn(layer.norm2(x) + places, memory + positions, memory, hidden)
        x = x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
        found.append(decoder.norm(x))
    return torch.stack(found)


@pytest.mark.parametrize("groups", [1, 3, 6, 12])
def test_groups_are_what_a_mask_of_blocks_makes_of_attention(groups):
    layers = [DecoderLayer(16, **SIZES, dropout=0.0, prenorm=True) for _ in range(2)]
    decoder = stirred(Decoder(layers, norm=nn.LayerNorm(16)))
    places, memory, positions = normal(2, 12, 16), normal(2, 7, 16, seed=1), normal(2, 7, 16, seed=2)
    block = torch.arange(12) // (12 // groups)
    wanted = masked_decoder(decoder, places, memory, positions, padding(), block[:, None] != block)
    found = decoder(places, memory, positions, padding(), groups=groups)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_groups_that_do_not_divide_the_queries_are_refused():
    decoder = Decoder([DecoderLayer(16, **SIZES, dropout=0.0, prenorm=True)], norm=nn.LayerNorm(16))
    nothing = torch.zeros(1, 10, 16)
    with pytest.raises(ValueError, match="10 queries cannot be cut into 4 groups"):
        decoder(nothing, nothing, nothing, torch.zeros(1, 10, dtype=torch.bool), groups=4)


def test_the_last_norm_is_only_read_out():
    layers = [DecoderLayer(16, **SIZES, dropout=0.0, prenorm=True) for _ in range(3)]
    decoder = stirred(Decoder(layers, norm=nn.LayerNorm(16)))
    inputs = normal(1, 4, 16), normal(1, 7, 16, seed=1), normal(1, 7, 16, seed=2)
    nothing_hidden = torch.zeros(1, 7, dtype=torch.bool)
    before = decoder(*inputs, nothing_hidden)
    with torch.no_grad():
        decoder.norm.weight.mul_(2)
    after = decoder(*inputs, nothing_hidden)
    torch.testing.assert_close(after - decoder.norm.bias, 2 * (before - decoder.norm.bias))
    shorter = Decoder(layers[:2], norm=decoder.norm)
    torch.testing.assert_close(shorter(*inputs, nothing_hidden), after[:2])


def test_an_encoder_has_a_norm_at_the_end_only_with_norms_before_blocks():
    names = {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, **SIZES}
    assert Transformer(16, **names, prenorm=True).encoder.norm is not None
    assert Transformer(16, **names, prenorm=False).encoder.norm is None
    nothing = Encoder([], norm=None)
    assert torch.equal(nothing(normal(1, 3, 4), normal(1, 3, 4), torch.zeros(1, 3)), normal(1, 3, 4))


def test_weights_begin_within_xavier_bounds_and_queries_keys_and_values_share_one():
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, "prenorm": True, "heads": 4}
    layer = Transformer(64, hidden=128, **sizes).decoder.layers[0]
    for weight, bound in [
        (layer.self_attn.in_proj_weight, math.sqrt(6 / (64 + 3 * 64))),
        (layer.multihead_attn.out_proj.weight, math.sqrt(6 / (64 + 64))),
        (layer.linear1.weight, math.sqrt(6 / (64 + 128))),
    ]:
        assert 0.97 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not layer.self_attn.in_proj_bias.any()
    assert not layer.self_attn.out_proj.bias.any()


def test_dropout_is_on_probabilities_and_after_and_inside_every_block():
    names = {"encoder_layers": 2, "decoder_layers": 3, "hidden": 24, "heads": 4, "prenorm": True}
    model = Transformer(16, **names, dropout=0.25)
    counts = {}
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            assert module.share == 0.25
            module.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    hidden = torch.zeros(1, 7, dtype=torch.bool)
    memory = model.encoder(normal(1, 7, 16), normal(1, 7, 16), hidden)
    model.decoder(normal(1, 4, 16), memory, normal(1, 7, 16), hidden)
    assert sorted(counts.values()) == [3, 3, 4, 4, 4]

    attention = Attention(16, heads=4, dropout=0.25)
    with torch.no_grad():  # every value is 1, and the layer after is left out
        attention.in_proj_weight.zero_()
        attention.in_proj_bias.copy_(torch.tensor([0.0] * 32 + [1.0] * 16))
        attention.out_proj.weight.copy_(torch.eye(16))
    torch.manual_seed(0)
    many = torch.zeros(1, 200, 16)
    kept = attention(many, many[:, :1], many[:, :1])  # a single key: its probability is 0 or 1 / 0.75
    assert torch.allclose(kept[kept != 0], torch.tensor(4 / 3))
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
