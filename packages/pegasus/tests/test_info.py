"""The verb `info` on folders of each kind; checkpoints and models are in test_convert.py."""

import json

import numpy as np
import pytest

from nonet.data.shards import ShardWriter
from nonet.errors import UserError
from pegasus.commands import info


def write_shards(folder, **columns):
    with ShardWriter(folder, {"seed": 3, "gaps": {"ratio": 0.3, "strategy": "lead"}}) as writer:
        for row in range(3):
            writer.append({name: values[: row + 1] for name, values in columns.items()})
            writer.consumed()


def test_shards_are_counted_and_their_settings_listed(tmp_path, capsys):
    write_shards(tmp_path / "shards", pieces=np.arange(106, 110, dtype=np.int32))
    facts = info.describe(tmp_path / "shards")["shards"]
    assert (facts["documents"], facts["tokens"]) == (3, 1 + 2 + 3)
    assert (facts["seed"], facts["gaps.ratio"], facts["gaps.strategy"]) == (3, 0.3, "lead")
    assert info.run(info.Options(path=tmp_path / "shards")) == 0
    assert "gaps.strategy  lead" in capsys.readouterr().out


def test_shards_of_another_package_have_no_pieces(tmp_path):
    write_shards(tmp_path / "shards", other=np.arange(4))
    assert info.describe(tmp_path / "shards")["shards"]["tokens"] == "no column of pieces"


def test_a_run_folder_shows_the_run_and_its_model(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"package": "pegasus", "verb": "pretrain", "machine": {"cpu": 2}})
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "pegasus"}')
    facts = info.describe(tmp_path)
    assert facts["run"] == {"package": "pegasus", "verb": "pretrain"}
    # What a configuration leaves out is transformers' default, which is not pegasus-large.
    assert facts["model"]["vocab_size"] == "50265 (transformers' default)"
    assert facts["model"]["activation_function"] == "gelu (transformers' default)"
    assert facts["model"]["weights"] == "no model.safetensors"


def test_a_model_of_another_kind_is_told_apart_and_damage_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert info.describe(tmp_path)["model"]["runs here"].startswith("no")
    (tmp_path / "config.json").write_text('{"model_type": "pegasus"}')
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        info.describe(tmp_path)
