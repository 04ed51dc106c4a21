"""ROUGE by hand, by its invariants and, where it is installed, against rouge-score to the last bit."""

import functools
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.metrics.rouge import TYPES, Score, aggregate, score, score_multi, score_pairs
from nonet.testing import needs

ALL_TYPES = ("rouge1", "rouge2", "rouge3", "rouge9", "rougeL", "rougeLsum")
PIECES = [
    *"a b c was wa the cat cats running runs relational national nationally x_y 3.5 don't".split(),
    *"Kelvin \u212aelvin K İstanbul İİx é naïve ÉTÉ ß ΑΣ ﬁne 𝔸b ١٢ \ud800 ... - ,".split(),
    *["\n", "\n\n", "\r\n", "\t", "\v", "\u2028", "\x85", "\0", "", " "],
]
GLUE = [" ", " ", " ", "", "-", "\n", "\r"]


def random_text(rng: random.Random, pieces: Sequence[str], most: int) -> str:
    return "".join(rng.choice(pieces) + rng.choice(GLUE) for _ in range(rng.randint(0, most)))


def rouge_score(types: Sequence[str], stemmer: bool) -> Any:
    """The peer, with a memory for stems so that it takes seconds and not minutes."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(types), use_stemmer=stemmer)
    if stemmer:
        porter = scorer._tokenizer._stemmer
        porter.stem = functools.cache(porter.stem)
    return scorer


def differing(targets: Sequence[str], predictions: Sequence[str], stemmer: bool) -> list[tuple]:
    ours = score_pairs(targets, predictions, ALL_TYPES, stemmer)
    scorer = rouge_score(ALL_TYPES, stemmer)
    found = []
    for i, (target, prediction) in enumerate(zip(targets, predictions, strict=True)):
        for kind, theirs in scorer.score(target, prediction).items():
            if tuple(ours[kind][i].tolist()) != tuple(theirs):
                found.append((kind, target, prediction, theirs, ours[kind][i]))
    return found


def hand(precision: float, recall: float) -> Score:
    return Score(precision, recall, 2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
    ("target", "prediction", "kind", "expected"),
    [
        ("the cat sat", "the cat", "rouge1", hand(1.0, 2 / 3)),
        ("a b c", "a b c d e f", "rouge2", hand(2 / 5, 1.0)),  # F 4/7
        ("aa bb cc dd ee", "aa bb dd ee ff", "rouge2", hand(0.5, 0.5)),
        ("aa bb cc aa bb", "aa bb aa bb", "rouge2", hand(2 / 3, 0.5)),  # the second "aa bb" counts: F 4/7
        ("a a b", "a a a a a", "rouge1", hand(0.4, 2 / 3)),
        ("a#b c", "a!b!@$c", "rouge1", hand(1.0, 1.0)),
        ("police killed the gunman", "police kill the gunman", "rougeL", hand(1.0, 1.0)),  # killed = kill
        ("the gunman police killed", "police killed the gunman", "rougeL", hand(0.5, 0.5)),
        # Lin 2004, section 3.2: the union of w1 w2 and w1 w3 w5 is four of five words of the target.
        ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "rougeLsum", hand(4 / 10, 4 / 5)),
        # But a word counts no more often than the prediction has it.
        ("w1 w2\nw1 w3", "w1 w2 w3", "rougeLsum", hand(1.0, 3 / 4)),
        ("\u212aelvin", "kelvin", "rouge1", hand(1.0, 1.0)),
        ("Aİb", "ai b", "rouge1", hand(1.0, 1.0)),
    ],
)
def test_by_hand(target: str, prediction: str, kind: str, expected: Score) -> None:
    assert score(target, prediction, [kind])[kind] == expected


def test_stems_only_from_four_letters_on_and_only_when_asked() -> None:
    assert score("cats", "cat", ["rouge1"])["rouge1"].fmeasure == 1.0
    assert score("was", "wa", ["rouge1"])["rouge1"].fmeasure == 0.0
    assert score("cats", "cat", ["rouge1"], stemmer=False)["rouge1"].fmeasure == 0.0


@pytest.mark.parametrize("empty", ["", " \n", "...", "日本語", "\ud800"])
def test_a_text_without_words_scores_zero(empty: str) -> None:
    for pair in ((empty, "a b"), ("a b", empty), (empty, empty)):
        assert set(score(*pair, ALL_TYPES).values()) == {Score(0.0, 0.0, 0.0)}


def test_no_pairs_and_no_types() -> None:
    assert {kind: values.shape for kind, values in score_pairs([], []).items()} == dict.fromkeys(
        TYPES, (0, 3)
    )
    assert score_pairs(["a"], ["a"], []) == {}
    assert score_multi([], [], ["rouge1"])["rouge1"].shape == (0, 3)


def test_no_other_letter_is_lowered_into_ascii() -> None:
    ours = set("abcdefghijklmnopqrstuvwxyz0123456789")
    beyond = [chr(c) for c in range(128, 0x110000) if ours & set(chr(c).lower())]
    assert beyond == ["\u0130", "\u212a"]


texts = st.lists(st.sampled_from(["ab", "a", "b", "c", "d", "\n", ""]), max_size=90).map(" ".join)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(texts, texts)
def test_invariants(target: str, prediction: str) -> None:
    there, back = score(target, prediction, ALL_TYPES), score(prediction, target, ALL_TYPES)
    for kind, (precision, recall, fmeasure) in there.items():
        assert 0 <= precision <= 1
        assert 0 <= recall <= 1
        assert min(precision, recall) - 1e-15 <= fmeasure <= max(precision, recall) + 1e-15
        if kind != "rougeLsum":  # which treats target and prediction differently
            assert back[kind] == Score(recall, precision, fmeasure)
    assert there["rougeL"].recall <= there["rouge1"].recall
    assert there["rougeLsum"].recall <= there["rouge1"].recall
    assert (
        score(target.replace("\n", " "), prediction.replace("\n", " "), ["rougeLsum"])["rougeLsum"]
        == there["rougeL"]
    )


def longest_common(first: str, second: str) -> int:
    row = [0] * (len(second) + 1)
    for letter in first:
        above = row[:]
        for j, other in enumerate(second):
            row[j + 1] = above[j] + 1 if letter == other else max(above[j + 1], row[j])
    return row[-1]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 200])
def test_lcs_across_machine_words(length: int) -> None:
    rng = random.Random(length)
    first, second = ("".join(rng.choices("abc", k=length)) for _ in range(2))
    found = score(" ".join(first), " ".join(second), ["rougeL"])["rougeL"]
    assert found.recall == longest_common(first, second) / length


def test_threads_and_neighbours_change_nothing() -> None:
    rng = random.Random(3)
    targets, predictions = ([random_text(rng, PIECES, 30) for _ in range(101)] for _ in range(2))
    together = score_pairs(targets, predictions, ALL_TYPES)
    shared = score_pairs(targets, predictions, ALL_TYPES, threads=3)
    for kind in ALL_TYPES:
        assert together[kind].tolist() == shared[kind].tolist()
        alone = [tuple(score(*pair, [kind])[kind]) for pair in zip(targets, predictions, strict=True)]
        assert together[kind].tolist() == [list(one) for one in alone]


def test_best_reference_is_chosen_for_each_type_alone() -> None:
    references = ["c b a x", "a b", "a b"]  # the first has more words in common, the others more in order
    best = score_multi([references, ["q"]], ["a b c", "q"], ["rouge1", "rouge2"])
    assert best["rouge1"][0].tolist() == list(hand(1.0, 3 / 4))
    assert best["rouge2"][0].tolist() == list(hand(1 / 2, 1.0))
    assert best["rouge1"][1].tolist() == [1.0, 1.0, 1.0]


def test_of_equal_references_the_first_counts() -> None:
    references = ["a x x", "a b c d e f g h i"]  # F is 1/3 for both
    best = score_multi([references], ["a j k"], ["rouge1"])["rouge1"][0]
    assert best.tolist() == list(score(references[0], "a j k", ["rouge1"])["rouge1"])


def test_aggregate_is_the_plain_mean_with_a_seeded_interval() -> None:
    scores = score_pairs(["a b", "c d", "a d"], ["a b", "c", "b c"], ["rouge1", "rougeL"])
    one, two = aggregate(scores, seed=1), aggregate(scores, seed=1)
    assert one == two
    fmeasure = one["rouge1"].fmeasure
    assert fmeasure.mean == scores["rouge1"][:, 2].mean()
    assert 0 == fmeasure.low < fmeasure.mean < fmeasure.high == 1
    assert aggregate(scores, seed=1, level=0.5)["rouge1"].fmeasure.high < 1


@pytest.mark.parametrize("kind", ["rouge0", "rouge10", "rougel", "rouge", "Rouge1", "rouge1\n"])
def test_unknown_types_are_refused(kind: str) -> None:
    with pytest.raises(
        ValueError, match=r"unknown ROUGE type .*: choose from rouge1 to rouge9, rougeL, rougeLsum"
    ):
        score("a", "a", [kind])


def test_what_does_not_pair_up_is_refused() -> None:
    with pytest.raises(ValueError, match="2 targets but 1 predictions: they must pair up"):
        score_pairs(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 items in targets but 2 predictions"):
        score_multi([["a"]], ["a", "b"])
    with pytest.raises(ValueError, match=r"targets\[1\] is empty: every prediction needs a reference"):
        score_multi([["a"], []], ["a", "b"])
    with pytest.raises(TypeError, match=r"targets\[0\] is one str"):
        score_multi(["a"], ["a"])
    with pytest.raises(TypeError, match=r"predictions\[1\] is NoneType, not str"):
        score_pairs(["a", "b"], ["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="targets is one str; give a list of texts"):
        score_pairs("ab", ["a", "b"])
    with pytest.raises(ValueError, match="threads is 0, but it takes at least 1"):
        score_pairs(["a"], ["a"], threads=0)


@pytest.mark.peer
@needs("rouge-score>=0.1.2")
@pytest.mark.parametrize("stemmer", [True, False])
def test_equals_rouge_score_on_random_texts(stemmer: bool) -> None:
    rng = random.Random(4)
    few = ["a", "b", "c", "cats"]  # many ties between longest subsequences
    sizes = [(PIECES, 8, 800), (PIECES, 60, 150), (few, 8, 300), (few, 150, 40)]
    pairs = [
        [random_text(rng, pieces, most) for _ in range(2)] for pieces, most, n in sizes for _ in range(n)
    ]
    assert differing(*zip(*pairs, strict=True), stemmer) == []


@pytest.mark.peer
@pytest.mark.slow
@needs("rouge-score>=0.1.2")
@pytest.mark.parametrize("stemmer", [True, False])
def test_equals_rouge_score_on_ten_thousand_pairs(stemmer: bool) -> None:
    rng = random.Random(5)
    letters = "".join(map(chr, [*range(32, 127), 9, 10, 10, 13, 0x130, 0x212A, 0xE9, 0x3A3, 0x1F600, 0xDC80]))
    pairs = []
    for _ in range(5000):
        pairs.append([random_text(rng, PIECES, 25) for _ in range(2)])
        pairs.append(["".join(rng.choices(letters, k=rng.randint(0, 80))) for _ in range(2)])
    assert differing(*zip(*pairs, strict=True), stemmer) == []


@pytest.mark.peer
@needs("rouge-score>=0.1.2")
def test_several_references_equal_rouge_score() -> None:
    rng = random.Random(6)
    references = [[random_text(rng, PIECES, 15) for _ in range(rng.randint(1, 4))] for _ in range(200)]
    predictions = [random_text(rng, PIECES, 15) for _ in references]
    ours = score_multi(references, predictions, ALL_TYPES, threads=2)
    scorer = rouge_score(ALL_TYPES, True)
    for i, (targets, prediction) in enumerate(zip(references, predictions, strict=True)):
        for kind, theirs in scorer.score_multi(targets, prediction).items():
            assert ours[kind][i].tolist() == list(theirs)


@pytest.mark.slow
def test_compiles_in_a_fresh_place_and_loads_what_it_compiled(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import time
        start = time.process_time()
        from nonet.metrics.rouge import score
        assert score("the cats sat", "a cat\\nsat", ["rouge1", "rougeLsum"])["rouge1"].recall == 2 / 3
        print(time.process_time() - start)
    """)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        float(
            subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, check=True
            ).stdout
        )
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbi"))
    assert first < 60  # CPU seconds; about 10 on an idle core
    assert second < first / 2


def test_long_texts_in_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    target, prediction = (" ".join(map(str, rng.integers(0, 500, size=20_000))) for _ in range(2))
    scores = score(target, prediction)
    assert scores["rougeL"] == scores["rougeLsum"]
    assert 0.05 < scores["rougeL"].fmeasure < scores["rouge1"].fmeasure
