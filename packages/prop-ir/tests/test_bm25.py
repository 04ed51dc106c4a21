"""The embedded index: by hand, against brute force and bm25s, files, ties and errors."""

import json
import math
import pickle
import random
from collections import Counter

import bm25s
import numpy as np
import pytest

from nonet.errors import UserError
from prop_ir.analysis import Analyser
from prop_ir.bm25 import Bm25Index
from prop_ir.bm25_files import ROWS, TERMS, WEIGHTS
from prop_ir.documents import Document
from prop_ir.first_stage import open_index
from prop_ir.weighting import VARIANTS

PLAIN = Analyser(words="plain", stemmer="none", stop_words=("the",))
WORDS = [f"w{i}" for i in range(40)]


def documents(*texts):
    return [Document(str(number), text, f"line {number}") for number, text in enumerate(texts, 1)]


def some_text(rng, longest):
    return " ".join(rng.choices(WORDS, [1 / (i + 1) for i in range(40)], k=rng.randint(0, longest)))


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(3)
    return [Document(f"d{n * 7 % 300}", some_text(rng, 60), "") for n in range(300)]


@pytest.fixture(scope="module")
def queries():
    rng = random.Random(4)
    return {f"q{n}": some_text(rng, 6) for n in range(40)} | {"none": "", "twice": "w3 w3 w9"}


def brute_force(collection, queries, hits, variant="lucene", k1=0.9, b=0.4, delta=0.5):
    """BM25 with loops over documents, as its formulas are written."""
    counts = {d.id: Counter(d.text.split()) for d in collection if d.text.split()}
    lengths = {name: sum(words.values()) for name, words in counts.items()}
    N, mean = len(counts), sum(lengths.values()) / len(counts)
    df = Counter(word for words in counts.values() for word in words)
    idfs = {
        "lucene": lambda n: math.log(1 + (N - n + 0.5) / (n + 0.5)),
        "robertson": lambda n: max(0.0, math.log((N - n + 0.5) / (n + 0.5))),
        "atire": lambda n: math.log(N / n),
        "bm25l": lambda n: math.log((N + 1) / (n + 0.5)),
        "bm25+": lambda n: math.log((N + 1) / n),
    }

    def part(tf, norm):
        if variant in ("lucene", "robertson"):
            return tf / (tf + k1 * norm)
        if variant == "bm25l":
            return (k1 + 1) * (tf / norm + delta) / (k1 + tf / norm + delta)
        return (k1 + 1) * tf / (tf + k1 * norm) + (delta if variant == "bm25+" else 0)

    run = {}
    for query, text in queries.items():
        scores = {}
        for name, words in counts.items():
            norm = 1 - b + b * lengths[name] / mean
            asked = [word for word in text.split() if word in df]
            gain = sum(idfs[variant](df[word]) for word in asked if words[word])
            if gain > 0:
                scores[name] = sum(idfs[variant](df[word]) * part(words[word], norm) for word in asked)
        run[query] = dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:hits])
    return run


def test_scores_are_those_of_a_hand_computation(tmp_path):
    index = Bm25Index.build(
        documents("red red blue", "blue green", "the"), tmp_path / "index", analyser=PLAIN, lengths="exact"
    )
    # Two documents have words; mean length 2.5; red is in one of them, blue in both.
    red, blue = math.log(1 + 1.5 / 1.5), math.log(1 + 0.5 / 2.5)
    n1, n2 = 0.6 + 0.4 * 3 / 2.5, 0.6 + 0.4 * 2 / 2.5
    one = red * 2 / (2 + 0.9 * n1) + blue * 1 / (1 + 0.9 * n1)
    two = blue * 1 / (1 + 0.9 * n2)
    found = index.search({"q": "Blue, red!", "r": "red"})
    assert found["q"] == pytest.approx({"1": one, "2": two}, rel=1e-6)
    assert list(found["q"]) == ["1", "2"]
    assert found["r"] == pytest.approx({"1": red * 2 / (2 + 0.9 * n1)}, rel=1e-6)
    counts = {"documents": 2, "left_out": 1, "terms": 3, "postings": 4, "mean_length": 2.5}
    assert index.meta["counts"] == counts
    assert (tmp_path / "index" / "left_out.txt").read_text() == "3\n"


@pytest.mark.parametrize("variant", VARIANTS)
def test_searches_find_what_brute_force_finds(texts, queries, variant, tmp_path):
    settings = {"variant": variant, "k1": 1.3, "b": 0.6, "delta": 0.7}
    index = Bm25Index.build(texts, tmp_path / "index", analyser=PLAIN, lengths="exact", **settings)
    found, expected = index.search(queries, 25), brute_force(texts, queries, 25, **settings)
    assert found.keys() == expected.keys()
    for query, scores in expected.items():
        assert found[query] == pytest.approx(scores, rel=1e-5), query
        assert list(found[query]) == list(scores), query
    assert found["none"] == {}
    assert max(map(len, found.values())) == 25


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_those_of_bm25s_which_opens_the_folder(texts, queries, variant, tmp_path):
    with_words = [document for document in texts if document.text]
    tokens = [document.text.split() for document in with_words]
    peer = bm25s.BM25(method=variant, k1=0.9, b=0.4)
    peer.index(tokens, show_progress=False)
    index = Bm25Index.build(texts, tmp_path / "i", analyser=PLAIN, variant=variant, lengths="exact")
    opened = bm25s.BM25.load(tmp_path / "i", mmap=True)
    for query in filter(None, (text.split() for text in queries.values())):
        expected = peer.get_scores(query)
        assert opened.get_scores(query) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        hits = index.top(query, 1000)
        assert hits.scores == pytest.approx(expected[hits.rows], rel=1e-5)


def test_batches_workers_and_repetition_change_no_byte(texts, queries, tmp_path):
    whole = Bm25Index.build(texts, tmp_path / "whole", analyser=PLAIN)
    pieces = Bm25Index.build(texts, tmp_path / "pieces", analyser=PLAIN, in_memory=100)
    assert whole.meta == pieces.meta
    for name in whole.meta["files"]:
        assert (whole.folder / name).read_bytes() == (pieces.folder / name).read_bytes(), name
    run = whole.search(queries, 10)
    again = pieces.search(queries, 10, workers=1)
    assert [list(found.items()) for found in run.values()] == [
        list(found.items()) for found in again.values()
    ]


def test_what_is_remembered_of_words_does_not_matter(texts, monkeypatch, tmp_path):
    monkeypatch.setattr("prop_ir.postings.REMEMBERED", 5)
    forgetful = Bm25Index.build(texts, tmp_path / "a", analyser=PLAIN, in_memory=100)
    monkeypatch.undo()
    assert forgetful.meta == Bm25Index.build(texts, tmp_path / "b", analyser=PLAIN).meta


def test_equal_scores_are_in_the_order_of_ids_as_texts(tmp_path):
    names = ["9", "10", "b", "\u00e9", "2", "a"]
    rows = [Document(name, "red", "") for name in names] + [Document("0", "red red", "")]
    index = Bm25Index.build(rows, tmp_path / "index", analyser=PLAIN, b=0.0)
    assert list(index.search({"q": "red"})["q"]) == ["0", "10", "2", "9", "a", "b", "\u00e9"]
    assert list(index.search({"q": "red"}, 4)["q"]) == ["0", "10", "2", "9"]


def test_only_documents_with_a_term_that_tells_something_are_found(tmp_path):
    rows = documents("red blue", "red green", "red", "yellow")
    assert Bm25Index.build(rows, tmp_path / "a", analyser=PLAIN, variant="robertson").search(
        {"common": "red", "unknown": "violet", "stop": "the the", "marks": "?!"}
    ) == {"common": {}, "unknown": {}, "stop": {}, "marks": {}}
    plus = Bm25Index.build(rows, tmp_path / "b", analyser=PLAIN, variant="bm25+")
    assert list(plus.search({"q": "yellow"})["q"]) == ["4"]  # the others would have a score, too


def test_more_hits_than_documents_are_no_mistake(tmp_path):
    index = Bm25Index.build(documents("red", "blue red"), tmp_path / "index", analyser=PLAIN)
    assert len(index.search({"q": "red"}, 1000)["q"]) == 2
    with pytest.raises(UserError, match="hits is 0; it is 1 or more"):
        index.search({"q": "red"}, 0)


def test_a_loaded_index_is_the_same_one(texts, queries, tmp_path):
    analyser = Analyser(words="plain", stemmer="english", stop_words=("w0",))
    built = Bm25Index.build(texts, tmp_path / "index", analyser=analyser, k1=1.5)
    for index in (
        Bm25Index.load(tmp_path / "index", verify=True),
        pickle.loads(pickle.dumps(built)),
        open_index(tmp_path / "index"),
    ):
        assert index.search(queries, 9) == built.search(queries, 9)
        assert index.meta["k1"] == 1.5
        assert len(index) == len(built)
        assert index.search({"q": "w0"}) == {"q": {}}


def test_an_index_gives_way_only_when_told_to(tmp_path):
    Bm25Index.build(documents("red"), tmp_path / "index")
    with pytest.raises(UserError, match=r"is an index already; name another one, or .* --overwrite"):
        Bm25Index.build(documents("blue"), tmp_path / "index")
    assert len(Bm25Index.load(tmp_path / "index").search({"q": "red"})["q"]) == 1
    Bm25Index.build(documents("blue"), tmp_path / "index", overwrite=True)
    assert Bm25Index.load(tmp_path / "index").search({"q": "red"})["q"] == {}
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="mine exists and is no index; name another folder"):
        Bm25Index.build(documents("blue"), tmp_path / "mine", overwrite=True)


@pytest.mark.parametrize(
    ("collection", "text"),
    [
        ([], "the collection has no documents"),
        (documents("the", " ", "?"), "none of 3 documents has a term to index"),
        ([*documents("red", "blue"), Document("1", "green", "")], "id '1' occurs twice .documents 1 and 3"),
        (iter([*documents("red"), None]), None),
    ],
)
def test_a_build_that_fails_leaves_nothing(collection, text, tmp_path):
    with pytest.raises(UserError if text else AttributeError, match=text):
        Bm25Index.build(collection, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path):
    index = Bm25Index.build(documents("red", "blue"), tmp_path / "index")
    meta = json.loads((index.folder / "meta.json").read_text())

    def change(**values):
        (index.folder / "meta.json").write_text(json.dumps(meta | values))

    change(format=99)
    with pytest.raises(UserError, match="has format 99 and this version reads 1; index again"):
        Bm25Index.load(index.folder)
    change(engine="lucene")
    with pytest.raises(UserError, match="is an index of the engine lucene, not of embedded"):
        Bm25Index.load(index.folder)
    change()
    good = (index.folder / WEIGHTS).read_bytes()
    (index.folder / WEIGHTS).write_bytes(good[:-1] + b"x")
    Bm25Index.load(index.folder)
    with pytest.raises(UserError, match=f"{WEIGHTS} has changed since it was written"):
        Bm25Index.load(index.folder, verify=True)
    (index.folder / WEIGHTS).write_bytes(good[:-1])
    with pytest.raises(UserError, match=f"{WEIGHTS} is missing or incomplete"):
        Bm25Index.load(index.folder)
    (index.folder / WEIGHTS).write_bytes(good)
    (index.folder / TERMS).write_text((index.folder / TERMS).read_text()[:-1] + "!")
    with pytest.raises(UserError, match=f"{TERMS} is damaged"):
        Bm25Index.load(index.folder).search({"q": "red"})
    with pytest.raises(UserError, match=r"no index .*absent; make one with prop-ir index"):
        Bm25Index.load(tmp_path / "absent")
    with pytest.raises(UserError, match="is no index; make one"):
        Bm25Index.load(tmp_path)


def test_pickles_inside_an_index_are_not_opened(tmp_path):
    index = Bm25Index.build(documents("red", "blue"), tmp_path / "index")
    np.save(index.folder / ROWS, np.array([print], object), allow_pickle=True)
    meta = json.loads((index.folder / "meta.json").read_text())
    meta["files"][ROWS]["bytes"] = (index.folder / ROWS).stat().st_size
    (index.folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=f"{ROWS} is damaged"):
        Bm25Index.load(index.folder).search({"q": "red"})
