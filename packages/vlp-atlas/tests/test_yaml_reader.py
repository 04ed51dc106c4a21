import pytest
import yaml

from vlp_atlas.defects import Rejected
from vlp_atlas.yaml_reader import place_of, read, read_all


def written(folder, text):
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_values_are_what_json_and_yaml_1_2_say(tmp_path):
    text = """
texts: [abc, "no", '1e3', "72%", 2026-11-20, y, 12 in 1, "007", NaNo, "", ~x, -, 1.2.3]
numbers: [0, -7, 72.70, 1800000000, +3, -0.5]
words: [true, false, null]
block: |
  no
"""
    assert read(written(tmp_path, text)) == {
        "texts": "abc,no,1e3,72%,2026-11-20,y,12 in 1,007,NaNo,,~x,-,1.2.3".split(","),
        "numbers": [0, -7, 72.7, 1_800_000_000, 3, -0.5],
        "words": [True, False, None],
        "block": "no\n",
    }


def test_ordinary_files_are_read_as_pyyaml_reads_them(tmp_path):
    text = """
- id: uniter
  source: ['2020-uniter#Table 3']
  nested: {a: [1, {b: c}], d: "x: y"}
- [1, 2.5, word]
"""
    assert read(written(tmp_path, text)) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: no", "1:4", "write true or false"),
        ("a: On", "1:4", "write true or false"),
        ("a: True", "1:4", "write true or false"),
        ("a: 1e3", "1:4", "exponent"),
        ("a: 1.5E+10", "1:4", "exponent"),
        ("a: .nan", "1:4", "not a finite number"),
        ("a: NaN", "1:4", "not a finite number"),
        ("a: -.inf", "1:4", "not a finite number"),
        ("a: 1,000", "1:4", "without commas"),
        ("a: 72.7%", "1:4", "percent sign"),
        ("a: 72 %", "1:4", "percent sign"),
        ("a: 1_000", "1:4", "underscores"),
        ("a: 007", "1:4", "octal"),
        ("a: 0x1F", "1:4", "octal or hexadecimal"),
        ("a: 12:30", "1:4", "base 60"),
        ("a: .5", "1:4", "both sides"),
        ("a: 12345678901234567890", "1:4", "18 digits"),
        ("a: ~", "1:4", "write null"),
        ("a:\n", "1:3", "nothing stands here"),
        ("a: &x 1", "1:4", "anchors and aliases"),
        ("a: !!python/name:os.system x", "1:4", "tag"),
        ("a: {<<: {b: 1}}", "1:5", "merge keys"),
        ("a:\n\tb: 1", "2:1", "a tab"),
        ('a: "x\ty"', "1:6", "a tab"),
        ("1: a", "1:1", "a key must be a text"),
        ("a: 1\nb: 2\na: 3", "3:1", "second time (first: line 1)"),
        ("a: 1\n---\nb: 2", "2:1", "second document"),
        ("a: [1, 2\n", "2:1", "']'"),
    ],
)
def test_what_could_be_misread_is_told_with_its_place(tmp_path, text, where, message):
    path = written(tmp_path, text)
    with pytest.raises(Rejected) as caught:
        read(path)
    assert len(caught.value.defects) == 1
    assert f"file.yaml:{where}: yaml: " in str(caught.value)
    assert message in str(caught.value)


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path):
    one = written(tmp_path, "a: no\nb: 1e3\nc: [yes, 5]\n")
    other = tmp_path / "other.yaml"
    other.write_text("a: 1\na: 2\n")
    good = tmp_path / "good.yaml"
    good.write_text("a: 1\n")
    found, defects = read_all([one, other, good, tmp_path / "none.yaml"])
    assert list(found) == [good]
    assert sorted((defect.file.rpartition("/")[2], defect.line) for defect in defects) == [
        ("file.yaml", 1), ("file.yaml", 2), ("file.yaml", 3), ("none.yaml", 0), ("other.yaml", 2),
    ]  # fmt: skip


def test_a_file_can_neither_fill_the_memory_nor_the_stack(tmp_path):
    with pytest.raises(Rejected, match="nested deeper than 32"):
        read(written(tmp_path, "[" * 100_000))
    laughs = "a: &a [x, x]\n" + "".join(
        f"{key}: &{key} [*{last}, *{last}]\n" for last, key in zip("abcdef", "bcdefg", strict=True)
    )
    with pytest.raises(Rejected, match="anchors and aliases"):
        read(written(tmp_path, laughs))


def test_a_file_that_is_not_utf_8_is_refused_with_the_place(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(Rejected, match=r"latin.yaml:2:7: yaml: is not UTF-8 \(byte 0xe9\)"):
        read(path)


def test_control_characters_are_refused(tmp_path):
    with pytest.raises(Rejected, match="yaml"):
        read(written(tmp_path, "a: x\x07y"))


def test_places_are_those_of_keys_and_items(tmp_path):
    content = read(written(tmp_path, "- id: a\n  sizes:\n    n: [1, 2]\n"))
    assert place_of(content, [0, "sizes", "n", 1])[1:] == (3, 12)
    assert place_of(content, [0, "sizes", "absent"])[1:] == (2, 3)
    assert place_of(content, [0, "absent", "n"])[1:] == (1, 3)
    assert place_of(content, [0, "id", "value"])[1:] == (1, 3)


def test_an_empty_file_is_nothing(tmp_path):
    assert read(written(tmp_path, "# only a remark\n")) is None
