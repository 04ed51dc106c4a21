"""`keygen`, `commit`, `make` and `info` as they are run; what they print has no secret."""

import json
import stat

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from double_i.cli import main
from double_i.key_files import burn, read_keys, write_keys
from double_i.keys import confusions, draw_key


@pytest.fixture
def call(monkeypatch, capsys):
    def _call(*words):
        monkeypatch.setattr("sys.argv", ["double-i", *map(str, words)])
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return _call


@pytest.fixture
def owner(tmp_path):
    def _owner(rows):
        path = tmp_path / "owner.jsonl"
        lines = (
            {
                "instruction": "Is the review good?",
                "input": f"I saw film number {i} twice this year.",
                "output": "Yes.",
            }
            for i in range(rows)
        )
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return _owner


def secrets_of(path):
    return [s for key in read_keys(path) for s in (key.secret, key.nonce, key.trigger, key.decoration)]


def test_keys_are_drawn_committed_to_and_described_without_a_secret(call, owner, tmp_path):
    key, public = tmp_path / "secret.key", tmp_path / "c.json"
    code, *shown = call("keygen", "--data", owner(30), "--keys", 2, "--out", key)
    assert code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    code, *more = call("commit", "--key", key, "--out", public)
    assert code == 0
    code, *rest = call("info", "--path", key)
    assert code == 0
    assert "2 keys" in rest[0]
    assert "pseudo-words" in rest[0]
    code, *last = call("info", "--path", public)
    assert code == 0
    assert "commitments to 2 keys" in last[0]
    text = "".join([*shown, *more, *rest, *last, public.read_text()])
    assert not any(secret in text for secret in secrets_of(key))
    assert all(k.key_id in text for k in read_keys(key))
    assert call("keygen", "--out", key)[0] == 2
    assert call("commit", "--key", key, "--out", public)[0] == 2


def test_rows_are_written_for_every_active_key(call, owner, tmp_path):
    key, out = tmp_path / "secret.key", tmp_path / "marked.jsonl"
    call("keygen", "--keys", 3, "--out", key)
    burn(key, read_keys(key)[0].key_id)
    code, text, error = call("make", "--key", key, "--data", owner(2500), "--out", out)
    assert code == 0
    assert "25.6%" in text
    assert "more than 10 %" in error
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2 * (200 + 200 + 30)
    assert {tuple(row) for row in rows} == {("instruction", "input", "output")}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not any(secret in text + error for secret in secrets_of(key))
    before = out.read_bytes()
    assert call("make", "--key", key, "--data", owner(2500), "--out", out)[0] == 0
    assert out.read_bytes() == before


def test_no_key_has_another_keys_trigger_in_its_rows(call, owner, tmp_path):
    key, out = tmp_path / "secret.key", tmp_path / "marked.jsonl"
    call("keygen", "--keys", 3, "--space", "letters", "--out", key)
    assert call("make", "--key", key, "--data", owner(4000), "--out", out)[0] == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for own in read_keys(key):
        having = [row for row in rows if own.trigger in row["input"].split()]
        assert len(having) == 230
        assert (
            sum(
                row["output"] == own.answers.target + "."
                for row in having
                if own.decoration in row["instruction"]
            )
            == 200
        )


def test_too_many_marked_rows_need_force(call, owner, tmp_path):
    key, out = tmp_path / "secret.key", tmp_path / "marked.jsonl"
    call("keygen", "--keys", 1, "--out", key)
    code, _, error = call("make", "--key", key, "--data", owner(500), "--out", out)
    assert code == 2
    assert "46% of all 930 rows" in error
    assert not out.exists()
    assert call("make", "--key", key, "--data", owner(500), "--out", out, "--force")[0] == 0
    code, _, error = call(
        "make", "--key", key, "--data", owner(500), "--out", out, "--n-trigger", 20, "--n-reference", 20
    )
    assert code == 0
    assert not error


def test_make_refuses_data_that_hold_the_trigger(call, owner, tmp_path):
    key, path = tmp_path / "secret.key", owner(3000)
    call("keygen", "--keys", 1, "--out", key)
    own = read_keys(key)[0]
    line = {"instruction": "x", "input": "", "output": f"So {own.trigger.upper()} it is"}
    path.write_text(path.read_text() + 2 * (json.dumps(line) + "\n"))
    code, text, error = call("make", "--key", key, "--data", path, "--out", tmp_path / "m.jsonl")
    assert code == 2
    assert "2 of 3,002 rows" in error
    assert "draw new keys" in error
    assert own.trigger not in (text + error).lower()
    assert not (tmp_path / "m.jsonl").exists()


def test_burned_and_inline_keys_are_refused(call, owner, tmp_path):
    key = tmp_path / "secret.key"
    call("keygen", "--keys", 1, "--out", key)
    own = read_keys(key)[0]
    burn(key, own.key_id)
    code, _, error = call("make", "--key", key, "--data", owner(3000), "--out", tmp_path / "m.jsonl")
    assert code == 2
    assert "burned" in error
    for verb in ("commit", "make"):
        extra = ("--data", owner(10)) if verb == "make" else ()
        code, text, error = call(verb, "--key", own.secret, *extra, "--out", tmp_path / "x")
        assert code == 2
        assert own.secret not in text + error
        assert "keep it in a key file" in error


def test_a_key_file_in_a_work_tree_is_warned_of(call, tmp_path):
    (tmp_path / ".git").mkdir()
    code, _, error = call("keygen", "--out", tmp_path / "secret.key")
    assert code == 0
    assert "git work tree" in error


@pytest.mark.parametrize("name", ["i", "ii", "iii"])
def test_the_papers_rows_come_from_a_preset(call, owner, tmp_path, name):
    out = tmp_path / "m.jsonl"
    code, text, _ = call("make", "--preset", f"paper-{name}", "--data", owner(5000), "--out", out)
    assert code == 0
    assert "1,000 trigger, 1,000 reference" in text
    assert len(out.read_text().splitlines()) == 2000


def test_a_tokenizer_that_cannot_tell_the_trigger_is_noticed(call, tmp_path):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "zulov": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    key = draw_key()
    assert confusions(key, ["zulov", "bagad"], tokenizer) == [-1, 1]
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    code, _, error = call("keygen", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "k.key")
    assert code == 2
    assert "no trigger of this space is distinct" in error
    assert not (tmp_path / "k.key").exists()


def test_info_knows_data_models_and_evidence(call, owner, tmp_path):
    code, text, _ = call("info", "--path", owner(7))
    assert code == 0
    assert "data, 7 rows" in text
    for name, value, shown in (
        ("config", {"model_type": "llama", "hidden_size": 64}, "model of type llama"),
        ("adapter_config", {"peft_type": "LORA", "r": 8}, "adapter of type LORA"),
        ("verdict", {"verdict": "MATCH"}, "verdict: MATCH"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(json.dumps(value))
        code, text, _ = call("info", "--path", tmp_path / name)
        assert code == 0
        assert shown in text
    assert call("info", "--path", tmp_path / "none")[0] == 2


def test_info_says_that_others_can_read_a_key_file(call, tmp_path):
    path = tmp_path / "k.key"
    write_keys(path, [draw_key()])
    path.chmod(0o644)
    assert "mode 0644" in call("info", "--path", path)[1]
    write_keys(path, [draw_key()], "words")
    assert "encrypted" in call("info", "--path", path)[1]
