"""Text tower, fusion and decoder against transformers, with the same weights."""

import dataclasses

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal, seeded, whole
from nonet.vision_language.bert_weights import bert_name, start_from_bert, with_bert_sizes
from nonet.vision_language.decoder import build_decoder
from nonet.vision_language.fusion import build_fusion
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_folders import tensors_of
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.text import build_text

CONFIG = dataclasses.replace(
    TINY, vit_width=32, vit_depth=1, text_width=32, text_hidden=64, vocabulary=50, positions=24,
    text_layers=2, fusion_layers=2, decoder_layers=2,
)  # fmt: skip
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64,
         "max_position_embeddings": 24}  # fmt: skip


@torch.no_grad()
def shaken(module):
    """With random numbers where first weights are 0 or 1."""
    torch.manual_seed(0)
    for value in module.parameters():
        value.add_(torch.randn(value.shape, generator=seeded(1)) * 0.2)
    return module.eval()


def texts():
    """Three texts of 7 word pieces, the second with three at padding."""
    ids, mask = whole(50, 3, 7), torch.ones(3, 7, dtype=torch.int64)
    mask[1, 4:] = 0
    return ids, mask


def renamed(module, prefix=""):
    return {prefix + bert_name(name): value for name, value in tensors_of(module).items()}


@torch.no_grad()
def test_text_tokens_are_those_of_transformers_bert():
    from transformers import BertConfig, BertModel

    tower = shaken(build_text(CONFIG))
    model = BertModel(BertConfig(**SIZES, num_hidden_layers=2), add_pooling_layer=False).eval()
    model.load_state_dict(renamed(tower))
    ids, mask = texts()
    wanted = model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(tower(ids, mask)[mask.bool()], wanted[mask.bool()], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing_before_it():
    tower = shaken(build_text(CONFIG))
    ids, mask = texts()
    torch.testing.assert_close(tower(ids, mask)[1, :4], tower(ids[1:2, :4])[0], atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_crossing_layers_are_those_of_transformers_blip():
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    fusion = shaken(build_fusion(CONFIG))
    config = BlipTextConfig(**SIZES, num_hidden_layers=2, encoder_hidden_size=32, layer_norm_eps=1e-12)
    model = BlipTextModel(config, add_pooling_layer=False).eval()
    missing = model.load_state_dict(renamed(fusion), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("embeddings.") for name in missing.missing_keys)
    (_, mask), text, image = texts(), normal(3, 7, 32), normal(3, 5, 32, seed=1)
    # transformers 5.23 drops encoder_attention_mask on the way: padding in images is tested by itself
    wanted = model(
        encoder_embeds=text, attention_mask=mask, encoder_hidden_states=image, is_decoder=False
    ).last_hidden_state
    same, found = fusion(image, None, text, mask)
    assert same is image
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], atol=1e-5, rtol=1e-5)
    assert torch.equal(fusion(image, None, text, mask, fusion.keys(image))[1], found)


@torch.no_grad()
@pytest.mark.parametrize("stride", [0, 1])
def test_padding_of_an_image_is_not_looked_at(stride):
    fusion = shaken(build_fusion(dataclasses.replace(CONFIG, stride=stride)))
    image, text, mask = normal(1, 5, 32), normal(1, 7, 32, seed=1), torch.ones(1, 7)
    image_mask = torch.tensor([[1, 1, 1, 0, 0]])
    wanted_image, wanted_text = fusion(image[:, :3], None, text, None)
    found_image, found_text = fusion(image, image_mask, text, mask)
    torch.testing.assert_close(found_text, wanted_text, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_image[:, :3], wanted_image, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_connected_layer_attends_over_both_and_adds_to_the_image():
    fusion = shaken(build_fusion(dataclasses.replace(CONFIG, stride=1)))
    layer = fusion.layers[1]
    assert layer.cross_attention is None
    assert fusion.layers[0].cross_attention is not None
    # attention that gives each token the mean of all values, by hand: no queries, identity values
    attention = layer.self_attention
    for part in (attention.query, attention.key, attention.value, attention.output):
        part.weight.zero_()
        part.bias.zero_()
    attention.value.weight.copy_(torch.eye(32))
    attention.output.weight.copy_(torch.eye(32))
    (_, mask), text, image = texts(), normal(3, 7, 32), normal(3, 5, 32, seed=1)
    crossed = fusion.layers[0](text, mask[:, None, None].bool(), fusion.layers[0].cross_attention.keys(image))
    both = torch.cat([image, crossed], 1)
    seen = torch.cat([torch.ones(3, 5), mask], 1)
    mean = torch.einsum("bsd,bs->bd", both, seen) / seen.sum(1, keepdim=True)
    new = layer.feed_forward(attention.norm(both + mean[:, None]))
    found_image, found_text = fusion(image, None, text, mask)
    torch.testing.assert_close(found_image, image + new[:, :5], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_text, new[:, 5:], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="depend on the text"):
        fusion.keys(image)


@pytest.mark.parametrize(
    ("stride", "connected"), [(0, []), (3, [3]), (1, [1, 2, 3, 4, 5]), (6, []), (1000, [])]
)
def test_every_so_many_layers_are_connected(stride, connected):
    config = dataclasses.replace(CONFIG, stride=stride, fusion_layers=6)
    fusion = build_fusion(config)
    assert [n for n, layer in enumerate(fusion.layers) if layer.cross_attention is None] == connected


@torch.no_grad()
def test_the_decoder_is_transformers_bert_with_attention_to_a_source():
    from transformers import BertConfig, BertLMHeadModel

    decoder = shaken(build_decoder(CONFIG))
    model = BertLMHeadModel(
        BertConfig(**SIZES, num_hidden_layers=2, is_decoder=True, add_cross_attention=True)
    ).eval()
    state = renamed(
        torch.nn.ModuleDict({"embeddings": decoder.embeddings, "layers": decoder.layers}), "bert."
    )
    head = {name: value for name, value in decoder.head.named_parameters()}
    state |= {"cls." + bert_name(name): value for name, value in head.items()}
    state["cls.predictions.decoder.bias"] = decoder.head.bias
    model.load_state_dict(state)
    ids, mask = texts()
    source, source_mask = normal(3, 6, 32), torch.ones(3, 6, dtype=torch.int64)
    source_mask[0, 2:] = 0
    wanted = model(
        input_ids=ids, attention_mask=mask, encoder_hidden_states=source, encoder_attention_mask=source_mask
    ).logits
    found = decoder(ids, mask, source, source_mask)
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_one_position_at_a_time_gives_the_same_logits():
    decoder = shaken(build_decoder(CONFIG))
    ids, source, source_mask = whole(50, 2, 6), normal(2, 5, 32), torch.ones(2, 5, dtype=torch.int64)
    source_mask[1, 3:] = 0
    wanted = decoder(ids, None, source, source_mask)
    steps = decoder.steps(source, source_mask, beams=1, steps=6)
    for t in range(6):
        torch.testing.assert_close(steps.step(ids[:, t], t), wanted[:, t], atol=1e-4, rtol=1e-5)
    with pytest.raises(ValueError, match="25 steps; the model has positions for 24"):
        decoder.steps(source, None, beams=1, steps=25)


def test_each_part_starts_from_the_layers_of_a_bert_that_its_paper_says(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(3)
    bert = BertForMaskedLM(BertConfig(**SIZES, num_hidden_layers=4))
    bert.save_pretrained(tmp_path / "bert")
    config = with_bert_sizes(dataclasses.replace(TINY, vit_depth=1, fusion_layers=2), str(tmp_path / "bert"))
    assert (config.vocabulary, config.text_width, config.positions) == (50, 32, 24)
    model, said = PairModel(config), []
    random = model.fusion.layers[0].cross_attention.query.weight.clone()
    start_from_bert(model, config.text, say=said.append)
    theirs = bert.bert.encoder.layer
    pairs = [(model.text.layers[1], theirs[1]), (model.fusion.layers[0], theirs[2]),
             (model.fusion.layers[1], theirs[3]), (model.decoder.layers[0], theirs[0])]  # fmt: skip
    for ours, bert_layer in pairs:
        assert torch.equal(ours.feed_forward.up.weight, bert_layer.intermediate.dense.weight)
        assert torch.equal(ours.self_attention.norm.bias, bert_layer.attention.output.LayerNorm.bias)
    assert torch.equal(model.fusion.layers[0].cross_attention.query.weight, random)
    assert torch.equal(model.mlm_head.dense.weight, bert.cls.predictions.transform.dense.weight)
    assert model.mlm_head.words is model.text.embeddings.words.weight
    assert torch.equal(model.decoder.head.words, bert.bert.embeddings.word_embeddings.weight)
    assert said == [
        f"text: {config.text}, layers 0 to 1; fusion: layers 2 to 3; decoder: 0 to 0; "
        "attention to images is random"
    ]
    with pytest.raises(UserError, match=r"vocabulary is 512, but .* has 50"):
        start_from_bert(PairModel(TINY), config.text)
    with pytest.raises(UserError, match="has 4 layers; 5 are wanted"):
        start_from_bert(PairModel(dataclasses.replace(config, text_layers=5)), config.text)
