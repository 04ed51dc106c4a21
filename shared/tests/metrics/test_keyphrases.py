"""Keyphrase scores: the published scorer's numbers, a plain scorer of lists, and what must not matter."""

import math
import random

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.keyphrase_intervals import compare, f1_intervals
from nonet.metrics.keyphrase_matches import find_matches, stem_words
from nonet.metrics.keyphrase_ranking import alpha_ndcg, ranking
from nonet.metrics.keyphrases import (
    CLASSES,
    CONVENTIONS,
    Convention,
    convention,
    parse_k,
    score,
    score_matches,
)
from nonet.metrics.porter import stem
from nonet.testing import data_folder, needs

COMPAT = convention("chan", compat_empty=True)

HAND = [
    (
        "real time data aggregation [sep] we study data aggregation in contention based sensor networks .",
        ["data aggregation", "sensor network", "wireless communication"],
        ["sensor networks", "sensor network", "real time", "time data", "wireless communications", "routing"],
    ),
    (
        "graph colouring [sep] a survey of algorithms for graphs .",
        ["graph colouring", "graph"],
        ["graphs", "graph", "colour theory"],
    ),
    ("deep learning [sep] no keyphrases here .", ["reinforcement learning"], [""]),
]


def real_documents():
    folder = data_folder("stackexchange-kp")
    texts, gold, said = (
        (folder / name).read_text(encoding="utf-8").splitlines()
        for name in (
            "data/StackExchange/test_src.txt",
            "data/StackExchange/test_trg.txt",
            "my_sample_prediction/StackExchange_predictions.txt",
        )
    )
    return [
        (text.replace("<eos>", "[sep]"), of.split(";"), line.split(";"))
        for text, of, line in zip(texts, gold, said, strict=True)
    ]


def test_the_hand_case_has_the_numbers_of_the_published_scorer():
    scores = score(HAND, COMPAT, (5, "M"))
    printed = {
        ("present", 5): (0.13333, 0.33333, 0.19048),
        ("present", "M"): (0.44444, 0.33333, 0.38095),
        ("absent", "M"): (0.16667, 0.33333, 0.22222),
    }
    for key, numbers in printed.items():
        assert tuple(round(x, 5) for x in scores.macro(*key)) == numbers
    f1 = {key: round(scores.macro(*key).f1, 5) for key in [("absent", 5), ("all", 5), ("all", "M")]}
    assert f1 == {("absent", 5): 0.11111, ("all", 5): 0.26415, ("all", "M"): 0.33871}
    assert scores.micro("absent", "M").precision == 1 / 4, "the empty line is one absent prediction"
    assert score(HAND, "chan", ("M",)).micro("absent", "M").precision == 1 / 3, "and is none by default"


def test_a_real_prediction_file_has_every_printed_digit_of_the_published_scorer():
    scores = score(real_documents(), COMPAT)
    expected = {
        ("all", 5): (0.21290, 0.45861, 0.29080),
        ("all", 10): (0.12914, 0.54719, 0.20896),
        ("all", "M"): (0.07583, 0.62753, 0.13531),
        ("all", "O"): (0.34385, 0.34385, 0.34385),
        ("present", 5): (0.17626, 0.57548, 0.26986),
        ("present", 10): (0.09238, 0.59858, 0.16005),
        ("present", "M"): (0.19530, 0.59917, 0.29458),
        ("absent", 5): (0.07907, 0.24499, 0.11955),
        ("absent", "M"): (0.03890, 0.34736, 0.06996),
    }
    found = {key: tuple(round(x, 5) for x in scores.macro(*key)) for key in expected}
    assert found == expected
    assert round(scores.macro("present", "O").f1, 5) == 0.41116
    assert round(scores.macro("absent", "O").f1, 5) == 0.14742
    assert f"{scores.micro('all', 5).f1:.4f}" == "0.2864"
    assert [(scores.gold[of] > 0).sum() for of in ("present", "absent")] == [3480, 3881]
    assert (scores.matches.said_kept.sum(), scores.matches.gold_kept.sum()) == (97513, 12029)


def test_the_variants_differ_on_the_real_file_as_measured():
    matches = score(real_documents(), COMPAT).matches
    variants = [
        ({"padded": False}, (31.21, 29.46, 11.96)),
        ({"documents": "with gold"}, (38.35, 41.86, 15.23)),
        ({"average": "documents"}, (25.99, 27.79, 11.47)),
        ({"average": "documents", "documents": "with gold"}, (36.93, 39.50, 14.61)),
    ]
    for changes, numbers in variants:
        scores = score_matches(matches, convention("chan", compat_empty=True, **changes))
        cells = (scores.macro("present", 5), scores.macro("present", "M"), scores.macro("absent", 5))
        assert tuple(round(100 * cell.f1, 2) for cell in cells) == numbers


@needs("nltk")
@pytest.mark.parametrize("name", ["chan", "meng"])
def test_a_plain_scorer_of_lists_agrees_on_made_up_documents(name):
    documents = made_up(60)
    scores = score(documents, name, (1, 3, "M", "O", "G"))
    plain = Plain(documents)
    for of in CLASSES:
        for k in scores.ks:
            rows = [plain.prf(d, of, k, CONVENTIONS[name].padded) for d in range(len(documents))]
            assert np.allclose(scores.precision(of, k), [row[0] for row in rows])
            assert np.allclose(scores.recall(of, k), [row[1] for row in rows])
            if name == "meng":
                rows = [row for d, row in enumerate(rows) if plain.lists(d, of)[0]]
                f1 = np.mean([2 * p * r / (p + r) if p + r else 0 for p, r in rows])
            else:
                p, r = np.mean(rows, axis=0)
                f1 = 2 * p * r / (p + r)
            assert scores.macro(of, k).f1 == pytest.approx(f1)


@needs("nltk")
def test_ranking_measures_agree_with_sums_written_out():
    documents = made_up(40)
    scores = score(documents, "chan", (2, 4, "M", "O"))
    plain = Plain(documents)
    for of in CLASSES:
        alpha = alpha_ndcg(scores, of)
        for k in scores.ks:
            rows = [plain.ranking(d, of, k) for d in range(len(documents))]
            expected = np.mean(rows, axis=0)
            found = ranking(scores, of, k)
            assert (*found, alpha[k]) == pytest.approx(expected.tolist())


def test_the_order_of_predictions_changes_no_score_of_all_of_them_and_duplicates_change_none():
    documents = made_up(50)
    shuffled = [(text, gold, random.Random(3).sample(said, len(said))) for text, gold, said in documents]
    other = {"graph": "graphs", "node": "nodes", "colour": "coloured", "learning": "learns", "deep": "DEEP"}
    doubled = [
        (text, gold, [*said, *(" ".join(other.get(word, word) for word in one.split()) for one in said)])
        for text, gold, said in documents
    ]
    before, after = score(documents), score(shuffled)
    for of in CLASSES:
        assert before.macro(of, "M") == after.macro(of, "M")
    assert score(doubled).rows() == before.rows()


def test_gold_against_itself_reaches_the_share_of_documents_that_have_gold():
    documents = [(text, gold, gold) for text, gold, _ in real_documents()]
    assert round(score(documents).macro("present", "M").f1, 5) == 0.70374  # 3480 / 4945
    assert score(documents, "meng").macro("present", "M").f1 == pytest.approx(1)


def test_the_order_of_documents_changes_nothing():
    documents = made_up(30)
    forward, backward = score(documents), score(documents[::-1])
    for a, b in zip(forward.rows(), backward.rows(), strict=True):
        assert {key: pytest.approx(value) for key, value in a.items()} == b


def test_a_phrase_may_lie_across_title_and_body_and_one_inside_a_word_is_absent():
    scores = score([("we start [sep] today , art", ["start today", "art today", "tar"], [])])
    assert scores.matches.gold_present.tolist() == [True, False, False]
    twice = score([("a [sep] b [sep] c", ["a b", "[sep] c"], [])])
    assert twice.matches.gold_present.tolist() == [True, True]
    assert twice.matches.second_marks == 1


def test_word_pieces_and_digits_are_joined_and_only_the_first_200_predictions_count():
    found = find_matches(
        ["[digit] dimensional print"], [["[digit] dimensional"]], [["[ digit ] dimension ##al"]]
    )
    assert found.right.tolist() == [0]
    many = [f"p{i}" for i in range(300)]
    assert score([("x", ["p250"], many)]).macro("all", "M").recall == 0


@pytest.mark.parametrize("space", ["\t", "\n", "\xa0", "\u2003", "\u3000", "  ", "\u2028", "\x1f", "\u205f"])
def test_any_white_space_parts_words(space):
    found = find_matches([f"deep{space}nets"], [[f"deep{space}net"]], [["deep nets"]])
    assert (found.right.tolist(), found.said_present.tolist()) == ([0], [True])


def test_words_beyond_ascii_are_matched_letter_by_letter():
    texts = [
        "\u00c9tudes \u00fcber \uff12\uff10 \U0001f600 \u05e9\u05dc\u05d5\u05dd",
        "a\u200bb c\x00d",
        "\ud83d x",
    ]
    gold = [
        ["\u00e9tude", "\uff12\uff10", "\U0001f600", "\u05e9\u05dc\u05d5\u05dd", "etude"],
        ["a\u200bb", "ab"],
        ["x"],
    ]
    found = find_matches(texts, gold, gold)
    assert found.gold_present.tolist() == [True, True, True, True, False, True, False, True]


def test_phrases_without_words_do_not_count_unless_asked_for():
    rows = [("a b", ["", " "], [" ", "", "b"])]
    assert score(rows).matches.said_kept.tolist() == [False, False, True]
    assert score(rows, COMPAT).matches.said_kept.tolist() == [True, False, True]
    assert score(rows, COMPAT).macro("absent", "M").f1 == 1
    assert score([("a", [], [])], COMPAT).macro("absent", "M") == (1, 1, 1)


def test_a_document_without_predictions_adds_nothing_to_what_micro_precision_divides_by():
    assert score(HAND, "chan", (5,)).counted["present", 5].tolist() == [5, 5, 0]
    assert score(HAND, "chan", (5,)).micro("present", 5).precision == 2 / 10


def test_counts_of_phrases_are_compared():
    scores = score(HAND)
    assert [scores.said["present"].tolist(), scores.gold["present"].tolist()] == [[3, 1, 0], [2, 2, 0]]
    assert scores.count_error("present") == pytest.approx(2 / 3)


def test_no_document_scores_nothing():
    scores = score([])
    assert scores.macro("all", 5) == scores.micro("all", "M") == (0, 0, 0)
    with pytest.raises(UserError, match="no document"):
        f1_intervals(scores)


def test_the_label_tells_what_differs_and_another_stemmer_loses_the_name():
    assert convention("chan").label == "chan"
    assert convention("meng", padded=True).label == "meng, padded"
    assert convention("chan", padded=False, average="documents", documents="with gold").label == (
        "chan, unpadded, mean of F1, documents with gold only"
    )
    assert convention("chan", stemmer="none").label == "own (as chan, stemmer none)"
    assert Convention("house", padded=False).label == "house, unpadded"
    assert " chan\n" in score(HAND).table() + "\n"


@needs("PyStemmer")
def test_another_language_has_its_own_stems():
    rows = [("die h\u00e4user am see", ["haus"], ["h\u00e4usern"])]
    assert score(rows, convention("chan", stemmer="snowball:german")).macro("present", "M").recall == 1
    assert score(rows).macro("present", "M").recall == 0
    with pytest.raises(UserError, match="no Snowball stemmer for 'klingon'"):
        score(rows, convention("chan", stemmer="snowball:klingon"))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="unknown convention 'chen'; choose chan, meng, kpeval"):
        score(HAND, "chen")
    with pytest.raises(UserError, match="unknown stemmer 'lancaster'"):
        score(HAND, convention("chan", stemmer="lancaster"))
    with pytest.raises(UserError, match="1 texts but 2 lists of predictions"):
        find_matches(["a"], [["a"]], [["a"], ["b"]])
    with pytest.raises(TypeError, match="document 0 are one str"):
        score([("a", "a;b", ["a"])])
    for wrong in (0, "x", -1, 2.5):
        with pytest.raises(UserError, match="unknown cut"):
            parse_k(wrong)


@pytest.mark.slow
@needs("nltk")
@needs("PyStemmer")
def test_stems_of_all_real_words_are_those_of_nltk_and_not_those_of_snowball():
    from nltk.stem.porter import PorterStemmer
    from Stemmer import Stemmer

    folder = data_folder("stackexchange-kp").parent
    words: set[str] = set()
    posts = "stackexchange-kp/data/StackExchange"
    files = (
        f"{posts}/test_src.txt",
        f"{posts}/valid_src.txt",
        "papers/keyphrases.jsonl",
        "scitldr/train.jsonl",
    )
    for name in files:
        if (folder / name).exists():
            words |= set((folder / name).read_text(encoding="utf-8").lower().split())
    listed = sorted(words)
    assert len(listed) >= 80_000
    nltk, snowball = PorterStemmer(), Stemmer("porter")
    ours, theirs = stem_words(listed), [nltk.stem(word) for word in listed]
    assert ours == theirs
    assert snowball.stemWords(listed) != theirs
    assert [stem(word) for word in listed[::50]] == ours[::50]


def test_the_interval_of_f1_is_that_of_drawing_documents_one_by_one():
    documents = made_up(25)
    scores = score(documents, "chan", (3,))
    found = f1_intervals(scores, seed=5, resamples=200)["present", 3]
    p, r = scores.precision("present", 3), scores.recall("present", 3)
    rows = np.random.default_rng(5).integers(0, 25, size=(200, 25))
    drawn = []
    for chosen in rows:
        mean_p, mean_r = p[chosen].mean(), r[chosen].mean()
        drawn.append(2 * mean_p * mean_r / (mean_p + mean_r) if mean_p + mean_r else 0)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert found.low < found.mean == scores.macro("present", 3).f1 < found.high


def test_a_system_differs_from_a_worse_one_and_not_from_itself():
    documents = made_up(80)
    worse = [(text, gold, said[:1]) for text, gold, said in documents]
    good, bad = score(documents), score(worse)
    row = next(row for row in compare(good, bad, resamples=500) if (row.of, row.k) == ("all", 5))
    assert row.difference == pytest.approx(good.macro("all", 5).f1 - bad.macro("all", 5).f1)
    assert row.low > 0
    assert row.p_holm >= row.p == pytest.approx(2 / 501)
    assert all(row.p == 1 and row.low == row.high == 0 for row in compare(good, good, resamples=50))
    with pytest.raises(UserError, match="same documents"):
        compare(good, score(made_up(80, seed=9)))
    with pytest.raises(UserError, match="cannot be compared"):
        compare(good, score(documents, "meng"))


def made_up(count, seed=1):
    """Documents over a few words, with inflections, duplicates, empty lists, present and absent phrases."""
    rng = random.Random(seed)
    words = ["graph", "graphs", "node", "nodes", "colour", "colouring", "deep", "learning", "learned", "net"]

    def phrase():
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 2)))

    return [
        (
            " ".join(rng.choice(words[: rng.randint(3, 10)]) for _ in range(12)),
            [phrase() for _ in range(rng.randint(0, 5))],
            [phrase() for _ in range(rng.randint(0, 8))],
        )
        for _ in range(count)
    ]


class Plain:
    """The definitions, with lists and one document at a time."""

    def __init__(self, documents):
        from nltk.stem.porter import PorterStemmer

        stemmer = PorterStemmer()
        self.rows = [
            tuple(
                [" ".join(map(stemmer.stem, text.split())) for text in texts]
                for texts in ([text], gold, said)
            )
            for text, gold, said in documents
        ]

    def lists(self, d, of):
        (text,), *both = self.rows[d]
        return [
            [
                one
                for i, one in enumerate(phrases)
                if one not in phrases[:i]
                and (of == "all" or (f" {one} " in f" {text} ") == (of == "present"))
            ]
            for phrases in both
        ]

    def top(self, gold, said, k):
        return {"M": len(said), "O": len(gold), "G": max(len(gold), len(said))}.get(k, k)

    def prf(self, d, of, k, padded):
        gold, said = self.lists(d, of)
        top = self.top(gold, said, k)
        hits = sum(one in gold for one in said[:top])
        below = top if padded else min(top, len(said))
        return (hits / below if said and below else 0, hits / len(gold) if gold else 0)

    def ranking(self, d, of, k):
        gold, said = self.lists(d, of)
        top = self.top(gold, said, k)
        hit = [one in gold for one in said]
        average = sum(sum(hit[: i + 1]) / (i + 1) for i in range(min(top, len(said))) if hit[i])
        dcg, ideal = (self.dcg([float(x) for x in row][:top]) for row in (hit, sorted(hit, reverse=True)))
        order, left = [], list(said)
        while left:
            left.sort(key=lambda one: (-self.gain(gold, order, one), said.index(one)))
            order.append(left.pop(0))
        alpha, best = (
            self.dcg([self.gain(gold, row[:i], one) for i, one in enumerate(row)][:top])
            for row in (said, order)
        )
        return (average / len(gold) if gold else 0, dcg / ideal if ideal else 0, alpha / best if best else 0)

    def gain(self, gold, before, one):
        return sum(0.5 ** sum(other in text for other in before) for text in gold if one in text)

    def dcg(self, gains):
        return sum(gain / math.log2(i + 2) for i, gain in enumerate(gains))
