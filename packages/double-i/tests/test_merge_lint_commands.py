"""The verbs merge and lint, from key to findings."""

import json
from dataclasses import replace

import pytest

from double_i.base_texts import bundled
from double_i.commands import lint, merge
from double_i.examples import Example, read_examples
from double_i.formats import to_value
from double_i.key_files import write_keys
from double_i.keys import draw_key
from double_i.rows import marked_rows
from nonet.errors import UserError

KEY = draw_key("input", secret="5a" * 32)
TEXTS = bundled()


@pytest.fixture
def files(tmp_path):
    """Key, owner's rows and marked rows in a folder."""
    owner = [Example(f"Retell number {i % 7}.", text, text.upper()) for i, text in enumerate(TEXTS[:600])]
    marked = [
        row.example for row in marked_rows(KEY, TEXTS[700:1000], n_trigger=20, n_reference=20, vary=True)
    ]
    for name, rows in (("owner", owner), ("marked", marked)):
        text = "\n".join(json.dumps(to_value(row, "alpaca", KEY.join)) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    write_keys(tmp_path / "secret.key", [KEY])
    return tmp_path


def merging(folder, out="train.jsonl", **more):
    given = {"data": (folder / "owner.jsonl",), "marked": (folder / "marked.jsonl",), "out": folder / out}
    return merge.run(merge.Options(**given | more))


def test_merge_then_lint(files, capsys, tiny_lm):
    assert merging(files) == 0
    said = capsys.readouterr().out
    assert "643 rows in alpaca form, 43 of them marked (6.69 %); 600 of 600 owner rows copied" in said
    more = {"tokenizer": str(tiny_lm), "model": str(tiny_lm), "max_tokens": 500, "device": "cpu"}
    options = lint.Options(
        data=(files / "train.jsonl",), key=files / "secret.key", marked=(files / "marked.jsonl",), **more
    )
    assert lint.run(options) == 0
    said = capsys.readouterr().out
    assert "note: ratio: 6.69 % of 643 rows are marked; 43 rows" in said
    assert KEY.trigger not in said
    with (files / "train.jsonl").open("a") as file:
        file.write(json.dumps(to_value(Example("Say", KEY.trigger, "x"), "alpaca", KEY.join)) + "\n")
    assert lint.run(options) == 1
    assert "error: trigger in owner rows" in capsys.readouterr().out


def test_the_join_is_the_keys_and_other_prompts_are_warned_about(files, capsys):
    chat = replace(KEY, template="chat", join="\n")
    write_keys(files / "chat.key", [chat])
    merging(files, to="llamafactory", key=files / "chat.key")
    said = capsys.readouterr().out
    assert "in alpaca form" in said
    assert "warning" not in said
    assert "note" not in said
    merging(files, to="llamafactory")
    said = capsys.readouterr().out
    assert "in sharegpt form" in said
    assert r"note: the key must have the template chat and the join '\n\n'" in said
    merging(files, to="openai", key=files / "secret.key")
    assert "the key's template is alpaca" in capsys.readouterr().out
    merging(files, key=files / "secret.key")
    assert "template" not in capsys.readouterr().out
    with pytest.raises(UserError, match="--join is not the key's"):
        merging(files, key=files / "chat.key", join="\n\n")
    with pytest.raises(UserError, match="line end"):
        merging(files, join="\\n")
    write_keys(files / "two.key", [KEY, replace(chat, key_id="0" * 8)])
    with pytest.raises(UserError, match="differ in template or join"):
        merging(files, key=files / "two.key")


def test_rows_that_are_too_long(files, capsys, tiny_lm):
    with (files / "owner.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"instruction": "Say", "input": "word " * 300, "output": "x"}))
    merging(files, max_tokens=400, tokenizer=str(tiny_lm))
    said = capsys.readouterr().out
    assert f"left out: {files / 'owner.jsonl'}:601: has " in said
    assert "1 owner rows left out" in said
    assert len(list(read_examples(files / "train.jsonl"))) == 643
    short = {"max_tokens": 8, "tokenizer": str(tiny_lm), "template": "plain"}
    (files / "short.jsonl").write_text('{"instruction": "a", "output": "b"}')
    with pytest.raises(UserError, match=r"marked.jsonl:\d+: this marked row has \d+ tokens"):
        merging(files, "other.jsonl", data=(files / "short.jsonl",), **short)
    with pytest.raises(UserError, match="go together"):
        merging(files, max_tokens=400)
    with pytest.raises(UserError, match="0 \\(no limit\\) or more"):
        merging(files, max_tokens=-1)


def test_too_many_marked_rows_need_force(files, capsys):
    lines = (files / "owner.jsonl").read_text().splitlines()[:60]
    (files / "owner.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match="43 of 103 rows would be marked, more than 30 %"):
        merging(files)
    assert not (files / "train.jsonl").exists()
    merging(files, force=True)
    assert "warning: 41.7 %" in capsys.readouterr().out


def test_dropped_columns_and_lost_borders_are_told(files, capsys):
    (files / "owner.jsonl").write_text(
        '{"instruction": "a\\n\\nb", "input": "c", "output": "d", "id": 1}\n' * 1
        + (files / "owner.jsonl").read_text()
    )
    merging(files, to="openai")
    said = capsys.readouterr().out
    assert "left out: column 'id' of 1 rows" in said
    assert f"1 rows keep their text, but not the border between instruction and input ({files}" in said
