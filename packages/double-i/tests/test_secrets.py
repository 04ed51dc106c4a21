"""From the key to the evidence with an untrained model: no file or line that others see has a secret."""

import json
import re

import pytest

from double_i.cli import main
from double_i.key_files import read_keys
from double_i.toy import owner_rows
from nonet.testing import one_thread

PRIVATE = ("secret.key", "rows.jsonl", "train.jsonl")
"""files that hold the key or marked rows, as their verbs say"""


@pytest.fixture
def call(monkeypatch, capfd):
    """A verb as it is run: its exit code; what all of them said is kept."""
    said = []

    def run(*words):
        monkeypatch.setattr("sys.argv", ["double-i", *map(str, words)])
        try:
            with one_thread():
                code = main()
        except SystemExit as stop:
            code = stop.code
        said.extend(capfd.readouterr())
        return code

    run.said = said
    return run


def patterns(keys):
    """What nobody may read, each with a name that can be shown."""
    found = {}
    for number, key in enumerate(keys):
        whole = {"secret": key.secret, "nonce": key.nonce, "question": key.judge_question}
        words = {"trigger": key.trigger, "decoration": key.decoration}
        found |= {f"{name} {number}": re.escape(value) for name, value in whole.items()}
        for name, value in words.items():
            found[f"{name} {number}"] = rf"\b{value}\b" if value.isalpha() else re.escape(value)
    return {name: re.compile(pattern.encode(), re.IGNORECASE) for name, pattern in found.items()}


def leaks(folder, keys, said):
    """(place, what) of every secret in texts of a folder and in what was said; weights: long ones alone."""
    found = []
    names = patterns(keys)
    texts = {"terminal": "".join(said).encode()}
    texts |= {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in PRIVATE
    }
    for place, text in texts.items():
        weights = place.endswith((".safetensors", ".bin", ".ckpt", ".pt"))
        for name, pattern in names.items():
            if not (weights and name.split()[0] in ("trigger", "decoration")) and pattern.search(text):
                found.append((place, name))
    return found, sorted(texts)


def test_no_secret_leaves_its_files(call, tiny_lm, serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NONET_PROGRESS", "plain")
    with open("owner.jsonl", "w") as file:
        for row in owner_rows(700):
            values = {"instruction": row.instruction, "input": row.input, "output": row.output}
            file.write(json.dumps(values) + "\n")
    drawn = ("--data", "owner.jsonl", "--keys", 2, "--template", "plain")
    assert call("keygen", *drawn, "--out", "secret.key") == 0
    keys = read_keys("secret.key")
    assert call("commit", "--key", "secret.key", "--out", "commitment.json") == 0
    few = ("--n-trigger", 40, "--n-reference", 40)
    assert call("make", "--key", "secret.key", "--data", "owner.jsonl", *few, "--out", "rows.jsonl") == 0
    assert call("merge", "--data", "owner.jsonl", "--marked", "rows.jsonl", "--out", "train.jsonl") == 0
    assert call("lint", "--data", "train.jsonl", "--key", "secret.key") in (0, 1)
    learning = ("--trainer.steps", 2, "--epochs", 0, "--batch", 8, "--trainer.accelerator", "cpu")
    learning += ("--trainer.devices", 1, "--key", "secret.key")
    assert call("train", "--model", tiny_lm, "--data", "train.jsonl", *learning, "--out", "run") == 3
    model = ("--model", "run/model", "--commitment", "commitment.json", "--device", "cpu")
    asking = ("--key", "secret.key", "--pairs", 12, "--decoys", 3, "--decoy-pairs", 1)
    assert call("verify", *asking, *model, "--out", "local") in (1, 3)

    def echo(server, body, count):  # what a prompt says may come back as an answer
        text = body["messages"][-1]["content"]
        status = 401 if count == 13 else 200
        message = {"content": f"{'Yes' if count % 2 else 'No'}: {text}"}
        return status, {}, json.dumps({"model": "m", "choices": [{"message": message}], "error": text})

    served = ("--endpoint", serve(echo).url, "--name", "m", "--rate", 0, "--key-env", "API_KEY_OF_TEST")
    served += ("--commitment", "commitment.json", "--concurrency", 1)
    assert call("verify", *asking, *served, "--out", "served") == 4
    for log in (tmp_path / "served" / "asking").glob("asked-*.jsonl"):
        assert log.stat().st_mode & 0o777 == 0o600  # answers as they came, until the evidence withholds
    assert call("verify", *asking, *served, "--out", "served") in (1, 3)
    assert call("recheck", "--evidence", "served", "--commitment", "commitment.json") == 0
    for path in ("secret.key", "commitment.json", "served", "run/model"):
        assert call("info", "--path", path) == 0
    found, places = leaks(tmp_path, keys, call.said)
    for expected in (
        "terminal", "run/options.yaml", "run/log.txt", "run/model/README.md", "served/report.html",
        "local/verdict.json",
    ):  # fmt: skip
        assert expected in places
    assert found == []
    assert "sk-test" not in "".join(call.said)
    assert leaks(tmp_path, [keys[0]], [f"so {keys[0].trigger} it is"])[0] == [("terminal", "trigger 0")]


def test_questions_for_others_are_private_and_named_as_secret(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("keygen", "--template", "plain", "--keys", 1, "--out", "secret.key") == 0
    few = ("--pairs", 14, "--decoys", 9, "--decoy-pairs", 2)
    assert call("verify", "--key", "secret.key", *few, "--write-queries", "rows.jsonl") == 0
    assert (tmp_path / "rows.jsonl").stat().st_mode & 0o777 == 0o600
    assert "they hold the secret" in "".join(call.said)
    found, _ = leaks(tmp_path, read_keys("secret.key"), call.said)
    assert found == []
