"""Language models against hand computation and plain counting."""

import math
import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from nonet.errors import UserError
from prop_ir.alias import alias_draw, alias_table
from prop_ir.language_model import language_model
from prop_ir.options import SamplerOptions


class Documents(SimpleNamespace):
    """The counts and words of a store, from lists of words."""

    def __init__(self, texts):
        texts = [text.split() if isinstance(text, str) else text for text in texts]
        types = list(dict.fromkeys(word for text in texts for word in text))
        number = {word: i for i, word in enumerate(types)}
        self.texts, self.types, self.folder = texts, types, "store"
        self.rows = [np.array([number[word] for word in text], np.uint32) for text in texts]
        self.ctf = np.bincount(np.concatenate(self.rows), minlength=len(types))
        self.df = np.array([sum(word in text for text in texts) for word in types])
        self.word_counts = np.array([len(text) for text in texts])

    def __len__(self):
        return len(self.texts)

    def words(self, row):
        return self.rows[row]

    def gather(self, name, rows):
        found = [self.rows[row] for row in rows]
        return np.concatenate(found), np.cumsum([0, *map(len, found)])


HAND = Documents(["a a b", "b c"])
ALL = SamplerOptions(floor=1, keep=0)


def by_name(store, model, values):
    """Values of the vocabulary by word, or by the words of a stem."""
    return {store.types[t]: values[w] for t, w in enumerate(model.number) if w < len(values)}


def zipf(rng, documents=60, types=300, least=5, most=120):
    chances = 1 / np.arange(1, types + 1)
    names = [f"w{i}" for i in range(types)]
    return Documents(
        rng.choice(names, rng.integers(least, most), p=chances / chances.sum()).tolist()
        for _ in range(documents)
    )


def test_the_worked_example():
    model = language_model(HAND, ALL)
    assert model.mu == 2.5
    first = by_name(HAND, model, model.probabilities(HAND.words(0)))
    assert {word: round(p, 6) for word, p in first.items()} == {"a": 0.477273, "b": 0.409091, "c": 0.113636}


def test_background_of_occurrences():
    model = language_model(HAND, SamplerOptions(floor=1, keep=0, background="ctf"))
    second = by_name(HAND, model, model.probabilities(HAND.words(1)))
    assert second == pytest.approx({"a": 2.5 * 0.4 / 4.5, "b": (1 + 2.5 * 0.4) / 4.5, "c": (1 + 0.5) / 4.5})


def test_probabilities_add_up_to_one_where_every_word_is_kept():
    store = zipf(np.random.default_rng(0))
    model = language_model(store, ALL)
    sums = [model.probabilities(store.words(row)).sum() for row in range(len(store))]
    assert sums == pytest.approx([1] * len(store))


def test_rare_words_take_their_part_of_the_length_and_leave_less_than_one():
    store = zipf(np.random.default_rng(0))
    model = language_model(store, SamplerOptions(floor=20, keep=0))
    kept = {word for word, n in zip(store.types, store.ctf, strict=True) if n >= 20}
    assert set(by_name(store, model, model.mass)) == kept
    for row, text in enumerate(store.texts):
        inside = sum(word in kept for word in text)
        left = (inside + model.mu) / (len(text) + model.mu)
        assert model.probabilities(store.words(row)).sum() == pytest.approx(left)
        assert model.subsampled(store.words(row)).sum() == pytest.approx(1)


def test_probabilities_are_those_of_plain_counting():
    store = zipf(np.random.default_rng(1))
    model = language_model(store, SamplerOptions(floor=10, keep=1e-3))
    df = Counter(word for text in store.texts for word in set(text))
    ctf = Counter(word for text in store.texts for word in text)
    kept = [word for word in ctf if ctf[word] >= 10]
    mean, total = sum(map(len, store.texts)) / len(store), sum(ctf.values())
    background = {word: df[word] / sum(df[w] for w in kept) for word in kept}
    for row in (0, 7, 59):
        tf = Counter(store.texts[row])
        plain = {w: (tf[w] + mean * background[w]) / (len(store.texts[row]) + mean) for w in kept}
        assert by_name(store, model, model.probabilities(store.words(row))) == pytest.approx(plain, rel=1e-12)
    f = {word: ctf[word] / total for word in kept}
    keep = {word: min(1, math.sqrt(1e-3 / f[word]) + 1e-3 / f[word]) for word in kept}
    assert by_name(store, model, model.keep) == pytest.approx(keep)


def test_words_are_numbered_by_frequency():
    store = zipf(np.random.default_rng(2))
    model = language_model(store, SamplerOptions(floor=3))
    assert (np.diff(store.ctf[model.forms]) <= 0).all()


def test_stems_count_all_their_forms_and_are_written_by_the_logarithm_of_counts():
    store = Documents(["plays playing played dog", "played playing plays plays", "dogs cat played", "cat"])
    model = language_model(store, SamplerOptions(floor=1, keep=0, stem=True))
    names = by_name(store, model, np.arange(len(model.mass)))
    assert len(set(names.values())) == 3
    play = names["plays"]
    assert play == names["playing"] == names["played"]
    df = {"plays": 3, "dog": 2, "cat": 2}  # documents with any form
    background = {word: model.mass[names[word]] / model.mu for word in df}
    assert background == pytest.approx({word: n / 7 for word, n in df.items()})
    first, last = model.form_offsets[play : play + 2]
    forms = {store.types[t] for t in model.forms[first:last]}
    assert forms == {"plays", "playing", "played"}
    weights = dict(
        zip(
            (store.types[t] for t in model.forms[first:last]),
            np.diff(model.form_reach[first:last], prepend=0), strict=True,
        )
    )  # fmt: skip
    assert weights == pytest.approx({"plays": math.log(4), "playing": math.log(3), "played": math.log(4)})


def test_no_word_above_the_floor_is_refused():
    with pytest.raises(UserError, match=r"store: no word occurs 10 times in these 2 documents with 5 words"):
        language_model(HAND, SamplerOptions(floor=10))


def test_a_model_survives_pickling():
    model = language_model(HAND, ALL)
    again = pickle.loads(pickle.dumps(model))
    assert all(np.array_equal(a, b) for a, b in zip(model, again, strict=True))


# ------------------------------------------------------------------------------------------------ alias table


def shares(table):
    """The law that a table draws by, in full."""
    own = (table >> np.uint64(32)).astype(np.float64) / 2**32
    law = own.copy()
    np.add.at(law, (table & np.uint64(0xFFFFFFFF)).astype(np.int64), 1 - own)
    return law / len(table)


@pytest.mark.parametrize("weights", [[1], [3, 1], [0, 5, 0, 0], [1e-9, 1, 1e6], 1 / np.arange(1, 5000)])
def test_an_alias_table_has_the_weights_shares(weights):
    weights = np.array(weights, float)
    assert shares(alias_table(weights)) == pytest.approx(weights / weights.sum(), abs=1e-9, rel=1e-5)


def test_every_part_of_the_unit_interval_goes_where_the_table_says():
    weights = np.array([5.0, 1.0, 0.0, 2.0])
    table = alias_table(weights)
    draws = [alias_draw(table, u) for u in (np.arange(80_000) + 0.5) / 80_000]
    assert np.bincount(draws, minlength=4).tolist() == [50_000, 10_000, 0, 20_000]
    assert alias_draw(table, 1.0) in (0, 1, 3)


@pytest.mark.parametrize("weights", [[], [[1.0]]])
def test_weights_without_a_first_one_are_refused(weights):
    with pytest.raises(ValueError, match="one dimension"):
        alias_table(weights)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, np.inf], [1.0, np.nan]])
def test_weights_that_are_no_weights_are_refused(weights):
    with pytest.raises(ValueError, match="not negative"):
        alias_table(weights)
