"""Both recipes, against NLTK's parts and by hand; the choice of documents; the verb `prepare`."""

import json
import re
from functools import cache
from itertools import pairwise

import pytest
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import wordpunct_tokenize

from keyphrase_plm.documents import Document
from keyphrase_plm.layouts import read_documents
from keyphrase_plm.preparation import Preparation
from keyphrase_plm.raw_documents import Raw
from keyphrase_plm.subsets import Sieve, chosen, digest, place
from nonet.errors import UserError
from nonet.testing import data_folder

PORTER = PorterStemmer()


@cache
def stem(word):
    return PORTER.stem(word)


def stems(text):
    return " ".join(map(stem, text.split()))


def marked(text):
    return " ".join("[digit]" if re.match(r"^\d+$", word) else word for word in wordpunct_tokenize(text))


def as_wu_et_al(raw):
    """The steps that the original's preparation is described by, one after the other."""
    title, body = raw.title.strip().lower(), raw.body.strip().lower()
    phrases = [phrase.lower().strip() for phrase in raw.phrases]
    there = [stems(phrase) in stems(title + " " + body) for phrase in phrases]
    sides = [
        [marked(p) for p, is_in in zip(phrases, there, strict=True) if p and is_in == wanted]
        for wanted in (1, 0)
    ]
    return marked(title), marked(body), *sides


def test_the_recipe_deepkpg_does_the_steps_of_the_original_on_real_papers():
    prepare = Preparation("deepkpg")
    reader = read_documents(data_folder("papers", "keyphrases.jsonl"), limit=100)
    differing = 0
    for raw in reader.raw():
        if not (raw.title + raw.body + "".join(raw.phrases)).isascii():
            continue  # NLTK's regular expressions are others since 3.10: a superscript is no letter any more
        document = prepare(raw).document
        title, body, present, absent = as_wu_et_al(raw)
        assert (document.title, document.body) == (title, body)
        assert (list(document.present), list(document.absent)) == (present, absent)
        differing += Preparation()(raw).document.present != document.present
    assert differing > 10, "the recipes give different splits"


def test_by_hand_what_the_recipes_make_of_one_document():
    raw = Raw(
        "1", "Fast scans", "We START a 3-D scan, in 2022.", ("3-d scans", "Art", "scan,", "art", "slow")
    )
    ours, theirs = (Preparation(recipe)(raw).document for recipe in ("ours", "deepkpg"))
    assert ours[1:5] == (
        "Fast scans", "We START a 3 - D scan , in 2022 .", ("3 - d scans", "scan ,"), ("Art", "slow"),
    )  # fmt: skip
    assert theirs[1:5] == (
        "fast scans", "we start a [digit] - d scan , in [digit] .",
        ("[digit] - d scans", "art", "scan ,", "art"), ("slow",),
    )  # fmt: skip
    assert Preparation()(raw).counts["phrases that come twice (left out)"] == 1
    assert Preparation(digits="mark")(raw).document.present[0] == "[digit] - d scans"
    assert Preparation(words="spaces")(raw).document.absent == ("3-d scans", "Art", "slow")


def test_phrases_of_files_that_are_split_are_lower_cased_with_their_text():
    raw = Raw("1", "", "Cheap Shoes here", present=("Cheap Shoes",), absent=("Old Hats",), split=True)
    assert Preparation("deepkpg")(raw).document[2:5] == ("cheap shoes here", ("cheap shoes",), ("old hats",))


def test_files_that_are_split_keep_it_in_deepkpg_and_are_split_anew_in_ours():
    raw = Raw(
        "1", "", "a <digit> net .", present=("start",), absent=("nets", "<digit>"), split=True, tokenised=True
    )
    assert Preparation("deepkpg")(raw).document[2:5] == ("a [digit] net .", ("start",), ("nets", "[digit]"))
    prepared = Preparation()(raw)
    assert prepared.document[2:5] == ("a [digit] net .", ("nets", "[digit]"), ("start",))
    assert prepared.counts["phrases that the file had on the other side"] == 3


def test_a_text_without_spaces_is_split_into_characters():
    raw = Raw("1", "", "知识图谱的构建 and nets", ("知识图谱", "图像"))
    document = Preparation(words="characters", stemmer="none")(raw).document
    assert document.body == "知 识 图 谱 的 构 建 and nets"
    assert (document.present, document.absent) == (("知 识 图 谱",), ("图 像",))
    assert (
        Preparation()(raw._replace(body="知识图谱")).counts["documents with mostly letters beyond English"]
        == 1
    )


def test_a_semicolon_inside_a_phrase_is_refused_with_its_place_unless_escaped():
    raw = Raw("1", "", "the (0;1)-matrices", ("(0;1)-matrices",), where="a.jsonl:4")
    with pytest.raises(UserError, match=r"a\.jsonl:4: the phrase '\(0;1\)-matrices' holds ';'.*--escape"):
        Preparation()(raw)
    assert Preparation(escape=True)(raw).document.present == ("( 0 ; 1 )- matrices",)
    with pytest.raises(UserError, match=r"a\.jsonl:4: .*holds \[semi\]"):
        Preparation(escape=True)(raw._replace(phrases=("a [semi] b",)))


def test_smaller_subsets_are_parts_of_larger_ones_and_do_not_depend_on_order():
    ids = [f"doc-{k}" for k in range(200)]
    places = [place(key, 1) for key in ids]
    sets = [{ids[k] for k in chosen(places, size)} for size in (1, 10, 50, 200)]
    assert [len(found) for found in sets] == [1, 10, 50, 200]
    assert all(small < large for small, large in pairwise(sets))
    turned = ids[::-1]
    assert {turned[k] for k in chosen([place(key, 1) for key in turned], 50)} == sets[2]
    assert {ids[k] for k in chosen([place(key, 2) for key in ids], 50)} != sets[2]


def test_documents_are_the_same_up_to_case_signs_and_numbers():
    first, second = Document("1", "Deep Nets", "in 2022, we"), Document("2", "deep nets", "In <digit> we !")
    assert digest(first) == digest(second) != digest(Document("3", "deep nets", "we"))
    sieve = Sieve([first], duplicates=True)
    other = Document("4", "other", "text")
    empty = Document("5", "", "")
    assert [sieve.reason(d) for d in (second, other, other, empty, empty)] == [
        "in a test file", "", "came before", "", "",
    ]  # fmt: skip


def prepare(folder, **options):
    from keyphrase_plm.commands.prepare import Options, run

    paths = {name: (folder / options.pop(name),) for name in ("input", "exclude") if name in options}
    return run(Options(**paths, out=folder / options.pop("out"), **options))


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")


ROW = {"title": "T", "abstract": "deep nets learn", "keywords": ["deep net", "robots"]}


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def raw_file(tmp_path):
    rows = [ROW | {"id": f"r{k}", "title": f"Title {'abcdefghij'[k]}"} for k in range(10)]
    rows.append(rows[2] | {"id": "again"})
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps(rows[0]) + "\n")
    return rows


def test_prepare_writes_canonical_lines_counts_them_and_is_nested(tmp_path, raw_file, capsys):
    common = {"input": "raw.jsonl", "dedup": True, "exclude": "test.jsonl"}
    assert prepare(tmp_path, **common, out="all.jsonl") == 0
    said = capsys.readouterr().out
    assert "all.jsonl: 9 documents, 18 phrases (2.00 a document, 50.0 % absent)" in said
    assert "documents left out: came before: 1" in said
    assert "documents left out: in a test file: 1" in said
    rows = rows_of(tmp_path / "all.jsonl")
    assert rows[0] == {
        "id": "r1", "title": "Title b", "body": "deep nets learn",
        "present": ["deep net"], "absent": ["robots"],
    }  # fmt: skip
    prepare(tmp_path, **common, out="3.jsonl", train_size=3)
    assert "not in the subset: 6" in capsys.readouterr().out
    prepare(tmp_path, **common, out="6.jsonl", train_fraction=2 / 3)
    small, large = ([row["id"] for row in rows_of(tmp_path / f"{size}.jsonl")] for size in (3, 6))
    assert (len(small), len(large)) == (3, 6)
    assert set(small) < set(large) < {row["id"] for row in rows}
    assert large == sorted(large), "the order of the input stays"
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.slow
def test_workers_do_not_change_what_prepare_writes(tmp_path, raw_file):
    for workers in (0, 1):
        prepare(tmp_path, input="raw.jsonl", out=f"{workers}.jsonl", workers=workers)
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()


def test_prepare_leaves_nothing_behind_after_a_mistake(tmp_path, raw_file):
    (tmp_path / "bad.jsonl").write_text(
        json.dumps(ROW) + "\n" + json.dumps(ROW | {"keywords": ["a;b"]}) + "\n"
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"bad\.jsonl:2: the phrase 'a;b' holds ';'"):
        prepare(tmp_path, input="bad.jsonl", out="out.jsonl")
    with pytest.raises(UserError, match="train_size is 50, but there are 11 documents"):
        prepare(tmp_path, input="raw.jsonl", out="out.jsonl", train_size=50)
    with pytest.raises(UserError, match=r"raw\.jsonl exists; give another name, or --overwrite"):
        prepare(tmp_path, input="bad.jsonl", out="raw.jsonl")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 3, "train_fraction": 0.5}, "give one"),
        ({"train_size": 0}, "train_size is 0; it is 1 or more"),
        ({"train_fraction": 1.5}, "train_fraction is 1.5; it is above 0"),
        ({"workers": -1}, "workers is -1"),
        ({"recipe": "deepkpg", "tokenizer": "spaces"}, "recipe deepkpg sets words and signs apart"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, message):
    from keyphrase_plm.commands.prepare import Options

    with pytest.raises(UserError, match=message):
        Options(input=(tmp_path,), out=tmp_path / "x", **options)
