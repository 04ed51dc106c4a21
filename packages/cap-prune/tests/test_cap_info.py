"""What `info` says of models, levels, exports and runs, against what was put there."""

import json

import pytest

from cap_prune import toy
from cap_prune.commands import info
from cap_prune.exporting import export
from cap_prune.holdings import holdings
from cap_prune.levels import save_level
from cap_prune.slimming import slim
from cap_prune.units import Units
from nonet.errors import UserError
from nonet.files import write_json

KEEP = Units(((0, 2), ()), ((3, 60), (1,)), 4, 64)


def small():
    model = toy.new_bert()
    slim(model, KEEP)
    model.config.cap_task = {"task": "sst2", "max_length": 24, "align": "cls"}
    return model


def test_a_model_is_described_from_its_small_files(tmp_path, capsys):
    model = small()
    done = export(model, toy.tokenizer(), tmp_path / "small")
    assert info.run(info.Options(path=tmp_path / "small", json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["type"] == "cap_bert"
    assert found["model"]["parameters"] == sum(each.numel() for each in model.parameters())
    assert found["model"]["bytes"] == done.bytes
    assert found["units"] == {
        "heads live": "2 of 8", "heads by layer": "2 0",
        "neurons live": "3 of 128", "neurons by layer": "2 1",
    }  # fmt: skip
    assert found["task"] == {
        "task": "sst2", "max_length": 24, "align": "cls", "labels": "negative, positive",
    }  # fmt: skip
    assert found["export"]["format"] == "slim"
    assert found["tokenizer"]["vocabulary"] == len(toy.vocabulary())


def test_a_run_is_described_with_its_complete_levels_in_order(tmp_path, capsys):
    run = tmp_path / "prune-1"
    for percent, score in ((90, 0.75), (50, 0.875)):
        facts = {"percent": percent, "method": "first-order", "task": "sst2", "metrics": {"accuracy": score}}
        save_level(run / f"step-{percent}", small(), toy.tokenizer(), facts)
    (run / "step-95").mkdir()
    (run / "step-95" / "step.json").write_text("{}")
    write_json(run / "run.json", {"verb": "prune", "options": {"a": 1}})
    assert info.run(info.Options(path=run)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["run", "  verb  prune"]
    assert [line.split() for line in said[2:]] == [
        ["levels"], ["step-50", "accuracy", "0.875"], ["step-90", "accuracy", "0.75"],
    ]  # fmt: skip
    assert holdings(run / "step-90")["level"]["metrics.accuracy"] == 0.75


def test_what_is_no_model_is_said_with_what_is_there(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path, text in (
        (tmp_path, r"neither a model .* holds notes\.txt"),
        (tmp_path / "notes.txt", "is a file"),
        (tmp_path / "absent", "no such folder"),
    ):
        with pytest.raises(UserError, match=text):
            holdings(path)
    write_json(tmp_path / "config.json", {"model_type": "gpt2"})
    assert holdings(tmp_path)["model"]["type"] == "gpt2, which cannot be pruned"
    write_json(tmp_path / "config.json", {"model_type": "cap_bert", "cap_units": {"heads": [[1]]}})
    with pytest.raises(UserError, match="its entry cap_units is damaged"):
        holdings(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UserError, match="not a JSON object"):
        holdings(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    (tmp_path / "model.safetensors").write_bytes(b"123456789")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        holdings(tmp_path)
