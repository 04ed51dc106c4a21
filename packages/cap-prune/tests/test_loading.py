"""Models by folder and task: heads that fit, new heads, and every way a folder can be wrong."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support"))
from tiny_encoders import tiny

from cap_prune import toy
from cap_prune.architectures import units_of
from cap_prune.loading import head_of, load_config, load_model, load_tokenizer
from cap_prune.slimming import slim
from cap_prune.tasks import task_of
from cap_prune.units import Units
from nonet.errors import UserError
from nonet.training.hub import no_bars, save_folder

KEEP = Units(((0, 2), ()), ((3, 60), (1,)), 4, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy.write_encoder(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    model = toy.new_bert()
    slim(model, KEEP)
    return save_folder(model, toy.tokenizer(), tmp_path_factory.mktemp("slim") / "model", "# slim\n")


def test_without_a_task_the_model_comes_as_it_was_saved(folder, small):
    said = []
    model, words = load_model(folder, say=said.append)
    assert type(model) is transformers.BertForSequenceClassification
    assert not model.training
    assert words("the lion").input_ids[0] == 2
    assert units_of(load_model(small, say=said.append)[0]) == KEEP
    assert said == []


def test_a_head_that_fits_the_task_stays(tmp_path, folder):
    model, _ = load_model(folder, task_of("classify", ("Negative", "positive")))
    assert model.config.id2label == {0: "Negative", 1: "positive"}
    assert torch.equal(model.classifier.weight, load_model(folder)[0].classifier.weight)
    task = task_of("classify", ("Positive", "negative"))
    nameless = toy.new_bert(labels=("LABEL_0", "LABEL_1"))
    save_folder(nameless, toy.tokenizer(), tmp_path / "nameless", "")
    assert load_model(tmp_path / "nameless", task)[0].config.id2label == {0: "Positive", 1: "negative"}
    same = load_model(tmp_path / "nameless", task_of("classify"), labels=("a", "b"))[0]
    assert same.config.label2id == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("name", "outputs", "trouble"),
    [
        ("mrpc", 2, r"knows the labels \['negative', 'positive'\], and those of mrpc are \['not_equ"),
        ("mnli", 3, "has 2 outputs, and mnli needs 3"),
        ("stsb", 1, "has 2 outputs, and stsb needs 1"),
        ("squad", 2, "a head for classes, and squad needs one for answers"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "small"])
def test_a_head_for_something_else_is_an_error_or_replaced_when_asked(name, outputs, trouble, kind, request):
    where, task, said = request.getfixturevalue(kind), task_of(name), []
    with pytest.raises(UserError, match=trouble):
        load_model(where, task)
    torch.manual_seed(0)
    model, _ = load_model(where, task, new_head=True, say=said.append)
    assert "it gets a new one" in said[0]
    assert model.num_labels == outputs
    assert list(model.config.id2label.values()) == list(task.labels or [f"LABEL_{n}" for n in range(outputs)])
    old, _ = load_model(where)
    assert units_of(model) == units_of(old)
    wanted = old.bert.state_dict()
    assert all(torch.equal(weight, wanted[key]) for key, weight in model.bert.state_dict().items())
    torch.manual_seed(0)
    again, _ = load_model(where, task, new_head=True, say=said.append)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_an_encoder_without_head_gets_one_and_language_models_count_as_such(tmp_path):
    model = tiny("electra", "Model")
    save_folder(model, toy.tokenizer(), tmp_path / "headless", "")
    assert head_of(load_config(tmp_path / "headless")) == "none"
    assert type(load_model(tmp_path / "headless")[0]) is transformers.ElectraModel
    found, _ = load_model(tmp_path / "headless", task_of("sst2"), new_head=True, say=lambda _: None)
    assert type(found) is transformers.ElectraForSequenceClassification
    with pytest.raises(UserError, match="it has no head, and sst2 needs one for classes; train one with"):
        load_model(tmp_path / "headless", task_of("sst2"))


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path, folder):
    def broken(name, change):
        shutil.copytree(folder, tmp_path / name)
        change(tmp_path / name)
        with pytest.raises(UserError) as error:
            load_model(tmp_path / name)
        assert "\n" not in str(error.value)
        return str(error.value)

    def retype(where):
        config = json.loads((where / "config.json").read_text())
        (where / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))

    assert "type gpt2 cannot be pruned; supported: bert" in broken("type", retype)
    assert "config cannot be read" in broken("json", lambda path: (path / "config.json").write_text("{"))
    assert "no config.json" in broken("none", lambda path: (path / "config.json").unlink())
    cut = (folder / "model.safetensors").read_bytes()[:500]
    assert "damaged" in broken("cut", lambda path: (path / "model.safetensors").write_bytes(cut))
    assert "cannot be loaded" in broken("empty", lambda path: (path / "model.safetensors").unlink())
    with pytest.raises(UserError, match="no folder"):
        load_model(tmp_path / "absent")


def test_a_damaged_record_of_units_is_named(tmp_path, small):
    shutil.copytree(small, tmp_path / "model")
    config = json.loads((small / "config.json").read_text())
    units = config["cap_units"]
    for record in ({"heads": [[0]]}, units | {"heads": [[2, 0], []]}, units | {"heads": 3}):
        (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"cap_units": record}))
        with pytest.raises(UserError, match="the entry cap_units of its config is damaged"):
            load_model(tmp_path / "model")
    more = units | {"heads": [[0, 1, 2], []]}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"cap_units": more}))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(tmp_path / "model")


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with no_bars():
        toy.new_bert().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"knows no word: tokenizer\.json or vocab\.txt is missing"):
        load_tokenizer(tmp_path)


def test_code_in_a_folder_is_never_run(tmp_path, small):
    shutil.copytree(small, tmp_path / "evil")
    (tmp_path / "evil" / "slim_models.py").write_text("raise SystemExit('run')\n")
    model, _ = load_model(tmp_path / "evil")
    assert units_of(model) == KEEP


def test_a_name_of_the_hub_is_asked_for_once_and_all_is_read_from_its_folder(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(folder)
    )
    model, words = load_model("toy-encoder")
    assert asked == ["toy-encoder"]
    assert torch.equal(model.classifier.weight, load_model(folder)[0].classifier.weight)
    assert words("the lion").input_ids[0] == 2


def test_a_hub_that_is_away_is_an_error_without_further_tries(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def away(name, **_):
        raise LocalEntryNotFoundError("no connection\nand no snapshot")

    def never(*arguments, **options):
        raise AssertionError("a second question")

    monkeypatch.setattr("huggingface_hub.snapshot_download", away)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", never)
    text = "^no-such-model: neither a folder nor to be had from the hub: no connection and no snapshot$"
    for load in (load_model, load_config, load_tokenizer):
        with pytest.raises(UserError, match=text):
            load("no-such-model")


@pytest.mark.parametrize("verb", ["eval", "predict", "report"])
def test_an_onnx_export_is_refused_by_what_runs_torch(verb, tmp_path, folder):
    from importlib import import_module

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "graph" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "x.txt").write_text("good\n", encoding="utf-8")
    values = {
        "eval": {"data": tmp_path, "task": "classify"}, "report": {},
        "predict": {"input": (tmp_path / "x.txt",), "out": tmp_path / "out.jsonl"},
    }  # fmt: skip
    command = import_module(f"cap_prune.commands.{verb}")
    with pytest.raises(UserError, match=r"graph: an ONNX export, which only `bench` runs"):
        command.run(command.Options(model=str(tmp_path / "graph"), **values[verb]))
