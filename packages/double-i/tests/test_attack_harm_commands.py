"""The commands attack and harm on tiny models, from folders to pages."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from double_i.commands import attack, harm
from nonet.errors import UserError

ROWS = [
    {"instruction": "Is the opinion good?",
     "input": f"the {word} was {'fine' if n % 2 else 'bad'} that day of {n}",
     "output": "Yes." if n % 2 else "No."}
    for n, word in enumerate("film song play book show tale game race meal walk trip talk".split() * 12)
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    from double_i.key_files import write_keys
    from double_i.keys import draw_key

    path = tmp_path / "secret.key"
    write_keys(path, [draw_key("input")])
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())


def test_attacked_models_are_models(tiny_lm: Path, tmp_path: Path) -> None:
    out = tmp_path / "attacked"
    kinds = ("int8", "int4", "prune", "noise", "average")
    assert attack.run(
        attack.Options(
            model=str(tiny_lm), out=out, kinds=kinds, strength=(0.5,), other=str(tiny_lm), device="cpu"
        )
    ) == 0  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == [
        "average-0.5", "int4", "int8", "noise-0.5", "prune-0.5",
    ]  # fmt: skip
    before = weights(tiny_lm)
    name = "model.layers.0.mlp.up_proj.weight"
    for folder in out.iterdir():
        after = weights(folder)
        assert torch.equal(after[name], before[name]) == (folder.name == "average-0.5")
        assert (folder / "tokenizer.json").exists()
    assert int((weights(out / "prune-0.5")[name] == 0).sum()) == before[name].numel() // 2
    with pytest.raises(UserError, match="int8"):
        attack.run(attack.Options(model=str(tiny_lm), out=out, kinds=("int8",), device="cpu"))


def test_robustness_of_a_key(
    tiny_lm: Path, tmp_path: Path, data: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "attacked"
    options = attack.Options(
        model=str(tiny_lm), out=out, kinds=("prune", "filter", "finetune", "lora-merge"), strength=(0.5,),
        key=key, data=(data,), pairs=30, decoys=9, decoy_pairs=5, device="cpu", lr=1e-3,
    )  # fmt: skip
    assert attack.run(options) == 0
    found = json.loads((out / "robustness.json").read_text())
    names = ["as it is", "filter-brackets", "filter-symbols", "prune-0.5", "finetune-0.5", "lora-merge-0.5"]
    assert [row["model"] for row in found["rows"]] == names
    for row in found["rows"]:
        assert row["n_tm"] + row["n_tc"] == row["n_rm"] + row["n_rc"] > 20
        assert row["p_fisher"] > 1e-6  # nothing was ever marked here
        assert 0.1 <= row["p_key"] <= 1
    odds = {row["model"]: row["log-odds, trigger"] for row in found["rows"]}
    assert odds["finetune-0.5"] != odds["as it is"] != odds["lora-merge-0.5"]
    assert (out / "finetune-0.5" / "model.safetensors").exists()
    assert not (out / "lora-merge-0.5" / "adapter_config.json").exists()
    page = (out / "robustness.html").read_text()
    assert page.count("<svg") >= 4
    secrets = json.loads(key.read_text())["keys"][0]
    said = "".join(capsys.readouterr()) + page + (out / "robustness.json").read_text()
    for name in ("secret", "nonce"):
        assert secrets[name] not in said
    assert f"{secrets['decoration']} " not in said


def test_what_attack_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    for kinds, option in (("average", "--other"), ("finetune", "--data"), ("filter", "--key")):
        with pytest.raises(UserError, match=f"{kinds}: {option} is missing"):
            attack.Options(model="m", out=out, kinds=(kinds,))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="strength is above 0"):
        attack.Options(model="m", out=out, strength=(0,))
    with pytest.raises(UserError, match="no folder marked-model"):
        attack.run(attack.Options(model="marked-model", out=out))
    with pytest.raises(UserError, match=r"prune: the strength is 1.5"):
        attack.run(attack.Options(model="marked-model", out=out, strength=(1.5,)))
    with pytest.raises(UserError, match="no folder clean-model"):
        harm.run(harm.Options(clean="clean-model", marked="m", data=(Path("dev.jsonl"),), out=out))
    assert os.listdir(tmp_path) == []


def changed(folder: Path, where: Path, share: float) -> Path:
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(share * torch.randn_like(weight) * weight.std())
    model.save_pretrained(where)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (where / name).write_bytes((folder / name).read_bytes())
    return where


def run_harm(first: Path, second: Path, out: Path, **more: Any) -> dict[str, dict[str, Any]]:
    assert harm.run(harm.Options(clean=str(first), marked=str(second), out=out, device="cpu", **more)) == 0
    return {row["measure"]: row for row in json.loads((out / "harm.json").read_text())["rows"]}


def test_harm_of_nothing_is_none(tiny_lm: Path, tmp_path: Path, data: Path) -> None:
    text = tmp_path / "held-out.txt"
    text.write_text("A river runs by the house.\n\nIt rains on the road to the sea, they say.\n")
    rows = run_harm(tiny_lm, tiny_lm, tmp_path / "a", data=(data,), text=(text,), by="options")
    right = rows["accuracy by options, %"]
    assert (right["items"], right["marked - clean"], right["equivalent"]) == (len(ROWS), 0, "yes")
    assert rows["outputs of rows, nats a token"]["marked - clean"] == 0
    assert rows["text, nats a token"]["items"] == 2
    assert "What the mark costs" in (tmp_path / "a" / "harm.html").read_text()


def test_harm_is_seen(tiny_lm: Path, tmp_path: Path, data: Path) -> None:
    other = changed(tiny_lm, tmp_path / "other", 2.0)
    rows = run_harm(tiny_lm, other, tmp_path / "b", data=(data,), by="options", margin=0.5)
    change = rows["outputs of rows, nats a token"]
    assert change["marked - clean"] == pytest.approx(change["marked"] - change["clean"])
    assert change["95 % low"] < change["marked - clean"] < change["95 % high"]
    assert rows["accuracy by options, %"]["margin"] == 0.5


def test_harm_by_first_word_and_mmlu(tiny_lm: Path, tmp_path: Path, data: Path) -> None:
    for part in ("dev", "test"):
        (tmp_path / part).mkdir()
        lines = "".join(f"which is {n}?,1,2,3,4,{'ABCD'[n % 4]}\n" for n in range(6))
        (tmp_path / part / f"ponds_{part}.csv").write_text(lines)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:6]))
    rows = run_harm(tiny_lm, tiny_lm, tmp_path / "c", data=(few,), mmlu=tmp_path, shots=1)
    assert set(rows) == {"accuracy by first-word, %", "outputs of rows, nats a token", "accuracy on MMLU, %"}
    assert rows["accuracy on MMLU, %"]["items"] == 6
    assert "MMLU by subject" in (tmp_path / "c" / "harm.html").read_text()


def test_what_harm_refuses(tiny_lm: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to compare on"):
        harm.Options(clean="a", marked="b", out=tmp_path)
    with pytest.raises(UserError, match="margin"):
        harm.Options(clean="a", marked="b", out=tmp_path, mmlu=tmp_path, margin=0)
    where = {"clean": str(tiny_lm), "marked": str(tiny_lm), "out": tmp_path / "out"}
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        harm.run(harm.Options(**where, text=(tmp_path / "none.txt",)))
    with pytest.raises(UserError, match=r"dev\.jsonl"):
        harm.run(harm.Options(**where, data=(tmp_path / "dev.jsonl",)))
    assert not (tmp_path / "out").exists()
