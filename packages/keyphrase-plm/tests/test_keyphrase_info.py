"""The verb `info` on folders and files written here."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from keyphrase_plm.commands.info import Options, describe, run
from nonet.errors import UserError


def model_folder(path):
    path.mkdir()
    (path / "keyphrase.json").write_text(
        json.dumps({"family": "tag", "version": 1, "crf": True, "words": {"max": 510}})
    )
    (path / "config.json").write_text(
        json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2})
    )
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}, path / "model.safetensors")
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {"a": 0, "b": 1}},
        "added_tokens": [{"content": "[digit]"}],
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


def test_a_model_folder_says_its_family_sizes_and_weights(tmp_path, capsys):
    facts = describe(Options(path=model_folder(tmp_path / "m")))
    assert facts["family"] == {"family": "tag", "version": 1, "crf": True, "words.max": 510}
    assert facts["model"]["parameters"] == 17
    assert facts["tokenizer"] == {
        "type": "WordPiece", "vocabulary": 2, "added tokens": 1, "[digit] is a token": True,
    }  # fmt: skip
    assert run(Options(path=tmp_path / "m")) == 0
    assert "hidden_size" in capsys.readouterr().out


def test_a_run_folder_says_what_its_model_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"command": "train tag", "parts": []}')
    model_folder(tmp_path / "run" / "model")
    facts = describe(Options(path=tmp_path / "run"))
    assert facts["run"] == {"command": "train tag"}
    assert facts["family"]["family"] == "tag"


def test_damaged_and_missing_files_of_a_model_are_named(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "keyphrase.json").write_text("{")
    with pytest.raises(UserError, match=r"keyphrase\.json: cannot be read as JSON .*; save the model again"):
        describe(Options(path=folder))
    (folder / "keyphrase.json").write_text("{}")
    with pytest.raises(UserError, match=r"keyphrase\.json: no 'family' in it"):
        describe(Options(path=folder))
    (folder / "keyphrase.json").unlink()
    assert describe(Options(path=folder))["family"]["family"].startswith("none: no keyphrase.json")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"m: no config\.json and no keyphrase\.json"):
        describe(Options(path=folder, kind="model"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        describe(Options(path=tmp_path / "nowhere"))


def test_data_and_predictions_are_told_apart_and_counted(tmp_path):
    data, predictions = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows = [
        {"id": "1", "title": "a", "body": "b c", "present": ["b"], "absent": ["x", "y"]},
        {"id": "2", "title": "", "body": "d", "present": [], "absent": []},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions.write_text('{"id": "1", "phrases": ["b"], "scores": [-1.0]}\n{"id": "2", "phrases": []}\n')
    documents = describe(Options(path=data))["documents"]
    assert documents["words a document"] == 2.0
    assert (documents["phrases a document"], documents["absent phrases, %"]) == (1.5, 66.67)
    found = describe(Options(path=predictions))["predictions"]
    assert (found["documents"], found["documents without phrases"], found["with scores"]) == (2, 1, 1)
