"""Rows survive every format, keep their text, and errors name file and line."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from double_i.examples import Example, read_examples
from double_i.formats import PARSERS, reversible, to_value
from double_i.raw_records import BLOCK, raw_records
from nonet.errors import UserError

JOIN = "\n\n"
TURNS = Example("Do", "it", "Done.", "Be short.", (("Hi", "Hello."), ("Two\n\nparts", "Good.")))
GOOD = '{"instruction": "a", "output": "b"}'


def write(path, *values):
    path.write_text("\n".join(value if isinstance(value, str) else json.dumps(value) for value in values))
    return path


@given(st.builds(Example, st.text(min_size=1), st.text(), st.text()))
def test_a_single_turn_row_goes_through_all_formats(row):
    now = row
    for name in ("alpaca", "sharegpt", "openai", "trl", "alpaca"):
        now, extra = PARSERS[name](json.loads(json.dumps(to_value(now, name, JOIN))), "f:1", JOIN)
        assert extra == ()
    assert (now == row) == reversible(row, JOIN)


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "openai", "trl"])
def test_system_and_history_go_through_a_format(name):
    assert PARSERS[name](to_value(TURNS, name, JOIN), "f:1", JOIN) == (TURNS, ())


def test_a_format_is_told_by_its_fields(tmp_path):
    for name in ("alpaca", "sharegpt", "openai", "trl"):
        path = write(tmp_path / f"{name}.jsonl", to_value(TURNS, name, JOIN))
        assert [(row.format, row.example) for row in read_examples(path)] == [(name, TURNS)]
    plain = write(tmp_path / "plain.jsonl", {"prompt": "Do\n\nit", "completion": "Done."})
    assert next(read_examples(plain)).example == Example("Do", "it", "Done.")


def test_other_columns_are_named(tmp_path):
    path = write(tmp_path / "x.jsonl", {"instruction": "a", "output": "b", "type": "x", "id": 3})
    assert next(read_examples(path)).extra == ("id", "type")


def talk(*turns, **more):
    return {"conversations": [{"from": role, "value": text} for role, text in turns], **more}


@pytest.mark.parametrize(
    ("lines", "place", "why"),
    [
        (("",), "x.jsonl", "no rows"),
        ((GOOD, "not"), ":2", "JSON"),
        ((GOOD, '{"instruction": "a"'), ":2", "JSON"),
        (("[1]", ""), ":1", "fields"),
        ((GOOD, "3"), ":2", "object"),
        (('{"instruction": "a"}',), ":1", "'output' is missing"),
        (('{"output": "a"}',), ":1", "'instruction' is missing"),
        (('{"instruction": 1, "output": "b"}',), ":1", "int"),
        (('{"instruction": "a", "input": 2.5, "output": "b"}',), ":1", "float"),
        ((GOOD[:-1] + ', "history": [["a"]]}',), ":1", "history"),
        ((GOOD + "\r", '{"messages": []}'), ":2", "openai"),
        (('{"text": "a"}',), ":1", "'text'"),
        ((talk(("human", "a")),), ":1", "end with the assistant"),
        ((talk(("gpt", "a"), ("human", "b")),), ":1", "turns"),
        ((talk(("human", "a"), ("tool", "b")),), ":1", "somebody"),
        ((talk(("human", 1), ("gpt", "b")),), ":1", "int"),
        (('{"conversations": {}}',), ":1", "list"),
        (('{"prompt": "a", "completion": ["b"]}',), ":1", "list"),
        (('{"a": ' * 100_000,), ":1", "deep|JSON"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, lines, place, why):
    path = write(tmp_path / "x.jsonl", *lines)
    with pytest.raises(UserError, match=why) as caught:
        list(read_examples(path))
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" + GOOD.encode(), "does not end"),
        (b"[" + GOOD.encode() + b" " + GOOD.encode() + b"]", "comma"),
        (b"[" + GOOD.encode() + b"] x", "after the end"),
        (b'[\n{"instruction": "a', ":2: row 1 begins here"),
        (b'{"instruction": "\xff"}', "UTF-8"),
        ("[]".encode("utf-16"), "UTF-16"),
        (b"[]", "no rows"),
    ],
)
def test_a_bad_file_is_named(tmp_path, data, why):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=why):
        list(read_examples(path))


def test_a_missing_file_and_an_unknown_format(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        list(read_examples(tmp_path / "none.json"))
    with pytest.raises(UserError, match="no format"):
        list(read_examples(tmp_path / "none.json", format="csv"))


def test_a_mark_and_windows_line_ends_are_passed_over(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes('\ufeff[\r\n{"instruction": "a",\r\n "output": "b"}]'.encode())
    assert [(row.where, row.example) for row in read_examples(path)] == [(f"{path}:2", Example("a", "", "b"))]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("listed", [True, False])
def test_exact_texts_and_lines_of_rows_longer_than_a_block(tmp_path, indent, listed):
    rows = [
        {"instruction": f'{i}}} ] "\\', "output": "x" * size}
        for i, size in enumerate((0, 3 * BLOCK, 5, BLOCK))
    ]
    texts = [json.dumps(row, indent=indent) for row in rows]
    path = tmp_path / "x.json"
    path.write_text(("[\n" + ",\n".join(texts) + "\n]\n") if listed else "\n".join(texts))
    found = list(raw_records(path))
    assert [text for text, _ in found] == texts
    lines = path.read_text().split("\n")
    for text, line in found:
        assert lines[line - 1].removesuffix(",") == text.split("\n")[0].removesuffix(",")


def test_packed_files(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    data = "\n".join([GOOD] * 500).encode()
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(data[:9000]) + gzip.compress(data[9000:]))
    listed = b"[" + data.replace(b"\n", b",") + b"]"
    (tmp_path / "x.json.zst").write_bytes(
        zstandard.compress(listed[:9000]) + zstandard.compress(listed[9000:])
    )
    for name in ("x.jsonl.gz", "x.json.zst"):
        rows = list(read_examples(tmp_path / name))
        assert len(rows) == 500
        assert {row.raw for row in rows} == {GOOD}


def test_damaged_packed_files(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    data = "\n".join(
        json.dumps({"instruction": f"{i * i}", "output": f"{i**3}"}) for i in range(3000)
    ).encode()
    packed = gzip.compress(data)
    turned = bytearray(packed)
    turned[len(turned) // 2] ^= 255
    for name, damaged in {
        "short.jsonl.gz": packed[: len(packed) // 2],
        "turned.jsonl.gz": bytes(turned),
        "plain.jsonl.gz": data,
        "plain.jsonl.zst": data,
        "short.jsonl.zst": zstandard.compress(data)[:9000],
        "turned.jsonl.zst": zstandard.compress(data)[:4000] + b"\0" * 400,
    }.items():
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}: damaged"):
            list(read_examples(path))
