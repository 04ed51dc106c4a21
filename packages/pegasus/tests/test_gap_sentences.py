"""Selection against rouge-score, against plain counting, and against cases that one can count by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from pegasus.gap_sentences import gap_count, importance, select
from pegasus.options import GapOptions
from pegasus.sentences import SentenceWords, words_of_sentences, words_of_texts

DOCUMENTS = st.lists(
    st.lists(st.integers(0, 6), max_size=7), min_size=1, max_size=9
)  # sentences of word numbers
MYTH = "Pegasus is mythical. It is pure white. It names the model. It is a cool name."


def as_words(sentences):
    flat = [w for sentence in sentences for w in sentence]
    offsets = np.cumsum([0, *(len(sentence) for sentence in sentences)])
    return SentenceWords(np.array(flat, np.int32), offsets.astype(np.int64), np.array([0, len(sentences)]))


def sides(sentences, chosen, n=1):
    """Counts of n-grams inside the chosen sentences, and of all others in the document."""
    flat = [w for sentence in sentences for w in sentence]
    whole = Counter(tuple(flat[i : i + n]) for i in range(len(flat) - n + 1))
    inside = Counter()
    for c in chosen:
        s = sentences[c]
        inside.update(tuple(s[i : i + n]) for i in range(len(s) - n + 1))
    return inside, whole - inside


def plain_score(sentences, chosen, counting="orig", metric="f", n=1):
    inside, rest = sides(sentences, chosen, n)
    measure = {"orig": lambda c: c, "uniq": lambda c: min(c, 1), "log": lambda c: math.log(1 + c)}[counting]
    least = 0.1 if counting == "log" else 1.0
    overlap = sum(min(measure(inside[w]), measure(rest[w])) for w in inside)
    precision = overlap / max(least, sum(map(measure, inside.values())))
    recall = overlap / max(least, sum(map(measure, rest.values())))
    f = 2 * precision * recall / (precision + recall) if overlap > 0 else 0.0
    return {"f": f, "precision": precision, "recall": recall}[metric]


def plain_greedy(sentences, m, counting, metric, n=1):
    chosen = []
    for _ in range(m):
        scores = {
            i: plain_score(sentences, [*chosen, i], counting, metric, n)
            for i in range(len(sentences))
            if i not in chosen
        }
        best = max(scores.values())
        chosen.append(max(i for i, score in scores.items() if score >= best - 1e-12))  # the later of equals
    return sorted(chosen)


def plain_best(sentences, m, counting, metric, n=1):
    scores = [round(plain_score(sentences, [i], counting, metric, n), 12) for i in range(len(sentences))]
    order = sorted(range(len(sentences)), key=lambda i: (scores[i], i), reverse=True)
    return sorted(order[:m])


def chosen_by(sentences, **options):
    return select(as_words(sentences), GapOptions(**options))[0][0].tolist()


def test_worked_example_of_the_authors():
    words, _ = words_of_texts([MYTH], stop_words=False)
    assert importance(words)[0].tolist() == [0.125, 0.25, 0.125, 0.25]


@pytest.mark.parametrize("counting", ["orig", "uniq", "log"])
@pytest.mark.parametrize("metric", ["f", "precision", "recall"])
@settings(max_examples=60, deadline=None)
@given(sentences=DOCUMENTS)
def test_importance_is_rouge_of_the_sentence_against_the_rest(counting, metric, sentences):
    found = importance(as_words(sentences), GapOptions(strategy=f"ind-{counting}", metric=metric))[0]
    expected = [plain_score(sentences, [i], counting, metric) for i in range(len(sentences))]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("counting", ["orig", "uniq", "log"])
@pytest.mark.parametrize("metric", ["f", "precision", "recall"])
@settings(max_examples=60, deadline=None)
@given(sentences=DOCUMENTS, ratio=st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_sequential_selection_is_the_plain_greedy_search(counting, metric, sentences, ratio):
    m = int(gap_count(np.array([len(sentences)]), ratio)[0])
    found = chosen_by(sentences, strategy=f"seq-{counting}", metric=metric, ratio=ratio)
    if counting == "log":  # sums of logarithms round differently: equal scores may fall either way
        assert len(found) == m
        assert plain_score(sentences, found[:1], counting, metric) >= 0
        if m == 1:
            best = max(plain_score(sentences, [i], counting, metric) for i in range(len(sentences)))
            assert plain_score(sentences, found, counting, metric) == pytest.approx(best, abs=1e-9)
    else:
        assert found == plain_greedy(sentences, m, counting, metric)


@settings(max_examples=200, deadline=None)
@given(
    sentences=DOCUMENTS, ratio=st.sampled_from([0.2, 0.5, 0.8]), counting=st.sampled_from(["orig", "uniq"])
)
def test_independent_selection_takes_the_best_and_of_equals_the_later(sentences, ratio, counting):
    m = int(gap_count(np.array([len(sentences)]), ratio)[0])
    assert chosen_by(sentences, strategy=f"ind-{counting}", ratio=ratio) == plain_best(
        sentences, m, counting, "f"
    )


@settings(max_examples=100, deadline=None)
@given(
    sentences=DOCUMENTS, ratio=st.sampled_from([0.2, 0.5, 0.8]), counting=st.sampled_from(["orig", "uniq"])
)
def test_continuous_selection_is_the_best_window(sentences, ratio, counting):
    m = int(gap_count(np.array([len(sentences)]), ratio)[0])
    windows = [list(range(i, i + m)) for i in range(len(sentences) - m + 1)]
    scores = [round(plain_score(sentences, window, counting), 12) for window in windows]
    best = max(i for i, score in enumerate(scores) if score == max(scores))
    assert chosen_by(sentences, strategy=f"continuous-{counting}", ratio=ratio) == windows[best]


@pytest.mark.parametrize("n", [2, 3])
@settings(max_examples=60, deadline=None)
@given(sentences=DOCUMENTS)
def test_ngrams_across_sentences_stay_in_the_rest(n, sentences):
    found = importance(as_words(sentences), GapOptions(ngram=n))[0]
    np.testing.assert_allclose(
        found, [plain_score(sentences, [i], n=n) for i in range(len(sentences))], atol=1e-12
    )
    m = int(gap_count(np.array([len(sentences)]), 0.5)[0])
    assert chosen_by(sentences, strategy="seq-orig", ngram=n, ratio=0.5) == plain_greedy(
        sentences, m, "orig", "f", n
    )


def test_scores_are_those_of_rouge_score():
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer(["rouge1"])
    generator = np.random.default_rng(0)
    vocabulary = np.array([f"word{i}" for i in range(40)])
    for _ in range(60):
        sentences = [" ".join(generator.choice(vocabulary, generator.integers(1, 12))) for _ in range(8)]
        found = importance(words_of_sentences([sentences], stop_words=False))[0]
        for i, sentence in enumerate(sentences):
            rest = " ".join(sentences[:i] + sentences[i + 1 :])
            assert found[i] == pytest.approx(scorer.score(rest, sentence)["rouge1"].fmeasure, abs=1e-12)


def test_ten_numbered_sentences_counted_once_each_give_the_last_five():
    words, _ = words_of_texts([" ".join(f"sentence {i}." for i in range(10))])
    assert select(words, GapOptions(strategy="ind-uniq", ratio=0.5))[0][0].tolist() == [5, 6, 7, 8, 9]


def test_the_later_of_equals_is_taken_unless_told_otherwise():
    words, _ = words_of_texts(["1. 2. 4. 4."])
    assert select(words, GapOptions(ratio=0.5))[0][0].tolist() == [2, 3]
    assert select(words, GapOptions(strategy="seq-orig", ratio=0.5))[0][0].tolist() == [1, 3]
    assert select(words, GapOptions(strategy="seq-orig", ratio=0.5, ties="first"))[0][0].tolist() == [0, 2]
    assert select(words, GapOptions(ratio=0.5, ties="first"))[0][0].tolist() == [2, 3]


def test_ties_first_holds_for_long_documents_too():
    sentences = [[0, 1]] * 40
    assert chosen_by(sentences, ratio=0.5, ties="first") == list(range(20))
    assert chosen_by(sentences, ratio=0.5, ties="later") == list(range(20, 40))


@pytest.mark.parametrize(
    ("sentences", "ratio", "count"),
    [(0, 0.3, 0), (1, 0.3, 1), (3, 0.3, 1), (10, 0.3, 3), (20, 0.15, 3), (7, 1.0, 7), (6, 0.5, 3)],
)
def test_gap_count_is_the_float32_product_cut_off(sentences, ratio, count):
    assert gap_count(np.array([sentences]), ratio).tolist() == [count]
    assert count == min(sentences, int(max(np.float32(sentences) * np.float32(ratio), np.float32(1))))


def test_lead_random_hybrid_and_none():
    sentences = [[i, i + 1, 0] for i in range(12)]
    assert chosen_by(sentences, strategy="lead", ratio=0.25) == [0, 1, 2]
    assert chosen_by(sentences, strategy="none") == []
    batch = words_of_sentences([[f"a{i} b c" for i in range(12)]] * 600)
    tasks = select(batch, GapOptions(strategy="hybrid"), seed=1)[1]
    assert sorted(set(tasks.tolist())) == [0, 1, 2]
    assert min(np.bincount(tasks)) > 150
    picks, _ = select(batch, GapOptions(strategy="random", ratio=0.25), seed=1)
    assert all(len(set(p.tolist())) == 3 and p.tolist() == sorted(p.tolist()) for p in picks)
    counts = np.bincount(np.concatenate(picks), minlength=12)
    assert counts.min() > 100  # 150 expected, standard deviation 10.6
    assert counts.max() < 200


def test_draws_depend_on_seed_epoch_and_document_alone():
    sentences = [[f"w{i % 5} w{(i * 3) % 7}" for i in range(20)] for _ in range(30)]
    words = words_of_sentences(sentences)
    options = GapOptions(ratio=0.45, ratio_low=0.15, noise="uniform")
    whole, _ = select(words, options, seed=3, epoch=2)
    for b in (0, 7, 29):
        alone = words_of_sentences([sentences[b]])
        again, _ = select(alone, options, seed=3, epoch=2, documents=np.array([b]))
        assert again[0].tolist() == whole[b].tolist()
    other, _ = select(words, options, seed=3, epoch=3)
    assert any(a.tolist() != b.tolist() for a, b in zip(whole, other, strict=True))
    counts = {len(p) for p in whole}
    assert counts <= set(range(3, 10))
    assert len(counts) > 3


def test_gauss_shared_perturbs_every_document_alike():
    sentences = [f"w{i} x" for i in range(20)]  # all equally important
    words = words_of_sentences([["c w1 w1 c"], *[sentences] * 5])
    picks = select(words, GapOptions(noise="gauss-shared", ratio=0.2), seed=5)[0][1:]
    assert len({tuple(p.tolist()) for p in picks}) == 1
    own = select(words, GapOptions(noise="gauss", ratio=0.2), seed=5)[0][1:]
    assert len({tuple(p.tolist()) for p in own}) > 1


def test_first_sentences_limits_the_choice_but_not_the_document():
    sentences = [[0], [1], [2, 9], [9, 9, 9], [9, 9]]
    assert chosen_by(sentences, first_sentences=3, ratio=0.4) == [2]
    assert chosen_by(sentences, ratio=0.2) != [2]


def test_documents_without_words_and_empty_batches():
    words, _ = words_of_texts(["", "...", "a. b"])
    picks, _ = select(words, GapOptions())
    assert [p.tolist() for p in picks] == [[], [0], [1]]
    empty, _ = words_of_texts([])
    assert select(empty, GapOptions())[0] == []
    assert importance(empty) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, r"ratio is 0.0; the share of sentences to cut lies in \(0, 1\]"),
        ({"ratio": 1.5}, "ratio is 1.5"),
        ({"ratio_low": 0.5}, r"ratio_low is 0.5; it lies in \(0, ratio = 0.3\]"),
        ({"ngram": 0}, "ngram is 0"),
        ({"noise_scale": -1.0}, "noise_scale is -1.0"),
        ({"first_sentences": -1}, "first_sentences is -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        GapOptions(**options)
