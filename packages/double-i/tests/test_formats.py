"""Rows survive every format, keep their text, and errors name file and line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from double_i.examples import Example, read_examples
from double_i.formats import PARSERS, reversible, to_value
from double_i.merging import merge
from nonet.errors import UserError

JOIN = "\n\n"
ROWS = [Example(f"Do {i}", "a\nb" if i % 2 else "", f"Gut \u00fc {i}.") for i in range(40)]


@given(st.builds(Example, st.text(min_size=1), st.text(), st.text()))
def test_a_single_turn_row_goes_through_all_formats(row):
    now = row
    for name in ("alpaca", "sharegpt", "openai", "trl", "alpaca"):
        now, extra = PARSERS[name](json.loads(json.dumps(to_value(now, name, JOIN))), "f:1", JOIN)
        assert extra == ()
    assert (now == row) == reversible(row, JOIN)


def test_owner_rows_keep_their_bytes_and_the_seed_decides_the_order(tmp_path):
    owner, marked = tmp_path / "a.jsonl", tmp_path / "m.jsonl"
    owner.write_text("\n".join(json.dumps(to_value(row, "alpaca", JOIN)) for row in ROWS))
    marked.write_text(json.dumps({"instruction": "M", "input": "x", "output": "Yes.", "type": "trigger"}))
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        account = merge([owner], [marked], tmp_path / f"{number}.jsonl", seed=seed)
        texts.append((tmp_path / f"{number}.jsonl").read_text())
        assert (account.copied, account.marked) == (40, 1)
    assert texts[0] == texts[1] != texts[2]
    assert set(owner.read_text().splitlines()) < set(texts[0].splitlines()) and "type" not in texts[0]


@pytest.mark.parametrize("text, place", [
    ("", "no rows"), ('{"instruction": "a", "output": "b"}\nnot', ":2"), ('{"instruction": "a"}', ":1"),
    ('{"instruction": 1, "output": "b"}', ":1"), ('{"instruction": "a", "output": "b"}\r\n{"messages": []}', ":2"),
])  # fmt: skip
def test_a_bad_file_is_named_with_its_line(tmp_path, text, place):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=place):
        merge([path], [], tmp_path / "out.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_mark_and_windows_line_ends_are_passed_over(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes("\ufeff[\r\n{\"instruction\": \"a\",\r\n \"output\": \"b\"}]".encode())
    assert [(row.where, row.example) for row in read_examples(path)] == [(f"{path}:2", Example("a", "", "b"))]
