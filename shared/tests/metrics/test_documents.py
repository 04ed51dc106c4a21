"""ANLS, edit distance and entities against plain tables, other packages and numbers by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.documents import anls, entities, entity_f1, exact_match, similarity
from nonet.metrics.text_edit import edit_distance

TEXT = st.text(alphabet="abcé ", max_size=14)


def table_distance(left: str, right: str) -> int:
    """Wagner and Fischer's table."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(TEXT, TEXT, st.one_of(st.none(), st.integers(0, 15)))
def test_edit_distance_equals_the_table_up_to_the_limit(left: str, right: str, most: int | None) -> None:
    truth = table_distance(left, right)
    assert edit_distance(left, right, most) == (truth if most is None else min(truth, most + 1))


def test_edit_distance_of_long_texts_and_by_hand() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    assert edit_distance("", "abc", 1) == 2
    left, right = "ab" * 200, "ba" * 200  # beyond a machine word
    assert edit_distance(left, right) == table_distance(left, right) == 2


def test_anls_by_hand() -> None:
    assert similarity("abd", ["abc"]) == pytest.approx(2 / 3)
    assert similarity("ab", ["ax"]) == 0  # NL is exactly .5
    assert similarity("ab", ["ax"], side="script") == 0.5  # where the published script keeps it
    assert similarity(" ABC ", ["abc"]) == 1
    assert similarity("x", ["yyyy", "xz", "x"]) == 1
    assert similarity("", [""]) == 1
    assert similarity("", ["a"]) == 0
    assert similarity("abcd", ["abcx", "abyx"]) == 0.75


def test_the_script_measures_lengths_before_it_joins_blanks() -> None:
    assert similarity("a  c", ["a bc"], side="script") == 0.75
    assert similarity("a   c", ["a bc"], side="script") == 0.8  # one edit, but five letters


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3), st.sampled_from([0.3, 0.5, 0.8]))
def test_anls_equals_its_formula(prediction: str, answers: list[str], threshold: float) -> None:
    best = 0.0
    for answer in answers:
        left, right = prediction.strip().lower(), answer.strip().lower()
        longer = max(len(left), len(right))
        distance = table_distance(left, right) / longer if longer else 0.0
        best = max(best, 1 - distance if distance < threshold else 0.0)
    assert similarity(prediction, answers, threshold) == pytest.approx(best, abs=1e-12)


def test_anls_of_questions_is_their_mean() -> None:
    answers = {"1": ["abc"], "2": ["ax", "ab"], "3": ["no"]}
    scores = anls({"1": "abd", "2": "ab", "9": "?"}, answers, missing="zero")
    assert scores.mean == pytest.approx((2 / 3 + 1) / 3)
    assert (scores.missing, scores.extra) == (1, 1)
    with pytest.raises(UserError, match="1 of 3 predictions are missing: 3"):
        anls({"1": "abd", "2": "ab"}, answers)
    with pytest.raises(UserError, match="no convention 'both'"):
        similarity("a", ["a"], side="both")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no answer to compare with"):
        similarity("a", [])


def test_exact_match_is_letter_by_letter() -> None:
    answers = {"1": ["Tom"], "2": ["a", "b"]}
    assert exact_match({"1": "tom", "2": " b"}, answers).mean == 0.5
    assert exact_match({"1": "tom", "2": " b"}, answers, lower=True).mean == 1


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["B-Q", "I-Q", "O", "B-A"], [("Q", 0, 2), ("A", 3, 4)]),
        (["I-Q", "I-A", "I-A"], [("Q", 0, 1), ("A", 1, 3)]),
        (["B-Q", "B-Q", "I-Q"], [("Q", 0, 1), ("Q", 1, 3)]),
        (["S-Q", "B-A", "I-A", "E-A", "I-A"], [("Q", 0, 1), ("A", 1, 4), ("A", 4, 5)]),
        (["O", "O"], []),
        ([], []),
    ],
)
def test_entities_of_tags(tags: list[str], found: list[tuple[str, int, int]]) -> None:
    assert entities(tags) == found


def test_entity_f1_counts_whole_entities_over_all_sequences() -> None:
    gold = [["B-Q", "I-Q", "O", "B-A"], ["B-A", "I-A"]]
    guess = [["B-Q", "I-Q", "O", "B-Q"], ["B-A", "O"]]  # 1 of 3 right: wrong kind, wrong end
    assert entity_f1(guess, gold) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 3, 3))
    assert entity_f1(gold, gold).f1 == 1
    assert entity_f1([["O"]], [["O"]]).f1 == 0
    with pytest.raises(UserError, match="sequence 0 has 1 predicted tags and 2 true ones"):
        entity_f1([["O"]], [["O", "O"]])
    with pytest.raises(UserError, match="tag 0 is 'X-Q'"):
        entities(["X-Q"])
