"""Exports: read back by other means, and equal to the source; packed weights against scipy's rows."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support"))
from tiny_encoders import HEADS, LAYERS, NEURONS, PRUNED, SIZE, numbers, texts, tiny

from cap_prune import exporting, toy
from cap_prune.architectures import NAMES, parts_of, units_of
from cap_prune.commands import export as command
from cap_prune.dead_units import useful_units
from cap_prune.exporting import export
from cap_prune.gates import Gates
from cap_prune.loading import load_model
from cap_prune.packing import matrix_names, read_packed, write_packed
from cap_prune.slimming import slim
from cap_prune.units import Units
from cap_prune.widening import widen
from nonet.errors import RunFailed, UserError
from nonet.testing import needs, normal, seeded
from nonet.training.hub import save_folder


def pruned(kind="bert"):
    model = tiny(kind)
    slim(model, PRUNED)
    return model


def two_of_four(kind="bert", seed=0):
    """A dense model with two zeros in every four weights, and some groups with more."""
    model, random = tiny(kind), seeded(seed)
    for parts in parts_of(model):
        for part in parts.matrices.values():
            groups = part.weight.data.view(-1, 4)
            order = torch.rand(groups.shape, generator=random).argsort(1)
            groups.scatter_(1, order[:, :2], 0.0)
            groups[::7] = 0
    return model


def close(a, b, atol=1e-6):
    return bool((numbers(a) - numbers(b)).abs().max() <= atol)


@pytest.mark.parametrize("kind", NAMES)
def test_a_widened_model_is_plain_and_zero_where_units_are_gone(kind):
    model = pruned(kind)
    wide = widen(model)
    assert type(wide).__module__.startswith("transformers.models")
    assert "cap_units" not in wide.config.to_dict()
    assert close(wide, model, 1e-5)
    first = parts_of(wide)[0]
    assert first.query.weight.shape == (HEADS * SIZE, HEADS * SIZE)
    assert not first.value.weight[SIZE : 2 * SIZE].any(), "head 1 is gone"
    assert first.intermediate.weight.any(1).nonzero().flatten().tolist() == [0, 5, 6, 19]
    assert not parts_of(wide)[2].output.weight.any()


def test_widening_to_some_units_keeps_the_others_away():
    model = pruned()
    to = Units(((0, 1, 2, 3), (2,), (1,)), ((0, 5, 6, 19), (3,), (7,)), HEADS, NEURONS)
    wide = widen(model, to)
    assert units_of(wide) == to
    assert close(wide, model, 1e-5)


def test_units_are_useful_exactly_if_taking_them_out_changes_the_numbers():
    model = tiny("bert")
    first, second, third = parts_of(model)
    first.attention_output.weight.data[:, :SIZE] = 0  # head 0 is not read
    second.value.weight.data[SIZE : 2 * SIZE] = 0  # head 1 says nothing
    second.value.bias.data[SIZE : 2 * SIZE] = 0
    third.value.weight.data[:SIZE] = 0  # head 0 says its bias
    first.output.weight.data[:, 4] = 0
    second.intermediate.weight.data[7] = 0
    second.intermediate.bias.data[7] = 0
    third.intermediate.weight.data[7] = 0  # GELU of its bias
    before, found = numbers(model), useful_units(model)
    for kind, count in (("heads", HEADS), ("neurons", NEURONS)):
        for layer in range(LAYERS):
            for unit in range(count):
                record = Units.full(LAYERS, HEADS, NEURONS).to_dict()
                record[kind][layer].remove(unit)
                with Gates(model, Units.from_dict(record)):
                    changes = bool((numbers(model) - before).abs().max() > 1e-6)
                assert changes == (unit in getattr(found, kind)[layer]), (kind, layer, unit)
    assert (found.live_heads, found.live_neurons) == (LAYERS * HEADS - 2, LAYERS * NEURONS - 2)


def test_a_slim_export_has_no_dead_units_and_the_bytes_of_what_is_left(tmp_path):
    dense = toy.new_bert(layers=2)
    for parts in parts_of(dense):
        parts.attention_output.weight.data[:, :16] = 0
        parts.output.weight.data[:, 10:] = 0
    done = export(dense, toy.tokenizer(), tmp_path / "small", source="run/step-50")
    again, words = load_model(tmp_path / "small")
    assert units_of(again) == Units(((2, 3),) * 2, (tuple(range(10)),) * 2, 4, 64)
    inputs = words(["the lion is good", "a b"], padding=True, return_tensors="pt")
    assert torch.allclose(again(**inputs).logits, dense(**inputs).logits, atol=1e-6)
    assert done.difference <= 1e-6
    assert done.bytes == (tmp_path / "small" / "model.safetensors").stat().st_size
    assert done.source_bytes == 4 * sum(each.numel() for each in dense.parameters())
    assert done.bytes < 0.6 * done.source_bytes
    assert done.notes == ("4 heads and 108 neurons that gave only zeros are gone, too",)
    assert units_of(dense).whole, "the source stays as it is"
    card = (tmp_path / "small" / "README.md").read_text()
    assert "exported from step-50" in card
    assert "4 of 8 heads and 20 of 128 neurons" in card
    assert "pip install cap-prune" in card


def test_a_dense_export_is_read_by_plain_transformers(tmp_path):
    model = pruned("distilbert")
    export(model, toy.tokenizer(), tmp_path / "dense", "dense-zero")
    again = transformers.DistilBertForSequenceClassification.from_pretrained(tmp_path / "dense").eval()
    assert close(again, model, 1e-5)
    held = {path.name for path in (tmp_path / "dense").iterdir()}
    assert not any(name.endswith(".py") for name in held), "it needs no code"


@pytest.mark.parametrize("form", ["csr", "2:4"])
def test_packed_exports_load_equal_bit_for_bit(tmp_path, form):
    model = two_of_four("electra")
    done = export(model, toy.tokenizer(), tmp_path / "packed", form)
    again, _ = load_model(tmp_path / "packed")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert done.difference <= 1e-6
    assert not (tmp_path / "packed" / "model.safetensors").exists()
    assert "saves disk, not memory or time" in done.notes[0]


def test_a_slim_model_with_empty_layers_is_packed_as_rows(tmp_path):
    model = pruned("roberta")
    export(model, toy.tokenizer(), tmp_path / "rows", "csr")
    again, _ = load_model(tmp_path / "rows")
    assert units_of(again) == PRUNED
    assert close(again, model)


def test_rows_are_those_of_scipy(tmp_path):
    from safetensors.torch import load_file
    from scipy.sparse import csr_array

    model = two_of_four()
    write_packed(model, tmp_path, "csr")
    state = load_file(tmp_path / "packed.safetensors")
    for name in matrix_names(model):
        wanted = csr_array(model.get_parameter(name).detach().numpy())
        assert state[f"{name}.values"].tolist() == wanted.data.tolist()
        assert state[f"{name}.columns"].tolist() == wanted.indices.tolist()
        assert state[f"{name}.starts"].tolist() == wanted.indptr.tolist()


def test_two_of_four_takes_half_the_values_and_half_a_byte_a_group(tmp_path):
    from safetensors.torch import load_file

    model = two_of_four()
    assert write_packed(model, tmp_path, "2:4") == []
    state = load_file(tmp_path / "packed.safetensors")
    for name in matrix_names(model):
        groups = model.get_parameter(name).numel() // 4
        assert state[f"{name}.values"].shape == (groups, 2)
        assert state[f"{name}.places"].shape == ((groups + 1) // 2,)
        assert state[f"{name}.places"].dtype == torch.uint8


def test_two_of_four_refuses_other_patterns_and_leaves_odd_matrices_whole(tmp_path):
    with pytest.raises(UserError, match=r"256 groups of four have more .*--masks\.pattern 2:4 first"):
        export(tiny("bert"), toy.tokenizer(), tmp_path / "no", "2:4")
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    model = two_of_four()
    keep = tuple(range(18))  # the output matrices have 18 inputs
    for parts in parts_of(model):
        parts.output.weight.data[:, 16:] = normal(HEADS * SIZE, 4)
    slim(model, Units((tuple(range(HEADS)),) * LAYERS, (keep,) * LAYERS, HEADS, NEURONS))
    done = export(model, toy.tokenizer(), tmp_path / "odd", "2:4")
    assert done.notes[-1] == "3 matrices stay whole, as their inputs are no multiple of 4"
    assert close(load_model(tmp_path / "odd")[0], model)
    if not torch.cuda.is_available():
        assert "no speed-up on this device" in done.notes[1]


def test_a_damaged_packed_file_is_named(tmp_path):
    export(pruned(), toy.tokenizer(), tmp_path / "rows", "csr")
    path = tmp_path / "rows" / "packed.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"packed\.safetensors: damaged"):
        load_model(tmp_path / "rows")
    with pytest.raises(UserError, match="damaged"):
        read_packed(tmp_path)


@pytest.mark.parametrize("form", ["slim", "dense-zero"])
def test_an_export_with_other_numbers_fails_and_leaves_nothing(tmp_path, monkeypatch, form):
    def wrong(self, folder):
        self.model.classifier.bias.data += 1e-3
        return write(self, folder)

    write = exporting._Writer._write_plain
    monkeypatch.setattr(exporting._Writer, "_write_plain", wrong)
    with pytest.raises(RunFailed, match=r"other numbers \(by 0\.00\d+, allowed 1e-05"):
        export(pruned(), toy.tokenizer(), tmp_path / "bad", form)
    assert not list(tmp_path.iterdir())


def test_a_packed_export_with_other_weights_fails(tmp_path, monkeypatch):
    def wrong(folder):
        state = read_packed(folder)
        state["classifier.bias"] = state["classifier.bias"] + 1e-7
        return state

    monkeypatch.setattr(exporting, "read_packed", wrong)
    with pytest.raises(RunFailed, match=r"classifier\.bias is not what it was"):
        export(pruned(), toy.tokenizer(), tmp_path / "bad", "csr")
    assert not list(tmp_path.iterdir())


def test_half_precision_stays_half(tmp_path):
    model = pruned().to(torch.bfloat16)
    done = export(model, toy.tokenizer(), tmp_path / "half")
    again, _ = load_model(tmp_path / "half")
    assert again.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert done.difference == 0


def test_the_command_prints_proof_and_bytes_and_replaces_only_what_it_wrote(tmp_path, capsys):
    model = toy.new_bert(layers=2)
    slim(model, Units(((0,), (1, 2)), ((5,), ()), 4, 64))
    save_folder(model, toy.tokenizer(), tmp_path / "level", "# level\n")
    options = command.Options(model=str(tmp_path / "level"), out=tmp_path / "out", format="dense-zero")
    assert command.run(options) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert "dense-zero; largest difference from" in first
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert second.startswith(f"weights: {size:,} bytes")
    assert third == "note: plain transformers loads it; as large and as slow as the dense model"
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (facts["format"], facts["weight_bytes"]) == ("dense-zero", size)
    with pytest.raises(UserError, match="exists already"):
        command.run(options)
    shutil.copy(tmp_path / "level" / "config.json", tmp_path / "out" / "mine.txt")
    again = command.Options(model=options.model, out=options.out, format="slim", overwrite=True)
    with pytest.raises(UserError, match=r"holds mine\.txt"):
        command.run(again)
    (tmp_path / "out" / "mine.txt").unlink()
    assert command.run(again) == 0
    assert units_of(load_model(tmp_path / "out")[0]) == units_of(model)


@pytest.mark.slow  # torch's exporter alone takes ten seconds
@needs("onnxruntime")
@needs("onnxscript")
def test_an_onnx_export_with_empty_layers_gives_the_same_numbers_at_any_shape(tmp_path):
    import onnxruntime

    model = pruned()
    done = export(model, toy.tokenizer(), tmp_path / "graph", "onnx")
    assert done.difference <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "graph" / "model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    inputs = texts() | {"token_type_ids": torch.zeros(2, 7, dtype=torch.long)}
    for rows in (2, 1):
        given = {name: value[:rows].numpy() for name, value in inputs.items()}
        [found] = session.run(None, given)
        wanted = model(**{name: value[:rows] for name, value in inputs.items()}).logits
        assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-5)
    config = json.loads((tmp_path / "graph" / "config.json").read_text())
    assert config["model_type"] == "bert", "so that the tokenizer loads without code"
    assert "auto_map" not in config
