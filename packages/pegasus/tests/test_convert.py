"""Conversion of checkpoints; TensorFlow's and the released Flax models' logits are the oracle
(data/make_*.py)."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PegasusConfig, PegasusForConditionalGeneration

from nonet.cli import main
from nonet.errors import UserError
from pegasus.checkpoint_names import Sizes, layout, sizes_of, style_of
from pegasus.checkpoint_npz import to_npz
from pegasus.checkpoint_sources import Source, detect, open_source
from pegasus.cli import VERBS
from pegasus.commands import convert as verb
from pegasus.commands import info
from pegasus.convert import Choices, to_hf
from pegasus.flax_checkpoint import load
from pegasus.model import load_model, sinusoids
from pegasus.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data"


def quiet(_):
    pass


def converted(where, folder, **choices):
    to_hf(open_source(where), Choices(**choices), say=quiet).save_pretrained(folder)
    return folder


def logits(folder, inputs, targets):
    """What the model of a folder says to each target, given those before it."""
    model = load_model(folder).eval()
    inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
    decoder = torch.cat([torch.zeros(len(targets), 1, dtype=torch.long), targets[:, :-1]], dim=1)
    with torch.no_grad():
        mask = (inputs > 0).long()
        return model(input_ids=inputs, attention_mask=mask, decoder_input_ids=decoder).logits.numpy()


@pytest.fixture
def tiny(tmp_path):
    """A folder that transformers saved."""
    torch.manual_seed(0)
    config = PegasusConfig(
        vocab_size=110, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, activation_function="relu",
        scale_embedding=True, max_position_embeddings=64,
    )  # fmt: skip
    model = PegasusForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed_positions" not in name:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def edit_config(folder, remove=(), **values):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in remove}))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


# The released models


def test_a_tensorflow_checkpoint_gives_tensorflows_logits(tmp_path):
    expected = np.load(DATA / "tf_pegasus" / "expected.npz")
    folder = converted(DATA / "tf_pegasus", tmp_path / "out", heads=2)
    ours = logits(folder, expected["inputs"], expected["targets"])
    kept = expected["targets"] > 0
    # The pad row is set to zero, so the pad's own logit differs. Norms add 1e-5 there, 1e-12 in TensorFlow.
    np.testing.assert_allclose(ours[kept][:, 1:], expected["logits"][kept][:, 1:], atol=2e-4)
    assert (ours[kept][:, 0] == 0).all()


@pytest.mark.parametrize("name", ["pegasus", "pegasus_x"])
def test_a_flax_checkpoint_gives_the_released_models_logits(tmp_path, name):
    expected = np.load(DATA / "flax" / "expected.npz")
    folder = converted(DATA / "flax" / name, tmp_path / "out", block=4)
    ours = logits(folder, expected["inputs"], expected["targets"])
    np.testing.assert_allclose(ours, expected[name], atol=2e-4)


def test_the_position_formula_matters_to_the_logits(tmp_path):
    expected = np.load(DATA / "tf_pegasus" / "expected.npz")
    folder = converted(DATA / "tf_pegasus", tmp_path / "out", heads=2, positions="hf")
    ours = logits(folder, expected["inputs"], expected["targets"])
    assert abs(ours - expected["logits"])[:, :, 1:].max() > 0.05  # 250 times the tolerance above


def test_transformers_own_class_runs_the_folder_with_the_right_positions(tmp_path):
    folder = converted(DATA / "tf_pegasus", tmp_path / "out", heads=2, max_positions=32)
    model = PegasusForConditionalGeneration.from_pretrained(folder)
    table = model.model.encoder.embed_positions.weight
    assert table.shape == (32, 16)
    torch.testing.assert_close(table, sinusoids(32, 16, "tf"))


def test_names_are_accounted_for():
    said = []
    model = to_hf(open_source(DATA / "tf_pegasus"), Choices(heads=2), say=said.append)
    text = "\n".join(said)
    for line in (
        r"ignored +70 Adafactor slots",
        r"ignored +1 global_step",
        r"matched +47 of 47",
        r"zero +16 biases",
    ):
        assert re.search(line, text), text
    facts = {fact.what: fact for fact in model.facts}
    assert facts["heads"].why == "as asked for"
    assert facts["positions"] == ("positions", "tf", "the released code")
    assert facts["layers"].value == "2 + 1"
    assert "was set to zero" in facts["decoder start"].why


def test_every_weight_of_transformers_has_a_name():
    for name, long in (("tf_pegasus", False), ("flax/pegasus_x", True)):
        model = to_hf(open_source(DATA / name), Choices(heads=2), say=quiet)
        kind = PegasusForConditionalGeneration
        if long:
            from transformers import PegasusXForConditionalGeneration as kind
        with torch.device("meta"):
            wanted = {n: t.shape for n, t in kind(model.config).state_dict().items()}
        tied = {n for n in wanted if n.endswith(("embed_tokens.weight", "lm_head.weight"))}
        assert {n: t.shape for n, t in model.tensors.items()} == {
            n: s for n, s in wanted.items() if n not in tied
        }


def test_heads_are_assumed_64_wide_or_asked_for(tmp_path):
    with pytest.raises(
        UserError, match="a width of 16 is no multiple of 64, the released models' width of a head; say"
    ):
        to_hf(open_source(DATA / "tf_pegasus"), say=quiet)
    with pytest.raises(UserError, match="width of 16 does not split into 3 heads"):
        to_hf(open_source(DATA / "tf_pegasus"), Choices(heads=3), say=quiet)
    shapes = {name.tf: (128,) for name in layout(Sizes(1, 1, False)) if name.tf and name.kind != "optional"}
    for name in layout(Sizes(1, 1, False)):
        if name.kind in ("heads-in", "heads-out", "matrix"):
            shapes[name.tf] = (128, 128)
    shapes["embeddings/weights"] = (110, 128)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "wide.npz", **arrays)
    model = to_hf(open_source(tmp_path / "wide.npz"), say=quiet)
    assert model.config.encoder_attention_heads == 2
    assert next(f.why for f in model.facts if f.what == "heads") == "assumed: 64 wide each, as released"


# There and back


def test_weights_come_back_through_npz(tmp_path):
    source = open_source(DATA / "tf_pegasus")
    first = to_hf(source, Choices(heads=2), say=quiet)
    first.save_pretrained(tmp_path / "hf")
    assert to_npz(open_source(tmp_path / "hf"), tmp_path / "again.npz") == 47
    again = np.load(tmp_path / "again.npz")
    assert set(again.files) == set(source.arrays) - {"global_step"}
    for name in again.files:
        expected = np.array(source.arrays[name])
        if name == "embeddings/weights":
            expected[0] = 0
        np.testing.assert_array_equal(again[name], expected)
    second = to_hf(open_source(tmp_path / "again.npz"), Choices(heads=2), say=quiet)
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name


def test_pegasus_x_comes_back_through_npz_under_flax_names(tmp_path):
    source = open_source(DATA / "flax" / "pegasus_x")
    to_hf(source, say=quiet).save_pretrained(tmp_path / "hf")
    to_npz(open_source(tmp_path / "hf"), tmp_path / "x.npz")
    again = np.load(tmp_path / "x.npz")
    assert {name: again[name].shape for name in again.files} == {n: a.shape for n, a in source.arrays.items()}
    for name in again.files:
        np.testing.assert_array_equal(again[name], source.arrays[name])
    np.savez(tmp_path / "dotted.npz", **{name.replace("/", "."): again[name] for name in again.files})
    assert open_source(tmp_path / "dotted.npz").arrays.keys() == source.arrays.keys()


def test_attention_biases_of_transformers_survive_npz(tiny, tmp_path):
    to_npz(open_source(tiny), tmp_path / "b.npz")
    model = to_hf(open_source(tmp_path / "b.npz"), Choices(heads=2), say=quiet)
    weights = load_file(tiny / "model.safetensors")
    biases = [name for name in weights if name.endswith("_proj.bias")]
    assert len(biases) == 12
    assert all(weights[name].abs().max() > 0 for name in biases)
    for name in biases:
        assert torch.equal(model.tensors[name], weights[name])


def test_a_transformers_folder_keeps_its_outputs(tiny, tmp_path):
    inputs, targets = np.array([[106, 107, 108, 1]]), np.array([[106, 109, 1]])
    before = logits(tiny, inputs, targets)
    folder = converted(tiny, tmp_path / "out")
    np.testing.assert_array_equal(logits(folder, inputs, targets), before)
    assert json.loads((folder / "config.json").read_text())["position_style"] == "hf"


# Positions and settings of Hugging Face folders


def why(model, what):
    return next(fact for fact in model.facts if fact.what == what)[1:]


@pytest.mark.parametrize("style", ["tf", "hf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_table_tells_the_positions(tiny, style, dtype):
    def change(weights):
        for side in ("encoder", "decoder"):
            weights[f"model.{side}.embed_positions.weight"] = sinusoids(64, 16, style).to(dtype)

    edit_weights(tiny, change)
    assert why(to_hf(open_source(tiny), say=quiet), "positions") == (style, "by the stored table")
    other = "hf" if style == "tf" else "tf"
    model = to_hf(open_source(tiny), Choices(positions=other), say=quiet)
    assert why(model, "positions") == (other, "as asked for")
    assert torch.equal(model.tensors["model.encoder.embed_positions.weight"], sinusoids(64, 16, other))


def without_tables(weights):
    for side in ("encoder", "decoder"):
        weights.pop(f"model.{side}.embed_positions.weight", None)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("hf", "assumed: trained with transformers")),
        ({"position_style": "tf"}, ("tf", "config.json")),
        (
            {"_name_or_path": "google/pegasus-xsum"},
            ("tf", "assumed: a released vocabulary, trained with the"),
        ),
    ],
)
def test_without_a_table_the_positions_are_stored_or_assumed(tiny, config, expected):
    edit_weights(tiny, without_tables)
    edit_config(tiny, **config)
    style, reason = why(to_hf(open_source(tiny), say=quiet), "positions")
    assert style == expected[0]
    assert reason.startswith(expected[1])


def test_learnt_positions_are_refused(tiny):
    def change(weights):
        weights["model.encoder.embed_positions.weight"] += torch.randn(64, 16)

    edit_weights(tiny, change)
    with pytest.raises(UserError, match="follow neither formula; choose one with --position-style"):
        to_hf(open_source(tiny), say=quiet)


def test_settings_that_config_json_leaves_out_are_marked(tiny):
    edit_config(tiny, remove=("activation_function", "scale_embedding"))
    model = to_hf(open_source(tiny), say=quiet)
    default = "not in config.json: transformers' default"
    assert why(model, "activation_function") == ("gelu", default)
    assert why(model, "scale_embedding") == ("False", default)


def test_the_start_row_of_transformers_is_kept(tiny):
    def change(weights):
        weights["model.shared.weight"][0] = 0.5

    edit_weights(tiny, change)
    model = to_hf(open_source(tiny), say=quiet)
    assert why(model, "decoder start") == ("pad row, norm 2", "kept: transformers starts from it")
    assert (model.tensors["model.shared.weight"][0] == 0.5).all()


def test_weights_can_be_written_in_bfloat16(tmp_path):
    model = to_hf(open_source(DATA / "tf_pegasus"), Choices(heads=2, dtype="bf16"), say=quiet)
    assert {tensor.dtype for tensor in model.tensors.values()} == {torch.bfloat16}
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


def test_older_files_with_copies_of_the_embeddings_are_read(tiny):
    def change(weights):
        for name in (
            "model.encoder.embed_tokens.weight",
            "model.decoder.embed_tokens.weight",
            "lm_head.weight",
        ):
            weights[name] = weights["model.shared.weight"].clone()

    edit_weights(tiny, change)
    source = open_source(tiny)
    assert source.ignored == {"copies of the embeddings": 3}
    edit_weights(tiny, lambda weights: weights.pop("model.shared.weight"))
    assert "model.shared.weight" in open_source(tiny).arrays
    edit_weights(tiny, lambda weights: weights["lm_head.weight"].add_(1))
    with pytest.raises(UserError, match=r"lm_head\.weight differs from model\.shared\.weight"):
        open_source(tiny)


def test_files_in_parts_and_torch_files_are_read(tiny, tmp_path):
    weights = load_file(tiny / "model.safetensors")
    parts, torches = tmp_path / "parts", tmp_path / "torch"
    for folder in (parts, torches):
        folder.mkdir()
        shutil.copy(tiny / "config.json", folder)
    names = sorted(weights)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: weights[n] for n in names if files[n] == file}, parts / file)
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    torch.save(weights, torches / "pytorch_model.bin")
    for folder in (parts, torches):
        read = open_source(folder).arrays
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[name], weights[name]) for name in names)
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"file model-00002-of-00002\.safetensors not found in"):
        open_source(parts)


# Refusals


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a model file ran')",))


def test_code_in_a_torch_file_does_not_run(tiny):
    (tiny / "model.safetensors").unlink()
    torch.save({"model.shared.weight": Trap()}, tiny / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds more than plain tensors"):
        open_source(tiny)


def test_a_tenth_of_the_weights_may_be_missing_and_no_more(tiny):
    edit_weights(tiny, lambda weights: weights.pop("model.encoder.layers.0.fc1.weight"))
    said = []
    model = to_hf(open_source(tiny), say=said.append)
    assert "model.encoder.layers.*.fc1.weight" in "".join(said)
    assert (model.tensors["model.encoder.layers.0.fc1.weight"] == 0).all()
    edit_config(tiny, decoder_layers=2)
    with pytest.raises(UserError, match="the weights do not fit the model"):
        to_hf(open_source(tiny), say=quiet)


def test_a_weight_of_another_shape_is_named(tiny):
    edit_weights(tiny, lambda weights: weights.update({"model.decoder.layers.0.fc2.bias": torch.zeros(3)}))
    said = []
    to_hf(open_source(tiny), say=said.append)
    assert "model.decoder.layers.*.fc2.bias (3,)" in "".join(said).replace("fc2.bias (*,)", "fc2.bias (3,)")


def test_strange_names_over_a_tenth_stop(tmp_path):
    arrays = dict(open_source(DATA / "tf_pegasus").arrays)
    np.savez(tmp_path / "a.npz", **arrays, **{f"head/{i}": np.zeros(1) for i in range(9)})
    with pytest.raises(UserError, match="47 of 47 matched, 0 missing, 9 unexpected"):
        to_hf(open_source(tmp_path / "a.npz"), Choices(heads=2), say=quiet)


def test_other_checkpoints_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", weight=np.zeros(3))
    with pytest.raises(
        UserError, match=r"is no PEGASUS: no embeddings/weights .* among its 1 names, such as weight"
    ):
        open_source(tmp_path / "a.npz")
    (tmp_path / "config.json").write_text('{"model_type": "bart"}')
    with pytest.raises(UserError, match="is of a bart model; pegasus or pegasus_x is expected"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "pegasus"}')
    with pytest.raises(
        UserError, match=r"model\.safetensors or pytorch_model\.bin not found in .*nothing is downl"
    ):
        open_source(tmp_path)
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"is no \.npz archive"):
        open_source(tmp_path / "b.npz")
    with pytest.raises(UserError, match="is no Flax checkpoint"):
        open_source(tmp_path / "b.npz", "flax")


def test_missing_sources_are_named_and_nothing_is_downloaded(tmp_path):
    with pytest.raises(UserError, match="file pegasus-large not found in google; nothing is downloaded here"):
        open_source("google/pegasus-large")
    with pytest.raises(UserError, match=r"holds neither config\.json \(Hugging Face\), nor"):
        detect(tmp_path)
    with pytest.raises(UserError, match=r"file config\.json not found in"):
        open_source(tmp_path, "hf")
    with pytest.raises(UserError, match="file checkpoint_N not found in"):
        open_source(tmp_path, "flax")
    (tmp_path / "checkpoint_7").mkdir()
    with pytest.raises(UserError, match="the Orbax format"):
        open_source(tmp_path, "flax")


def test_the_newest_flax_checkpoint_of_a_folder_is_read(tmp_path):
    shutil.copy(DATA / "flax" / "pegasus", tmp_path / "checkpoint_9")
    shutil.copy(DATA / "flax" / "pegasus_x", tmp_path / "checkpoint_10")
    assert detect(tmp_path) == "flax"
    assert "params/encoder/Embed_0/embedding" in load(tmp_path)


def test_large_flax_arrays_come_in_chunks(tmp_path):
    import msgpack

    def packed(array):
        return msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))

    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    chunks = {str(i): packed(part) for i, part in enumerate(np.split(whole.reshape(-1), [5, 10]))}
    tree = {"params": {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": chunks}}}
    (tmp_path / "checkpoint_1").write_bytes(msgpack.packb(tree))
    np.testing.assert_array_equal(load(tmp_path)["params/a"], whole)


def test_styles_and_sizes_are_read_off_the_names():
    for sizes in (Sizes(2, 1, False), Sizes(1, 3, True)):
        for style in ("hf", "tf", "flax"):
            names = [getattr(name, style) for name in layout(sizes)]
            if None in names:
                assert (sizes.long, style) == (True, "tf")
                continue
            assert style_of(names) == style
            assert sizes_of(names, style) == sizes
            assert len(set(names)) == len(names)
    assert style_of(["weight"]) is None
    source = Source(Path("x"), "npz", "tf", {"embeddings/weights": np.zeros(3)})
    with pytest.raises(UserError, match="the embedding table is not a matrix"):
        to_hf(source, say=quiet)


# The verbs


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = ["ab ba", "aab", "b a b"] * 5
    Tokenizer.train(texts, 31, folder, threads=1, character_coverage=1.0)
    return folder


def test_the_verb_writes_a_folder_that_loads(tmp_path, capsys, tokenizer_folder):
    out = tmp_path / "model"
    np.savez(tmp_path / "wide.npz", **rows(open_source(DATA / "tf_pegasus").arrays, 160))
    options = verb.Options(source=tmp_path / "wide.npz", out=out, heads=2, tokenizer=tokenizer_folder)
    assert verb.run(options) == 0
    said = capsys.readouterr().out
    assert re.search(r"tokenizer +134 ids +26 embeddings more", said)
    assert re.search(r"mask ids +2, 3 +<mask_1> for sentences", said)
    assert load_model(out).config.position_style == "tf"
    assert len(Tokenizer.load(out)) == 134
    with pytest.raises(UserError, match="exists already"):
        verb.run(options)
    facts = info.describe(out)
    assert facts["model"]["position_style"] == "tf"
    model = load_model(out)
    count = sum(p.numel() for n, p in model.named_parameters() if "embed_positions" not in n)
    assert facts["model"]["parameters"] == count
    assert facts["tokenizer"]["vocabulary"] == 134


def rows(arrays, count):
    """The arrays with an embedding table of `count` rows."""
    table = np.resize(arrays["embeddings/weights"], (count, 16))
    return dict(arrays) | {"embeddings/weights": table}


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path, tokenizer_folder):
    options = verb.Options(
        source=DATA / "tf_pegasus", out=tmp_path / "out", heads=2, tokenizer=tokenizer_folder
    )
    with pytest.raises(UserError, match=r"the tokenizer has 134 ids and the model 120 embeddings"):
        verb.run(options)
    assert not (tmp_path / "out").exists()


def test_the_command_line_takes_from_and_says_errors_in_one_line(tmp_path, capsys):
    def command(*words):
        code = main("pegasus", "", "0", VERBS, argv=["convert", *map(str, words)])
        return code, capsys.readouterr()

    code, said = command("--from", "flax", "--source", DATA / "flax" / "pegasus", "--out", tmp_path / "out")
    assert code == 0
    assert "matched" in said.out
    code, said = command("--from", "tf1", "--source", tmp_path, "--out", tmp_path / "o")
    assert code == 2
    assert said.err.count("\n") == 1
    assert said.err.startswith("pegasus convert: file model.ckpt-N.index not found in")


def test_info_knows_checkpoints_and_says_when_it_knows_nothing(tmp_path, capsys):
    for name, origin in (
        ("tf_pegasus", "tf1"),
        ("flax/pegasus_x", "flax"),
        ("tf_pegasus/model.ckpt-1500", "tf1"),
    ):
        facts = info.describe(DATA / name)["checkpoint"]
        assert facts["origin"] == origin
        assert facts["encoder layers"] == 2
    assert info.run(info.Options(path=DATA / "flax" / "pegasus", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"]["parameters"] > 5000
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"is no model, tokenizer, shard or run folder.* it has notes\.txt"):
        info.describe(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        info.describe(tmp_path / "nobody")
