"""The parameter formula against built models and published numbers; the list of shapes."""

import json

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, BertModel

from keyphrase_plm.budgets import Shape, count, equal_size, parameters, shapes_within
from keyphrase_plm.shape_latency import build, seconds
from nonet.errors import UserError
from nonet.testing import run_cli


@pytest.mark.parametrize(
    ("hidden", "encoder", "decoder", "published"),
    [
        (128, 2, 2, 8_935_226), (512, 4, 8, 78_581_562), (512, 10, 2, 72_271_674), (768, 8, 4, 143_397_690),
        (768, 4, 8, 152_853_306), (768, 12, 12, 247_363_386),
    ],
)  # fmt: skip
def test_the_published_sizes(hidden, encoder, decoder, published):
    assert parameters(Shape(hidden, encoder, decoder)) == published


@pytest.mark.parametrize(
    "shape",
    [
        Shape(128, 2, 3), Shape(64, 1, 1, feed_forward=40, vocabulary=101, positions=33),
        Shape(256, 4, 2, feed_forward=24), Shape(32, 3, 1, vocabulary=50),
    ],
)  # fmt: skip
def test_a_built_model_has_as_many_weights_as_the_formula_says(shape):
    with torch.device("meta"):
        model = build(shape)
    assert sum(weight.numel() for weight in model.parameters()) == parameters(shape)


def built_sizes():
    """The parameters of all 144 pairs of BERTs, of which each half is built alone; a tied weight counts once.

    The encoder keeps its pooler; the decoder has cross-attention and a head whose weight is its embedding.
    """

    def half(kind, hidden, layers, **more):
        config = BertConfig(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64,
            intermediate_size=4 * hidden, **more,
        )  # fmt: skip
        assert (config.vocab_size, config.max_position_embeddings) == (30522, 512)
        with torch.device("meta"):
            return sum(weight.numel() for weight in kind(config).parameters())

    found, depths = {}, (2, 4, 6, 8, 10, 12)
    for hidden in (128, 256, 512, 768):
        writing = {"is_decoder": True, "add_cross_attention": True}
        encoders = {layers: half(BertModel, hidden, layers) for layers in depths}
        decoders = {layers: half(BertLMHeadModel, hidden, layers, **writing) for layers in depths}
        found |= {(hidden, e, d): encoders[e] + decoders[d] for e in depths for d in depths}
    return found


def test_a_decoder_layer_has_four_thirds_of_an_encoder_layer_s_weights():
    step = [parameters(Shape(768, *more)) - parameters(Shape(768, 2, 2)) for more in ((3, 2), (2, 3))]
    assert step == [12 * 768**2 + 13 * 768, 16 * 768**2 + 19 * 768]


def test_the_whole_grid_has_144_shapes_and_a_cap_keeps_the_smaller_ones():
    everything = shapes_within(10**12)
    assert len(everything) == 144
    sizes = [size for _, size in everything]
    assert sizes == sorted(sizes, reverse=True)
    assert {(shape.hidden, shape.encoder, shape.decoder): size for shape, size in everything} == built_sizes()
    kept = shapes_within(80_000_000, least=70_000_000)
    assert [item for item in everything if 70_000_000 <= item[1] <= 80_000_000] == kept
    assert (Shape(512, 4, 8), 78_581_562) in kept


def test_equal_depth_is_not_equal_size_until_the_feed_forward_layers_make_it_so():
    shapes = [Shape(128, 8, 4), Shape(128, 6, 6), Shape(128, 4, 8)]
    assert len({parameters(shape) for shape in shapes}) == 3
    size = parameters(shapes[1])
    equal = equal_size(shapes, size)
    for shape in equal:
        step = 8 * (shape.encoder + shape.decoder) * (2 * 128 + 1)
        assert abs(parameters(shape) - size) <= step / 2
        assert shape.feed_forward % 8 == 0
    assert equal[1].feed_forward == 512
    assert equal_size(shapes) == equal_size(shapes, parameters(shapes[0]))
    assert equal_size([]) == []
    with pytest.raises(UserError, match=r"8\+4 x 128 has .* at the least, more than 1,000"):
        equal_size(shapes, 1000)


@pytest.mark.parametrize(
    ("text", "number"),
    [("150M", 150_000_000), ("1.2B", 1_200_000_000), ("900k", 900_000), ("143,397,690", 143_397_690)],
)
def test_sizes_as_people_write_them(text, number):
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "M", "many", "-3M", "0", "nan", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError, match="not a number of parameters"):
        count(text)


@pytest.mark.parametrize("wrong", [{"encoder": 0}, {"hidden": 0}, {"feed_forward": -1}, {"positions": 0}])
def test_a_shape_without_substance_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Shape(**({"hidden": 64, "encoder": 1, "decoder": 1} | wrong))


def test_writing_takes_time():
    assert seconds(Shape(16, 1, 1, vocabulary=40, positions=16), source=4, written=2, rounds=1) > 0


def test_the_command_lists_shapes(tmp_path):
    done = run_cli("keyphrase-plm", "budget", "--parameters", "9M", "--equal", "--json", cwd=tmp_path)
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["parameters"] <= 9_000_000
    assert {"width": 128, "encoder": 2, "decoder": 2, "parameters": 8_935_226}.items() <= rows[0].items()
    table = run_cli("keyphrase-plm", "budget", "--parameters", "150M", cwd=tmp_path)
    assert table.returncode == 0
    assert "143,397,690" in table.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--parameters", "1k"], "no shape has"), (["--parameters", "x"], "not a number of parameters"),
        (["--parameters", "1M", "--least", "2"], "least is 2"),
    ],
)  # fmt: skip
def test_the_command_refuses(tmp_path, words, says):
    done = run_cli("keyphrase-plm", "budget", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
