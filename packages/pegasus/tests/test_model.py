"""The model against transformers' own classes, hand arithmetic, and folders that do not fit."""

import json

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, PegasusForConditionalGeneration
from transformers.models.pegasus.modeling_pegasus import PegasusSinusoidalPositionalEmbedding
from transformers.models.pegasus_x.modeling_pegasus_x import PegasusXSinusoidalPositionalEmbedding

from nonet.errors import UserError
from nonet.testing import one_thread
from pegasus.losses import GapSentenceLoss
from pegasus.model import (
    Pegasus,
    check_vocabulary,
    load_model,
    new_model,
    parameters,
    sinusoids,
    zero_start,
)
from pegasus.options import ModelOptions

SMALL = ModelOptions(size="tiny", layers=2, width=32, heads=4, feed_forward=48, max_positions=24)
VOCABULARY = 150


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def small(style="tf", seed=0, **changes):
    model = new_model(ModelOptions(**(vars(SMALL) | changes)), VOCABULARY, seed=seed).eval()
    if style == "hf":
        model.set_positions("hf")
    return model


def batch(rows=3, inputs=11, targets=7, seed=0):
    """Ids with different amounts of padding in each row."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(105, VOCABULARY, (rows, inputs), generator=draw)
    labels = torch.randint(105, VOCABULARY, (rows, targets), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(rows):
        ids[row, inputs - 2 * row :] = 0
        mask[row, inputs - 2 * row :] = 0
        labels[row, targets - row :] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# ------------------------------------------------------------ positions


@pytest.mark.parametrize("width", [6, 32, 1024])
def test_tf_positions_are_those_of_pegasus_x(width):
    theirs = PegasusXSinusoidalPositionalEmbedding(width)(torch.zeros(1, 40, width))[0]
    torch.testing.assert_close(sinusoids(40, width, "tf"), theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("width", [6, 32, 1024])
def test_hf_positions_are_those_of_transformers_pegasus(width):
    table = PegasusSinusoidalPositionalEmbedding(40, width)
    torch.testing.assert_close(sinusoids(40, width, "hf"), table.create_weight(), rtol=0, atol=5e-6)


def test_the_two_formulas_part_slowly():
    # the numbers of the docstring of `sinusoids`
    ours, theirs = (sinusoids(1024, 1024, style) for style in ("tf", "hf"))
    cosine = F.cosine_similarity(ours, theirs, dim=1)
    assert cosine[0] == pytest.approx(1)
    assert cosine[100].item() == pytest.approx(0.9995, abs=5e-5)
    assert cosine[1023].item() == pytest.approx(0.947, abs=5e-4)


def test_a_table_goes_on_where_another_began():
    assert torch.equal(sinusoids(30, 16, "tf")[20:], sinusoids(10, 16, "tf", start=20))


@pytest.mark.parametrize("style", ["tf", "hf"])
def test_inputs_longer_than_the_table_extend_it(style):
    short, long = small(style), small(style, max_positions=64)
    short_state = {name: value for name, value in long.state_dict().items() if "embed_positions" not in name}
    short.load_state_dict(short_state, strict=False)
    given = batch(inputs=40, targets=33)  # beyond the 24 stored positions on both sides
    with torch.no_grad():
        first, second = (model(**given).logits for model in (short, long))
    torch.testing.assert_close(first, second)
    assert torch.isfinite(first).all()


def test_positions_may_be_asked_for_one_by_one():
    table = small().model.decoder.embed_positions
    whole = table(torch.Size((1, 30)))
    assert torch.equal(table(torch.Size((1, 1)), 26), whole[26:27])
    assert torch.equal(table(torch.Size((1, 2)), position_ids=torch.tensor([3, 28])), whole[[3, 28]])


# ------------------------------------------------------------ parity with transformers


def test_logits_and_loss_are_those_of_transformers_with_the_same_weights():
    ours = small("hf")
    theirs = PegasusForConditionalGeneration(ours.config).eval()
    theirs.load_state_dict(ours.state_dict())
    given = batch()
    with torch.no_grad():
        mine, other = ours(**given), theirs(**given)
        term = GapSentenceLoss().eval()(ours, given)["gsg"]
    torch.testing.assert_close(mine.logits, other.logits, rtol=1e-5, atol=1e-5)
    assert term.count.item() == 7 + 6 + 5
    assert (term.total / term.count).item() == pytest.approx(other.loss.item(), abs=1e-5)


def test_tf_positions_change_the_logits():
    given = batch(inputs=20)
    with torch.no_grad():
        assert not torch.allclose(small("tf")(**given).logits, small("hf")(**given).logits, atol=1e-3)


@pytest.mark.parametrize("style", ["tf", "hf"])
def test_a_saved_folder_gives_the_same_logits_here_and_in_transformers(tmp_path, style):
    ours = small(style)
    ours.save_pretrained(tmp_path)
    given = batch()
    with torch.no_grad():
        wanted = ours(**given).logits
        again = load_model(tmp_path).eval()
        assert again.config.position_style == style
        assert torch.equal(again(**given).logits, wanted)
        for kind in (PegasusForConditionalGeneration, AutoModelForSeq2SeqLM):
            theirs = kind.from_pretrained(tmp_path).eval()
            torch.testing.assert_close(theirs(**given).logits, wanted, rtol=1e-5, atol=1e-5)


def test_a_folder_of_transformers_loads_with_its_positions(tmp_path):
    theirs = PegasusForConditionalGeneration(small("hf").config).eval()
    theirs.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    written.pop("position_style")
    (tmp_path / "config.json").write_text(json.dumps(written))
    given = batch()
    ours = load_model(tmp_path).eval()
    assert ours.config.position_style == "hf"
    with torch.no_grad():
        torch.testing.assert_close(ours(**given).logits, theirs(**given).logits, rtol=1e-5, atol=1e-5)
    assert load_model(tmp_path, positions="tf").config.position_style == "tf"


def test_the_released_vocabulary_means_the_originals_positions(tmp_path):
    shape = vars(SMALL) | {"layers": 1, "width": 4, "heads": 1, "feed_forward": 4}
    model = new_model(ModelOptions(**shape), 96_103)
    model.config.position_style = None
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).config.position_style == "tf"


def test_long_models_are_pegasus_x_and_come_back(tmp_path):
    model = small(long=True, block=8, global_tokens=4)
    model.save_pretrained(tmp_path)
    given = batch(inputs=16)
    with torch.no_grad():
        again = load_model(tmp_path).eval()
        assert type(again) is type(model)
        assert torch.equal(again(**given).logits, model(**given).logits)


# ------------------------------------------------------------ sizes


def count(layers, width, feed_forward, vocabulary):
    """Weights of the original: no attention biases; embedding, feed-forward and layer norms."""
    attention, norm = 4 * width * width, 2 * width
    feed = 2 * width * feed_forward + feed_forward + width
    encoder = layers * (attention + feed + 2 * norm) + norm
    decoder = layers * (2 * attention + feed + 3 * norm) + norm
    return vocabulary * width + encoder + decoder


@pytest.mark.parametrize(
    ("size", "shape", "vocabulary", "original", "biases"),
    [
        ("large", (16, 1024, 4096), 96_103, 568_503_296, 196_608),
        ("base", (12, 768, 3072), 32_000, 222_944_256, 110_592),
        ("small", (6, 512, 2048), 16_000, None, 36_864),
        ("tiny", (2, 128, 512), 4_000, None, 3_072),
    ],
)
def test_weights_are_those_of_the_paper_and_the_biases_of_transformers(
    size, shape, vocabulary, original, biases
):
    layers, width, _ = shape
    wanted = count(*shape, vocabulary)
    assert original in (None, wanted)
    assert biases == layers * width * 4 * 3  # four projections, one attention below and two above
    with torch.device("meta"):
        model = new_model(ModelOptions(size=size), vocabulary)
    assert parameters(model) == wanted + biases
    if size == "large":
        assert parameters(model) == 568_699_904


# ------------------------------------------------------------ initial weights


def test_initial_weights_follow_the_original():
    model = small(width=64, feed_forward=160)
    shared = model.model.shared.weight
    assert not shared[0].any()
    assert shared[1:].std().item() == pytest.approx(64**-0.5, rel=0.03)
    assert model.lm_head.weight is shared
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
        elif "layer_norm" in name:
            assert (value == 1).all(), name
        elif value.ndim == 2 and "shared" not in name and "embed" not in name:
            bound = (6 / sum(value.shape)) ** 0.5
            assert value.abs().max() <= bound, name
            assert value.abs().max() > 0.98 * bound, name
            assert value.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
            assert abs(value.mean().item()) < 0.05 * bound, name


def test_weights_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    first = small(seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    second, third = small(seed=3).state_dict(), small(seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], third["lm_head.weight"])


def test_the_decoders_start_stays_zero_through_training_steps():
    model = small().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(3):
        term = GapSentenceLoss()(model, batch(seed=step))["gsg"]
        (term.total / term.count).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert model.model.shared.weight[0].any()  # the output layer shares the matrix and moved it
        zero_start(model)
        assert not model.model.shared.weight[0].any()
    assert not model.model.decoder.embed_tokens(torch.tensor([0])).any()


@pytest.mark.parametrize("changes", [{"width": 30, "heads": 4}, {"width": 12, "heads": 4}])
def test_a_width_that_does_not_split_into_the_heads_is_refused(changes):
    with pytest.raises(UserError, match="does not split into 4 heads of even width"):
        small(**changes)


# ------------------------------------------------------------ what does not fit


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused():
    model = small()
    check_vocabulary(model, range(VOCABULARY), "folder")
    with pytest.raises(UserError, match=r"folder: the tokenizer has 151 ids and the model 150 embeddings"):
        check_vocabulary(model, range(VOCABULARY + 1), "folder")


def test_a_model_of_another_type_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match=r"a model of type 't5'; this package runs pegasus and pegasus_x"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["no/such/folder", "nosuch", "/no/such", "owner/nosuch"])
def test_a_model_that_is_not_there_is_refused_in_a_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=name) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_or_with_damage_is_refused_in_a_line(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json in this folder"):
        load_model(tmp_path)
    model = small()
    model.config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="safetensors") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    for text in ("{", "{}", '{"model_type": "nosuch"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json cannot be used"):
            load_model(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path):
    small().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"encoder_layers": 6, "decoder_layers": 6}))
    with pytest.raises(UserError, match="do not fit the model"):
        load_model(tmp_path)


def test_pegasus_is_transformers_class():
    assert issubclass(Pegasus, PegasusForConditionalGeneration)
