"""Comparisons of two rankings: by hand, against BM25 of the index and a re-ranker that is known; the page."""

import math
import re

import pytest

from nonet.cli import main
from nonet.testing import replaced
from prop_ir import toy
from prop_ir.analysis import Analyser
from prop_ir.bm25 import Bm25Index
from prop_ir.cli import VERBS
from prop_ir.comparison import Change, Move, Statistics, changes, explain, gather, lexical, occlusions, spans
from prop_ir.comparison_page import Sheet, page
from prop_ir.documents import Document
from prop_ir.runs import write_run

DOCUMENTS = [
    Document("d1", "The ship's crew saw ships, and SHIPS.", "a:1"),
    Document("d2", "A harbour without a single boat.", "a:2"),
    Document("d3", "Ship and harbour: a ship in the harbour!", "a:3"),
    Document("d4", "of the", "a:4"),
]


def test_moves_by_hand():
    change = Change("q", "text", ["a", "b", "c", "d"], ["c", "a", "e", "b"])
    assert change.moves(2) == [("c", 3, 1), ("a", 1, 2), ("b", 2, 4)]
    assert Move("a", 1, 3).shift == pytest.approx(1 / 2 - 1)
    assert (Move("a", 1, 3).ranks, Move("a", 5, 3).ranks) == (-2, 2)
    assert (Move("a", None, 3).ranks, Move("a", 3, None).ranks) == (math.inf, -math.inf)
    assert Move("a", None, 3).shift == 1 / 2
    log3, log5 = math.log2(3), math.log2(5)
    assert change.size(2) == pytest.approx((1 - 1 / 2) + (1 - 1 / log3) + (1 / log3 - 1 / log5))
    assert [move.document for move in change.moved(2, 2)] == ["c", "b"]
    assert [move.document for move in change.moved(4, 1)] == ["c", "e", "d", "a", "b"]


def test_the_queries_that_changed_most_are_chosen():
    names = [f"d{n}" for n in range(9)]
    runs = {
        "same": (names, names),
        "low": (names, [*names[:7], "d8", "d7"]),
        "top": (names, ["d1", "d0", *names[2:]]),
        "all": (names, names[::-1]),
        "no text": (names, names[::-1]),
        "only before": (names, []),
    }
    before = {query: dict.fromkeys(sides[0], 0.0) for query, sides in runs.items()}
    after = {query: dict.fromkeys(sides[1], 0.0) for query, sides in runs.items() if sides[1]}
    topics = {query: query for query in runs if query != "no text"}
    found = changes(before, after, topics, depth=9, most=3)
    assert [change.query for change in found] == ["all", "top", "low"]
    assert [change.query for change in changes(before, after, topics, depth=5, most=9)][-1] == "low"
    named = changes(before, after, topics, depth=9, most=1, queries=("same", "only before"))
    assert [change.query for change in named] == ["same", "only before"]
    assert named[1].after == []


def test_words_have_their_places_and_terms():
    text = "The ship's crew, SHIPS (x) \u0130zmir."
    found = spans(text, Analyser())
    assert [(text[start:end], term) for start, end, term in found] == [
        ("The", ""), ("ship", "ship"), ("crew", "crew"), ("SHIPS", "ship"), ("x", "x")
    ]  # fmt: skip


@pytest.mark.parametrize("analyser", [Analyser(), Analyser(words="plain", stemmer="none", stop_words=())])
def test_terms_of_words_are_those_of_the_analyser(analyser):
    for document in [*DOCUMENTS, *toy.collection(20, 5).documents]:
        terms = [term for _, _, term in spans(document.text, analyser) if term]
        assert terms == analyser.terms(document.text)


def test_statistics_and_texts_in_one_pass():
    analyser = Analyser()
    statistics, texts = gather(DOCUMENTS, ["ship", "harbour", "absent"], ["d3", "d9"], analyser)
    assert statistics == Statistics(4, sum(len(analyser.terms(d.text)) for d in DOCUMENTS), statistics.df)
    assert statistics.df == {"ship": 2, "harbour": 2}
    assert texts == {"d3": DOCUMENTS[2].text}
    assert statistics.idf("ship") == pytest.approx(math.log(1 + 2.5 / 2.5))
    assert statistics.idf("absent") == pytest.approx(math.log(1 + 4.5 / 0.5))


def test_lexical_parts_add_up_to_the_index_s_bm25(tmp_path):
    """The index is another implementation; it leaves documents without a word out, as there are none here."""
    collection = toy.collection(60, 8)
    documents = [Document(*note) for note in collection.documents]
    index = Bm25Index.build(documents, tmp_path / "index", lengths="exact")
    analyser = Analyser()
    terms = {term for text in collection.topics.values() for term in analyser.terms(text)}
    statistics, texts = gather(documents, terms, [d.id for d in documents], analyser)
    run = index.search(collection.topics, hits=60)
    for query, text in collection.topics.items():
        for document, score in run[query].items():
            parts = lexical(text, texts[document], statistics, analyser)
            assert sum(parts.values()) == pytest.approx(score, abs=1e-5)
            assert list(parts) == list(dict.fromkeys(analyser.terms(text)))


def test_lexical_parts_by_hand():
    statistics = Statistics(10, 100, {"ship": 2, "sea": 5})
    norm = 0.9 * (1 - 0.4 + 0.4 * 3 / 10)
    found = lexical("sea ship sea", "Ship, ship: boats", statistics, Analyser())
    assert found == pytest.approx({"sea": 0, "ship": math.log(1 + 8.5 / 2.5) * 2 / (2 + norm)})
    assert lexical("sea", "", Statistics(0, 0, {"sea": 0}), Analyser()) == {"sea": 0}


def known_score(query, documents):
    """3 for each `ship`, -2 if there is `boat`, 0.5 for each mask; case matters not."""
    found = []
    for text in documents:
        words = re.findall(r"[\w\[\]]+", text.lower())
        found.append(3.0 * words.count("ship") - 2 * ("boat" in words) + 0.5 * words.count("[mask]"))
    return found


def test_occlusions_are_what_the_score_loses():
    text = "Ship and ship; a boat, ships."
    found = occlusions("q", text, known_score, "[MASK]")
    assert found == {"ship": 2 * 3 - 2 * 0.5, "boat": -2 - 0.5, "and": -0.5, "a": -0.5, "ships": -0.5}
    assert list(found) == ["ship", "boat", "and", "a", "ships"]
    assert list(occlusions("q", text, known_score, "[MASK]", words=2)) == ["ship", "and"]
    assert occlusions("q", "", known_score, "[MASK]") == {}
    seen = []
    occlusions("q", "a-b a", lambda query, documents: seen.extend(documents) or [0.0] * 3, "<mask>")
    assert seen == ["a-b a", "<mask>-b <mask>", "a-<mask> a"]


def test_documents_that_moved_are_explained():
    change = Change("q", "ships", ["d1", "d2", "d3", "d9"], ["d9", "d3", "d2", "d1"])
    statistics, texts = gather(DOCUMENTS, ["ship"], ["d1", "d2", "d3"], Analyser())
    found = list(
        explain(
            change, texts, statistics, Analyser(), depth=4, ranks=1, most=2, score=known_score, mask="[MASK]"
        )
    )
    assert [one.move for one in found] == [("d1", 1, 4), ("d2", 2, 3)]  # d9 has no text
    assert found[0].lexical["ship"] > 0
    assert dict(list(found[0].occluded.items())[:2]) == {"ship": 2.5, "ships": -1.0}
    assert next(iter(found[1].occluded.items())) == ("boat", -2.5)
    (only,) = explain(change, texts, statistics, Analyser(), depth=4, ranks=2, most=9)
    assert only.occluded == {}


def test_the_page_shows_and_escapes():
    text = "Ships & <script>alert(1)</script> a harbour"
    change = Change("7<", "ship <i>", ["a", "<b>"], ["<b>", "c"])
    statistics, texts = gather([Document("<b>", text, "x:1")], ["ship"], ["<b>"], Analyser())
    explained = list(
        explain(
            change, texts, statistics, Analyser(), depth=2, ranks=1, most=5, score=known_score, mask="[MASK]"
        )
    )
    change = Change(change.query, change.text, change.before, change.after, explained)
    sheet = Sheet(("bm<25>", "prop"), texts, Analyser(), 2, {"7<": {"<b>": 2, "a": 0}})
    shown = page([change], sheet).render()
    body = shown[shown.index("<main>") :]
    assert "<script" not in shown
    assert "</mark> &amp; &lt;<mark" in shown
    assert not re.search(r"<b>(?!</)|<i>", body.replace("<b class", ""))
    assert "bm&lt;25&gt;" in shown
    assert '<mark class="query' in shown
    assert "nDCG@2: 0.6309 before, 1.0000 after" in shown
    assert body.count('<li class="relevant">') == 2
    assert body.count('<li class="not">') == 1
    assert "&#9650; from 2" in shown
    assert ">gone<" in shown
    assert ">new<" in shown
    assert "(not in the collection)" in shown
    assert not re.search(r"(src|href)=[\"']?https?:", shown)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command in a folder with a made-up collection: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NONET_PROGRESS", "0")
    collection = toy.collection(40, 6)
    toy.write_collection(collection, tmp_path)
    names = [note.id for note in collection.documents]
    for tag, order in (("bm25", names), ("prop", names[::-1])):
        run = {
            query: {name: -float(place) for place, name in enumerate(order)} for query in collection.topics
        }
        write_run(tmp_path / f"{tag}.trec", run, tag)

    def run(*more):
        words = "--before bm25.trec --after prop.trec --topics topics.tsv --corpus docs.jsonl --out page.html"
        code = main("prop-ir", "", "0", VERBS, "prop_ir", ["compare", *replaced(words.split(), *more)])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_a_page(command, tmp_path):
    code, out, err = command("--qrels", "qrels.txt", "--most", 2, "--depth", 5, "--queries", "Q3", "Q1")
    assert (code, out) == (0, "page.html\n"), err
    shown = (tmp_path / "page.html").read_text()
    assert shown.index('id="q1">Q3: ') < shown.index('id="q2">Q1: ')
    assert shown.count("<li") == 2 * 2 * 5
    assert shown.count("<details") == 2 * 5
    assert "N0000" in shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--queries", "Q77"], "query Q77 is not in topics.tsv, or in neither run"),
        (["--after", "bm25.trec"], "bm25.trec is given twice"),
        (["--out", "page"], "--out page: name an .html file"),
        (["--depth", "0"], "depth is 0; it is 1 or more"),
        (["--number-topics", "position"], "bm25.trec: only 0 of its 6 queries are among the 6 of topics.tsv"),
        (["--corpus", "other.jsonl"], "none of the 40 documents"),
        (["--model", "./absent"], "no folder ./absent"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(command, tmp_path, more, message):
    (tmp_path / "other.jsonl").write_text('{"id": "x", "text": "y"}\n')
    code, out, err = command(*more)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_the_model_s_words_are_shown(command, tmp_path):
    """What a word brings is what transformers' own forward pass says about the masked text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from prop_ir.model import load_ranker

    toy.write_encoder(tmp_path / "encoder", layers=1, width=16, heads=2)
    ranker, tokenizer = load_ranker(tmp_path / "encoder", head="new", seed=1, say=lambda text: None)
    ranker.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    code, _, err = command(
        "--model", "model", "--most", 1, "--queries", "Q1", "--explained", 1, "--max-length", 64
    )
    assert code == 0, err
    shown = (tmp_path / "page.html").read_text()
    block = shown[shown.index("Words, by what") :]
    word, value = re.search(r'<td>(\w+)</td><td class="number">([-+][\d.]+)</td>', block).groups()

    collection = toy.collection(40, 6)
    document = re.search(r"<strong>(N\d+)</strong>", shown)[1]
    text = next(note.text for note in collection.documents if note.id == document)
    masked = re.sub(rf"\b{word}\b", "[MASK]", text, flags=re.IGNORECASE)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    scores = []
    for version in (text, masked):
        inputs = tokenizer(
            collection.topics["Q1"], version, truncation="only_second", max_length=64,
            return_token_type_ids=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            scores.append(model(**inputs).logits.item())
    assert float(value) == pytest.approx(scores[0] - scores[1], abs=6e-4)
