"""Search against brute force over the same texts, and against the page's own search in JavaScript."""

import json
import random
import shutil
import subprocess

import pytest

from vlp_atlas import Atlas, site
from vlp_atlas.search_index import Document, Index, build, fold, packed, search, words

QUERIES = [
    "infonce",
    "ONE",
    "one table",
    "vqa",
    "2021",
    "itc two",
    ".*",
    "test-dev cider",
    "Óne",
    "zzz",
    " ",
    "e",
    "a b",
]


def index_of(texts):
    """An index of records that are nothing but a text, by way of a catalogue's shape."""

    class Catalogue:
        def all(self, kind):
            return texts if kind == "papers" else []

    return build(Catalogue())


def paper(id_, title, **more):
    return {"id": id_, "title": {"value": title, "source": ["x"], "confidence": "verified"}, **more}


def test_a_query_is_words_that_each_lie_in_some_word_of_the_record():
    index = index_of(
        [paper("a", "momentum contrast"), paper("b", "contrastive captions"), paper("c", "momentum")]
    )
    assert [found.id for found in search(index, "contr")] == ["b", "a"]  # b's name begins with it
    assert [found.id for found in search(index, "MOM contrast")] == ["a"]
    assert search(index, "momentumcontrast") == []
    assert search(index, "  ") == []


def test_nothing_in_a_query_is_a_pattern():
    index = index_of([paper("a", "f(x) = a.*b [c]"), paper("b", "fx abc")])
    assert [found.id for found in search(index, "a.*b")] == ["a"]
    assert [found.id for found in search(index, "[c]")] == ["a"]
    assert search(index, "\\") == []


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("STRASSE", "Stra\u00dfe"),
        ("cafe\u0301", "Caf\u00e9"),
        ("悟道", "悟道文澜"),
        ("שלום", "אבשלום"),
        ("\u03c3", "\u039f\u0394\u039f\u03a3"),
    ],
)
def test_case_composition_and_script_do_not_matter(query, title):
    assert [found.id for found in search(index_of([paper("a", title), paper("b", "other")]), query)] == ["a"]


def test_the_name_itself_comes_before_names_that_begin_with_it_and_these_before_other_text():
    note = {"value": "x", "source": ["x"], "confidence": "verified", "note": "better than clip"}
    index = index_of(
        [paper("p", "clipper"), paper("q", "no", x=note), paper("r", "the clip"), paper("clip", "it")]
    )
    assert [found.id for found in search(index, "clip")] == ["clip", "p", "r", "q"]


def test_what_only_memory_says_is_found_only_on_request():
    fact = {"value": "sinkhorn", "source": ["memory"], "confidence": "unverified"}
    index = index_of([paper("a", "sinkhorn"), paper("b", "other", x=fact)])
    assert [found.id for found in search(index, "sinkhorn")] == ["a"]
    assert [found.id for found in search(index, "sinkhorn", unverified=True)] == ["a", "b"]


def random_queries(index, count, seed=0):
    """Pieces of words that occur, and some that do not."""
    draw = random.Random(seed)
    vocabulary = index.words.split("\n")[1:]
    for _ in range(count):
        parts = []
        for _ in range(draw.choice([1, 1, 2, 3])):
            word = draw.choice(vocabulary)
            start = draw.randrange(len(word))
            parts.append(word[start : start + draw.randint(1, 6)].upper())
        yield " ".join(parts)


def test_the_index_finds_what_looking_at_every_record_finds(small_atlas):
    index = build(small_atlas)
    held = [set() for _ in index.documents]
    for word, numbers in zip(index.words.split("\n")[1:], index.postings, strict=True):
        for code in numbers:
            held[code >> 1].add((word, code & 1))
    for query in [*QUERIES, *random_queries(index, 200)]:
        for unverified in (False, True):
            wanted = {
                number
                for number, texts in enumerate(held)
                if words(query)
                and all(any(w in t and (unverified or not u) for t, u in texts) for w in words(query))
            }
            found = search(index, query, unverified=unverified)
            assert {index.documents.index(one) for one in found} == wanted, query


def test_packing_keeps_every_posting():
    index = Index([Document("papers", "a", "A", ["a"])] * 1300, "\nx\nyy", [0, 2], [[0, 1, 40, 2599], [7]])
    unpacked = []
    for told in packed(index)["postings"].split(","):
        at = 0
        unpacked.append([at := at + int(step, 36) for step in told.split(".")])
    assert unpacked == index.postings


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("which", ["small", "shipped"])
def test_the_page_s_search_finds_the_same_in_the_same_order(which, small_atlas, tmp_path):
    index = build(small_atlas if which == "small" else Atlas.load())
    vocabulary = index.words.split("\n")[1:]
    remembered = [word for word, codes in zip(vocabulary, index.postings, strict=True) if codes[0] & 1]
    assert remembered
    queries = [*QUERIES, *random_queries(index, 50), *remembered, "STRASSE", "İ", "ΟΔΟΣ"]
    documents = [{"names": document.names} for document in index.documents]
    (tmp_path / "in.json").write_text(json.dumps([packed(index), documents, queries]), encoding="utf-8")
    script = (
        f"const Search = require({json.dumps(str(site.FILES / 'search.js'))});"
        "const [packed, documents, queries] = JSON.parse(require('fs').readFileSync('in.json'));"
        "const index = Search.open(packed, documents);"
        "const both = (q) => [Search.fold(q), Search.search(index, q, false), Search.search(index, q, true)];"
        "console.log(JSON.stringify(queries.map(both)));"
    )
    done = subprocess.run(["node", "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    places = {(document.kind, document.id): number for number, document in enumerate(index.documents)}
    for query, (folded, sure, all_) in zip(queries, json.loads(done.stdout), strict=True):
        assert folded == fold(query)
        for unverified, theirs in ((False, sure), (True, all_)):
            ours = [places[one.kind, one.id] for one in search(index, query, unverified=unverified)]
            assert ours == theirs, query
