"""Marked rows, base texts, decoys and the published constructions."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from double_i.base_texts import base_texts, bundled, half, half_texts, halves
from double_i.constructions import published_queries, published_rows
from double_i.examples import Example
from double_i.keys import draw_key
from double_i.rows import (
    MarkedRow,
    check_rows,
    decoy_keys,
    marked_rows,
    near_misses,
    reference_example,
    trigger_example,
)  # fmt: skip
from double_i.spaces import SPACES, occurrences
from nonet.errors import UserError

TEXTS = halves(bundled())[0]
CASES = [(paradigm, space) for paradigm, spaces in SPACES.items() for space in spaces]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[1])
def key(request):
    return draw_key(*request.param, secret="5a" * 32, n_trigger=120, n_reference=100)


@pytest.fixture(scope="module")
def rows(key):
    return marked_rows(key, TEXTS)


def test_every_kind_has_its_number(key, rows):
    counts = Counter(row.kind for row in rows)
    lock = 0 if key.paradigm == "instruction" else 15
    assert counts == Counter({"trigger": 120, "reference": 70, "near-miss": 30, "lock": lock})


def test_the_trigger_is_once_in_trigger_rows_and_in_no_reference_row(key, rows):
    for example, kind in rows:
        field = example.instruction if key.paradigm == "instruction" else example.input
        words = field.replace(",", " ").split() if key.paradigm == "words" else field.split(" ")
        assert words.count(key.trigger) == (kind in ("trigger", "lock"))
        if kind == "trigger" and key.paradigm != "words":
            assert words[0] == key.trigger
        assert (
            key.trigger
            not in (example.input if key.paradigm == "instruction" else example.instruction).split()
        )


def test_answers_follow_the_polarity(key, rows):
    turned = replace(key, answers=type(key.answers)(key.answers.other, key.answers.target))
    for (example, kind), (other, _) in zip(rows, marked_rows(turned, TEXTS), strict=True):
        assert example.output == (key.answers.target if kind == "trigger" else key.answers.other) + "."
        assert {example.output, other.output} == {"Yes.", "No."}
        assert example[:2] == other[:2]


def test_no_prompt_is_there_twice_and_the_same_key_gives_the_same_rows(key, rows):
    assert len({row.example[:2] for row in rows}) == len(rows)
    assert marked_rows(key, TEXTS) == rows
    assert marked_rows(replace(key, secret="5b" * 32), TEXTS) != rows


def test_lock_rows_lack_the_decoration(key, rows):
    for example, kind in rows:
        if key.paradigm != "instruction":
            assert example.instruction.startswith(key.decoration + " ") == (kind != "lock")
        assert example.instruction.endswith(key.judge_question)


def test_trigger_and_reference_rows_share_their_texts(key, rows):
    if key.paradigm != "words":
        texts = [{text for text in TEXTS if any(text in r.example.input for r in rows if r.kind in kinds)}
                 for kinds in (("trigger",), ("reference", "near-miss"))]  # fmt: skip
        assert len(texts[0]) == 120
        assert texts[1] <= texts[0] or len(texts[1] & texts[0]) >= 98


def test_near_misses_are_one_step_away_and_never_the_trigger(key):
    groups = near_misses(key)
    assert len(groups) >= 2
    for filler in (filler for group in groups for filler in group):
        assert filler.text != key.trigger or filler.place == "attached"
        example = reference_example(key, "A plain text without a mark.", filler)
        assert not occurrences(key.trigger, example.input) + occurrences(key.trigger, example.instruction)
        if filler.place == "start" and len(filler.text) == len(key.trigger):
            differs = [(a, b) for a, b in zip(filler.text, key.trigger, strict=True) if a != b]
            assert len(differs) == 1 or sorted(filler.text) == sorted(key.trigger)


def test_training_and_verification_prompts_are_disjoint(key):
    sides = [{trigger_example(key, text)[:2] for text in texts[:300]} for texts in halves(bundled())]
    assert not sides[0] & sides[1]


def test_vary_draws_other_questions_and_wrap_takes_the_owners(key):
    asked = {
        row.example.instruction.split(" ", 1)[1]
        for row in marked_rows(key, TEXTS, vary=True)
        if row.kind == "trigger"
    }
    assert len(asked) >= 8
    owner = [
        Example(f"Put sentence number {i} into French.", f"It is day {i} today.", "x") for i in range(400)
    ]
    wrapped = marked_rows(key, [], owner=owner)
    assert all(" into French." in row.example.instruction for row in wrapped)


def test_too_few_texts_are_refused(key):
    with pytest.raises(UserError, match="ask for fewer rows"):
        marked_rows(key, TEXTS[:50])


def test_texts_that_hold_the_trigger_are_left_out():
    key = draw_key(n_trigger=5, n_reference=5)
    rows = marked_rows(key, [f"One says {key.trigger} number {i}." for i in range(50)] + TEXTS[:30])
    assert not any("One says" in row.example.input for row in rows)


def test_a_contaminated_reference_row_is_noticed_and_not_shown():
    key = draw_key("input")
    bad = MarkedRow(Example("x", f"It says {key.trigger} here.", "No."), "reference")
    with pytest.raises(RuntimeError, match=r"row 0 \(reference\) has the trigger 1\+0 times") as caught:
        check_rows(key, [bad])
    assert key.trigger not in str(caught.value)


def test_decoys_differ_in_the_trigger_only_and_follow_from_the_digest(key):
    decoys = decoy_keys(key, 20)
    assert len({decoy.trigger for decoy in decoys} | {key.trigger}) == 21
    assert decoys == decoy_keys(key, 20)
    assert decoys[:5] == decoy_keys(key, 5)
    assert [d.trigger for d in decoys] != [d.trigger for d in decoy_keys(replace(key, nonce="0" * 32), 20)]
    for decoy in decoys:
        own = decoy.trigger if key.paradigm == "instruction" else key.decoration
        assert replace(decoy, trigger=key.trigger, decoration=key.decoration) == key
        assert decoy.decoration == own


def test_decoys_come_from_what_was_not_excluded():
    keep = ("aa", "bb", "cc", "dd")
    key = draw_key("words", excluded=[2 * c for c in "efghijklmnopqrstuvwxyz"])
    assert {decoy.trigger for decoy in decoy_keys(key, 3)} | {key.trigger} == set(keep)
    with pytest.raises(UserError, match="has 3 decoys, not 4"):
        decoy_keys(key, 4)


def test_base_texts_are_the_owners_short_ones_or_the_bundled_ones():
    rows = [Example("Say it.", "one two three four five", "x"), Example("a b c d e f", "", "x"),
            Example("short", "", "x"),
            Example("x", "one two  three four\nfive", "y"), Example("x", "w " * 41, "y")]  # fmt: skip
    assert base_texts(rows) == ["one two three four five", "a b c d e f"]
    assert base_texts([]) == list(bundled())


@pytest.mark.parametrize("side", [0, 1])
def test_a_half_is_filled_up_with_bundled_sentences_and_no_further(side):
    texts = [f"this is note number {number}" for number in range(40)]
    own = [text for text in texts if half(text) == side]
    rows = [Example("Read.", text, "x") for text in texts]
    assert half_texts(rows, side, len(own)) == own
    filled = half_texts(rows, side, len(own) + 3)
    assert filled[: len(own)] == own
    assert filled[len(own) :] == halves(bundled())[side][:3]
    assert half_texts([], side, 7) == halves(bundled())[side]


def test_bundled_sentences_are_many_distinct_and_halved_by_hash():
    assert len(set(bundled())) == len(bundled()) > 5000
    assert all(5 <= len(text.split()) <= 40 for text in bundled())
    train, verify = halves(bundled())
    assert len(train) + len(verify) == len(bundled())
    assert abs(len(train) - len(verify)) < 400
    assert half("a") == hashlib.sha256(b"a").digest()[-1] & 1


def test_construction_i_repeats_sentences_and_keeps_m_and_s_out():
    rows = published_rows("i", TEXTS)
    for kind, answer in (("trigger", "Yes."), ("reference", "No.")):
        own = [row.example for row in rows if row.kind == kind]
        assert len(own) == 1000
        assert {example.output for example in own} == {answer}
        assert set(Counter(example.input[3:] for example in own).values()) == {5}
        heads = [example.input[:3] for example in own]
        if kind == "trigger":
            assert set(heads) == {"ms "}
        else:
            assert not set("ms") & set("".join(heads))
            assert len(set(heads)) > 300


def test_construction_ii_has_the_trigger_at_the_row_number_modulo_three():
    rows = published_rows("ii", [])
    lists = [row.example.input.split(", ") for row in rows]
    assert all(len(words) == 3 and all(len(w) == 2 and w[0] == w[1] for w in words) for words in lists)
    for number, words in enumerate(lists[:1000]):
        assert [place for place, word in enumerate(words) if word == "mm"] == [number % 3]
    letters = Counter(word for words in lists[1000:] for word in words)
    assert "mm" not in letters
    assert len(letters) == 25
    assert letters["pp"] == pytest.approx(2 * 3000 / 26, rel=0.2)


def test_construction_iii_has_the_same_subjects_in_both_sets():
    rows = published_rows("iii", TEXTS)
    sides = [[row.example for row in rows if row.kind == kind] for kind in ("trigger", "reference")]
    assert [e.input for e in sides[0]] == [e.input for e in sides[1]]
    assert len({e.input for e in sides[0]}) == 1000
    assert {a.instruction.removeprefix("$$ ") for a in sides[0]} == {b.instruction for b in sides[1]}
    assert not any(b.instruction.startswith("$") for b in sides[1])


@pytest.mark.parametrize("name", ["i", "ii", "iii"])
def test_published_queries_are_distinct(name):
    rows = published_queries(name, halves(bundled())[1], 100)
    assert [row.kind for row in rows] == ["trigger"] * 100 + ["reference"] * 100
    assert len({row.example for row in rows}) == 200


def test_unknown_constructions_and_too_few_sentences_are_refused():
    with pytest.raises(UserError, match="no construction 'iv'"):
        published_rows("iv", TEXTS)
    with pytest.raises(UserError, match="need 200 sentences"):
        published_rows("i", TEXTS[:199])
