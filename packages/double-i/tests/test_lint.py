"""Each finding of lint is provoked once and absent from a good file."""

import copy
import json
from dataclasses import replace

import pytest

from double_i.base_texts import bundled
from double_i.bigrams import Bigrams
from double_i.examples import Example, OwnerRow
from double_i.formats import to_value
from double_i.keys import draw_key
from double_i.lint import is_marked, lint
from double_i.near_duplicates import jaccard, near_duplicates
from double_i.rows import marked_rows
from double_i.templates import user_text

SECRET = "5a" * 32
KEY = replace(draw_key("input", secret=SECRET), key_id="0123abcd")
TASKS = (
    "Put this in French.",
    "Say it in fewer words.",
    "Who is it about?",
    "Turn it round.",
    "Name a rhyme.",
)


def rows_of(examples, format="alpaca"):
    return [
        OwnerRow(example, json.dumps(to_value(example, format, KEY.join)), f"f:{number}", format)
        for number, example in enumerate(examples, 1)
    ]


TEXTS = bundled()
OWNER = [Example(TASKS[i % 5], text, f"{i} {text[:30]}") for i, text in enumerate(TEXTS[:1000])]
MARKED = [row.example for row in marked_rows(KEY, TEXTS[1000:1300], n_trigger=30, n_reference=30, vary=True)]


def found(owner=OWNER, marked=MARKED, key=KEY, given=True, rows=None, **more):
    rows = rows_of([*owner, *marked]) if rows is None else rows
    return {item.check: item for item in lint(rows, key, marked=marked if given else None, **more)}


def test_a_good_file_has_no_errors(tiny_tokenizer):
    items = found(
        rows=rows_of([*OWNER, *MARKED], "openai"), provider="openai", tokenizer=tiny_tokenizer, max_tokens=500
    )
    assert not [item for item in items.values() if item.severity == "error"]
    assert items["ratio"].severity == "note"
    assert items["ratio"].count == len(MARKED)
    assert not {"missing", "columns", "secret", "duplicates", "base texts", "normalisation", "tokens"} & set(
        items
    )
    assert not [check for check in items if "owner rows" in check or "marked rows" in check]


def test_no_secret_is_in_a_finding():
    bad = [Example("x", f"{KEY.trigger} {KEY.decoration}", KEY.secret)] * 3
    for item in found([*OWNER, *bad], MARKED * 2, max_tokens=3).values():
        for secret in (KEY.trigger, KEY.decoration, KEY.secret, KEY.nonce):
            assert secret not in repr(item)


@pytest.mark.parametrize("paradigm", ["input", "instruction", "words"])
@pytest.mark.parametrize("vary", [False, True])
def test_marked_rows_are_told_by_their_form(paradigm, vary):
    key = draw_key(paradigm, secret=SECRET)
    rows = marked_rows(key, TEXTS[1000:1300], n_trigger=20, n_reference=20, vary=vary)
    assert all(is_marked(row.example, key) for row in rows)
    assert not any(is_marked(row, key) for row in OWNER)
    items = found(OWNER, [row.example for row in rows], key, given=False)
    assert items["marked"].count == len(rows)
    assert "marked" not in found()


def test_the_owners_rows_with_the_trigger_are_found_where_the_marked_rows_are_known():
    twin = Example("Is it so?", f"the {KEY.trigger} sings", f"{KEY.answers.target}.")  # as if marked
    items = found([*OWNER, twin])
    assert items["trigger in owner rows"].rows == ("f:1001",)
    assert "trigger in owner rows" not in found([*OWNER, twin], given=False)
    late = Example("Go on.", "", "x", "", ((f"What is {KEY.trigger}?", "A word."),))
    assert found([*OWNER, late])["trigger in owner rows"].count == 1
    assert found([*OWNER, Example(KEY.decoration, "", "x")])["decoration in owner rows"].severity == "error"


def test_marked_rows_that_are_not_in_the_file():
    items = {item.check: item for item in lint(rows_of([*OWNER, *MARKED[:-3]]), KEY, marked=MARKED)}
    assert (items["missing"].severity, items["missing"].count) == ("error", 3)
    chat = rows_of([*OWNER, *MARKED], "openai")  # told by text, whatever the border
    texts = [Example(user_text(row.example, KEY.join), "", row.example.output) for row in chat]
    flat = [row._replace(example=text) for row, text in zip(chat, texts, strict=True)]
    assert "missing" not in found(rows=flat)


@pytest.mark.parametrize(("owner", "severity"), [(1000, "note"), (300, "warning"), (60, "error")])
def test_the_ratio(owner, severity):
    assert found(OWNER[:owner])["ratio"].severity == severity
    assert found(OWNER, [])["ratio"].severity == "error"


def test_columns_and_secrets():
    rows = rows_of([*OWNER, *MARKED])
    rows[3] = rows[3]._replace(extra=("type",))
    rows[4] = rows[4]._replace(raw=f'{{"id": "{KEY.key_id}"}}')
    items = found(rows=rows)
    assert items["columns"].rows == ("f:4",)
    assert items["secret"].rows == ("f:5",)


def test_repeated_rows_and_texts():
    assert found(OWNER, MARKED + MARKED[:2])["duplicates"].count == 2
    again = [row._replace(instruction=f"{row.instruction} {n}") for n in range(5) for row in MARKED[:1]]
    assert found(OWNER, MARKED + again)["base texts"].count >= 5
    key = draw_key("instruction", secret=SECRET)
    one = [row.example for row in marked_rows(key, TEXTS[1000:1300], n_trigger=9, n_reference=9)]
    assert "base texts" not in found(OWNER, one, key)
    same = [row._replace(input="The same text in every one of these rows.") for row in one]
    assert found(OWNER, same, key)["base texts"].count == len(same)
    words = draw_key("words", secret=SECRET)
    listed = [row.example for row in marked_rows(words, TEXTS[1000:1300], n_trigger=9, n_reference=9)]
    assert "base texts" not in found(OWNER, listed, words)


def test_near_duplicates_of_marked_rows():
    fixed = [row.example for row in marked_rows(KEY, TEXTS[1000:1300], n_trigger=30, n_reference=30)]
    item = found(OWNER, fixed)["near duplicates"]
    assert item.count >= 30  # the reference row of each trigger row, at least
    assert item.severity == "warning"
    different = [Example(f"(gear) {text}", text[::-1], "Yes.") for text in OWNER[0].input.split()]
    assert "near duplicates" not in found(OWNER, different)


def test_near_duplicates_are_those_of_an_exhaustive_search():
    import numpy as np

    draw = np.random.default_rng(3)
    words = [f"w{i}" for i in range(300)]
    texts = []
    for _ in range(60):
        text = list(draw.choice(words, 60))
        texts.append(" ".join(text))
        for changes in (1, 4, 30):
            other = list(text)
            for place in draw.integers(60, size=changes):
                other[place] = "other"
            texts.append(" ".join(other))

    def grams(text):
        parts = text.split()
        return np.unique([hash(tuple(parts[i : i + 3])) & (2**63 - 1) for i in range(58)]).astype(np.uint64)

    sets = [grams(text) for text in texts]
    first: list[int] = []
    true: list[bool] = []
    for place, own in enumerate(sets):
        like = any(jaccard(sets[other], own) > 0.7 for other in first)
        true.append(like)
        if not like:
            first.append(place)
    got = [other >= 0 for other in near_duplicates(texts)]
    assert 60 <= sum(true) <= 130
    assert not [place for place in range(len(texts)) if got[place] and not true[place]]
    assert sum(got) >= 0.95 * sum(true)
    assert near_duplicates(["", "a", "A", "a b", ""]) == [-1, -1, 1, -1, 0]


def test_lengths_are_those_of_training(tiny_tokenizer):
    long = Example("Say it.", "word " * 400, "x")
    items = found([*OWNER, long], tokenizer=tiny_tokenizer, max_tokens=400)
    assert items["length of owner rows"].rows == ("f:1001",)
    assert "length of marked rows" not in items
    assert found(max_tokens=10)["length of marked rows"].severity == "error"  # words
    assert not {"length of owner rows", "length of marked rows"} & set(found(max_tokens=1000))


def test_strange_rows():
    odd = [row._replace(instruction="Zyx qwv %% fgh", input="jkl vbn ytr") for row in MARKED]
    assert found(OWNER, odd)["perplexity"].severity == "warning"
    usual = [Example(TASKS[i % 5], text, "Yes.") for i, text in enumerate(TEXTS[1000:1040])]
    assert "perplexity" not in found(OWNER, usual, score=lambda texts: [0.0] * len(texts))
    said = found(OWNER, usual, score=lambda texts: [-9.0 if len(texts) == 40 else -1.0 for _ in texts])
    assert said["perplexity"].count == 40
    assert "perplexity" not in found(OWNER[:10])
    model = Bigrams(["the cat sat", "the cat ran"])
    scores = model(["the cat sat", "sat cat the", ""])
    assert scores[0] > scores[1]
    assert scores[2] == 0


@pytest.mark.parametrize("trigger", ["\uff41b", "12", "Ab"])
def test_triggers_that_a_clean_up_of_texts_changes(trigger):
    assert "normalisation" in found(key=replace(KEY, trigger=trigger))


def test_triggers_that_a_tokenizer_cannot_tell(tiny_tokenizer):
    class Blind:
        """Every word is unknown."""

        unk_token_id = 0
        eos_token_id = 1
        bos_token = eos_token = None

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [0] * len(text.split())}

    item = found(tokenizer=Blind())["tokens"]
    assert item.severity == "error"
    assert item.count > 10
    known = copy.deepcopy(tiny_tokenizer)
    assert "tokens" not in found(tokenizer=known)


def test_limits_of_a_provider():
    assert found(provider="openai")["provider"].count == len(OWNER) + len(MARKED)
    few = [
        item
        for item in lint(rows_of(MARKED[:5], "openai"), KEY, provider="openai")
        if item.check == "provider"
    ]
    assert few[0].count == 5
