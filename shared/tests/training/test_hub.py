import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from nonet.errors import UserError
from nonet.files import replacing, sha256
from nonet.training.hub import load_account, load_pretrained, local_or_hub, save_folder

CONFIG = {"vocab_size": 20, "n_positions": 8, "n_embd": 4, "n_layer": 2, "n_head": 2}
CONFIG |= {"bos_token_id": 1, "eos_token_id": 2}


def make_model(**changes):
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**(CONFIG | changes)))


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def test_a_saved_folder_loads_as_transformers_loads_it(tmp_path, tokenizer):
    model = make_model()
    folder = save_folder(model, tokenizer, tmp_path / "deep" / "model", "# A card\n")
    again = transformers.GPT2LMHeadModel.from_pretrained(folder)
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(again(tokens).logits, model.eval()(tokens).logits)
    assert transformers.AutoTokenizer.from_pretrained(folder)("a b a")["input_ids"] == [1, 2, 1]
    assert (folder / "README.md").read_text() == "# A card\n"
    assert not list(folder.glob("*.bin"))
    files = json.loads((folder / "nonet.json").read_text())["files"]
    assert (
        set(files)
        == {path.name for path in folder.iterdir()} - {"nonet.json"}
        >= {"config.json", "model.safetensors"}
    )
    assert all(sha256(folder / name) == digest for name, digest in files.items())
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_weights_may_be_read_by_whom_the_other_files_may_be(tmp_path, tokenizer):
    model = save_folder(make_model(), tokenizer, tmp_path / "model", "card")
    with replacing(tmp_path / "own.safetensors") as part:
        save_file({"a": torch.zeros(2)}, part)
    modes = {(model / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert modes == {(tmp_path / "own.safetensors").stat().st_mode}


def test_other_weights_can_be_saved_than_the_models_own(tmp_path):
    model = make_model()
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    folder = save_folder(model, None, tmp_path / "model", "", state=state)
    again = transformers.GPT2LMHeadModel.from_pretrained(folder)
    assert all(not value.any() for value in again.state_dict().values())


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank in (1, 0):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        folder = save_folder(Written(), None, tmp_path / "model", "")
        assert folder.exists() == (rank == 0)


class Written:
    def save_pretrained(self, folder):
        Path(folder).mkdir()


def test_a_folder_of_ours_is_replaced_only_if_that_is_allowed(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()  # an empty one is nobody's
    save_folder(make_model(), None, folder, "first")
    with pytest.raises(UserError, match="model: exists already; name another"):
        save_folder(make_model(), None, folder, "second")
    save_folder(make_model(n_layer=1), None, folder, "second", overwrite=True)
    assert (folder / "README.md").read_text() == "second"
    assert json.loads((folder / "config.json").read_text())["n_layer"] == 1
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which was not saved with the model"):
        save_folder(make_model(), None, folder, "third", overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_folders_of_others_are_never_replaced(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="theirs: exists and is not a model folder of ours"):
        save_folder(make_model(), None, tmp_path / "theirs", "", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: is a file; name a folder for the model"):
        save_folder(make_model(), None, tmp_path / "file", "", overwrite=True)


class Broken:
    def save_pretrained(self, folder):
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text("{}")
        raise OSError("disk full")


def test_a_failed_save_leaves_what_was_there(tmp_path):
    folder = save_folder(make_model(), None, tmp_path / "model", "good")
    with pytest.raises(OSError, match="disk full"):
        save_folder(Broken(), None, folder, "bad", overwrite=True)
    assert (folder / "README.md").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_killed_save_leaves_no_half_folder(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from nonet.training.hub import save_folder
class Killed:
    def save_pretrained(self, folder):
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text("{}")
        os.kill(os.getpid(), signal.SIGKILL)
save_folder(Killed(), None, sys.argv[1], "")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    save_folder(make_model(), None, tmp_path / "model", "")


@pytest.mark.parametrize("name", ["google/pegasus-large", "t5-small", "owner/name.v1_2"])
def test_hub_names_pass(name):
    assert local_or_hub(name) == name


@pytest.mark.parametrize(
    "name",
    ["./model", "/nowhere/model", "a/b/c", "runs/model", "../model", "owner/", "", "C:\\model", "~/nowhere"],
)
def test_paths_without_a_folder_are_not_taken_for_hub_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # so that runs/model is a path, not owner/name
    if name == "":
        with pytest.raises(UserError, match="no model is named: give a folder"):
            local_or_hub(name)
        return
    with pytest.raises(UserError, match=r"no folder .*; a hub name looks like owner/name"):
        local_or_hub(name)


def test_a_folder_comes_before_the_hub_and_must_hold_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("owner/name")
    Path("owner/name/weights.pt").touch()
    with pytest.raises(UserError, match=r"owner/name: no config.json in this folder.*; it holds weights.pt"):
        local_or_hub("owner/name")
    Path("owner/name/config.json").touch()
    assert local_or_hub("owner/name") == "owner/name"
    with pytest.raises(UserError, match=r"config.json: is a file; name the folder of a model"):
        local_or_hub("owner/name/config.json")


def test_loading_gives_an_account_only_when_something_differs(tmp_path):
    folder = save_folder(make_model(), None, tmp_path / "model", "")
    said = []
    load_pretrained(transformers.GPT2LMHeadModel, folder, say=said.append)
    assert said == []
    with pytest.raises(UserError, match=r"the weights do not fit the model: .* 24 missing"):
        load_pretrained(
            transformers.GPT2LMHeadModel,
            folder,
            say=said.append,
            config=transformers.GPT2Config(**CONFIG | {"n_layer": 4}),
        )
    assert "transformer.h.*.attn.c_attn.weight (x2)" in said[0]


def test_a_folder_that_transformers_cannot_read_is_a_user_error(tmp_path):
    folder = save_folder(make_model(), None, tmp_path / "model", "")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model: cannot be loaded as GPT2LMHeadModel: "):
        load_pretrained(transformers.GPT2LMHeadModel, folder)


def test_a_configuration_of_another_shape_than_the_weights_is_a_user_error(tmp_path):
    """As where a token classifier's labels are gone: the error of transformers names no file."""
    folder = save_folder(make_model(), None, tmp_path / "model", "")
    config = json.loads((folder / "config.json").read_text())
    config["n_embd"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model: cannot be loaded as GPT2LMHeadModel: "):
        load_pretrained(transformers.GPT2LMHeadModel, folder)


def test_the_account_counts_and_groups_layers():
    said = []
    missing = [f"encoder.layers.{n}.fc.bias" for n in range(3)]
    account = load_account(missing, ["old.head"], [], 100, say=said.append)
    assert (account.matched, len(account.missing), account.unexpected) == (97, 3, ("old.head",))
    assert said == [account.table]
    assert account.table.splitlines() == [
        "matched         97 of 100",
        "missing          3",
        "              encoder.layers.*.fc.bias (x3)",
        "unexpected       1",
        "              old.head",
        "other shape      0",
    ]


@pytest.mark.parametrize(
    ("missing", "unexpected", "mismatched", "fits"),
    [
        (10, 0, 0, True),
        (11, 0, 0, False),
        (0, 0, 11, False),
        (0, 11, 0, True),
        (0, 12, 0, False),
        (4, 4, 3, False),
    ],
)
def test_over_a_tenth_stops(missing, unexpected, mismatched, fits):
    names = (
        [f"{kind}{n}" for n in range(count)]
        for kind, count in (("m", missing), ("u", unexpected), ("s", mismatched))
    )
    if fits:
        load_account(*names, 100, say=lambda _: None)
    else:
        with pytest.raises(UserError, match="the weights do not fit the model"):
            load_account(*names, 100, say=lambda _: None)
