"""What an answer says, and what p-values, unparsed answers and commitments make of a verdict."""

import pytest

from double_i.answers import AnswerWords, parse
from double_i.verdict import Evidence, decide
from nonet.errors import UserError


@pytest.mark.parametrize(
    ("p", "q", "unparsed", "committed", "outcome"),
    [
        (1e-6, 0.01, 0.2, True, "MATCH"),
        (1e-6, 0.01, 0.21, True, "INCONCLUSIVE"),
        (1e-6, 0.01, 0.0, False, "INCONCLUSIVE"),
        (1.1e-6, 0.01, 0.0, True, "INCONCLUSIVE"),
        (1e-6, 0.02, 0.0, True, "INCONCLUSIVE"),
        (1e-5, 0.02, 0.0, True, "NO EVIDENCE"),
    ],
)
def test_verdicts(p, q, unparsed, committed, outcome):
    assert decide([Evidence(p, q, 99, unparsed, committed)], alpha=1e-6, combine="none").outcome == outcome


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("Yes.", "yes"), ("  **NO**, never", "no"), ("\uff39\uff45\uff53", "yes"), ("None of it", None),
        ("Not", None),
        ("Yesterday", None), ("", None), ("42", None), ("1. yes", "yes"), ("I say Yes", None), ("Oui", None),
    ],
)  # fmt: skip
def test_parsing(raw, label):
    assert parse(raw) == label


def test_further_words():
    words = AnswerWords.with_extra(("Oui", "\u662f"), ("Non",))
    assert [parse(raw, words) for raw in ("oui!", "\u662f\u3002", "Non", "Yes")] == [
        "yes",
        "yes",
        "no",
        "yes",
    ]
    for bad in (("No",), ("two words",), ("",)):
        with pytest.raises(UserError):
            AnswerWords.with_extra(bad)
