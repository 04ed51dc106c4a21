"""Contrastive terms against a hand computation and plain Python; their sets against the law of drawing."""

import math
import pickle
from itertools import permutations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from nonet.data.shards import ShardWriter
from nonet.errors import UserError
from prop_ir.building import build_store
from prop_ir.contrastive_terms import KIND, ContrastiveTerms, contrastive_scores, fingerprint
from prop_ir.documents import Document
from prop_ir.language_model import language_model
from prop_ir.options import SamplerOptions, WordOptions
from prop_ir.word_sets import PairSampler

PLAIN = WordOptions(regex="[a-z0-9]+", stop_words="none")


def store_of(texts, folder):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    documents = (Document(f"D{i}", text, f"made-up:{i}") for i, text in enumerate(texts))
    return build_store(documents, backend, folder, words=PLAIN)[0]


def terms_of(store, weights, folder, **about):
    """Attention weights in shards: for each document word -> weight."""
    meta = {"kind": KIND, "store": fingerprint(store)} | about
    number = {name: t for t, name in enumerate(store.types)}
    with ShardWriter(folder, meta) as writer:
        for row in weights:
            types = np.array([number[word] for word in row], np.uint32)
            writer.append({"types": types, "weights": np.array(list(row.values()), np.float32)})
            writer.consumed()
    return ContrastiveTerms(folder)


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand")
    store = store_of(["x y y", "y z"], folder / "store")
    return store, terms_of(store, [{"x": 0.03, "y": 0.01}, {"y": 0.02, "z": 0.01}], folder / "terms")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """40 documents of 12 to 200 different words, with random attention."""
    folder, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    names = [f"t{i}" for i in range(400)]
    texts = [rng.choice(names, rng.integers(12, 200), replace=False).tolist() for _ in range(40)]
    weights = [dict(zip(text, rng.gamma(0.5, 0.01, len(text)) + 1e-6, strict=True)) for text in texts]
    texts += [["few", "words"]]
    weights += [{"few": 0.1, "words": 0.2}]
    store = store_of(map(" ".join, texts), folder / "store")
    return store, terms_of(store, weights, folder / "terms"), weights


def test_two_documents_by_hand(hand):
    store, terms = hand
    model = language_model(store, SamplerOptions(floor=1))
    random, sizes = terms.random(model, "ratio")
    assert sizes.tolist() == [2, 2]
    # v: x 0.75, y 0.5 in the first, y 2/3, z 0.5 in the second
    by_name = {store.types[t]: random[w] for t, w in enumerate(model.number)}
    assert by_name == pytest.approx(
        {"x": 0.75 / 2.41667, "y": 1.16667 / 2.41667, "z": 0.5 / 2.41667}, abs=1e-5
    )
    scores = contrastive_scores(np.array([0.03, 0.01]), np.array([by_name["x"], by_name["y"]]))
    assert [round(score, 4) for score in scores] == [1.0128, 0.4203]  # 0.6 log2(1 / 0.31034), 0.4 log2(...)
    difference = contrastive_scores(
        np.array([0.03, 0.01]), np.array([by_name["x"], by_name["y"]]), contrast="subtract"
    )
    assert difference == pytest.approx([0.6 - 0.31034, 0], abs=1e-5)


def test_saturations():
    a, random = np.array([0.04, 0.0225]), np.array([0.5, 0.5])
    roots = contrastive_scores(a, random, saturation="sqrt")
    assert roots == pytest.approx([0.2 / 0.35, 0.15 / 0.35])
    waves = [1 / (1 + math.exp(-200 * (x - 0.02))) for x in a]
    assert contrastive_scores(a, random, saturation="logistic") == pytest.approx(np.array(waves) / sum(waves))


def test_scores_end_at_100():
    assert contrastive_scores(np.array([1.0]), np.array([2.0**-200])).tolist() == [100.0]


def plain_scores(weights):
    """c of every document's words, by dictionaries."""
    v = [{word: a / (a + 0.01) for word, a in row.items()} for row in weights]
    total = sum(sum(row.values()) for row in v)
    random = {}
    for row in v:
        for word, x in row.items():
            random[word] = random.get(word, 0) + x / total
    return [
        {word: min(100, -x / sum(row.values()) * math.log2(random[word])) for word, x in row.items()}
        for row in v
    ]


def test_scores_of_sets_are_sums_of_their_words(many):
    store, terms, weights = many
    plain = plain_scores(weights)
    sampler = PairSampler(store, SamplerOptions("bprop"), seed=0, terms=terms)
    assert sampler.documents.tolist() == list(range(40))
    assert "1 of 41 documents are left out; none of them has 10 different words" in sampler.notices[0]
    batch = sampler.pairs(sampler.documents, 2, 6)
    assert len(batch) == 240
    for i, pair in enumerate(batch[i] for i in range(240)):
        assert pair.positive_score > pair.negative_score
        for side, score in ((pair.positive, pair.positive_score), (pair.negative, pair.negative_score)):
            words = [store.types[t] for t in side]
            assert len(set(words)) == len(words), "words are drawn without replacement"
            assert score == pytest.approx(sum(plain[i // 6][word] for word in words), rel=1e-5)


def test_at_temperature_one_the_law_is_all_but_uniform(many):
    weights = many[2]
    row = max(range(40), key=lambda row: len(weights[row]))
    law = np.exp(np.array(list(plain_scores(weights)[row].values())))
    law /= law.sum()
    perplexity = math.exp(-(law * np.log(law)).sum())
    assert perplexity > 0.995 * len(law)
    assert law.max() * len(law) < 1.3


@pytest.mark.parametrize(
    ("options", "power"),
    [({"temperature": 0.3}, lambda c: math.exp(c / 0.3)), ({"normalise": "linear"}, lambda c: c)],
)
def test_ordered_sets_follow_the_law_of_drawing_without_replacement(many, options, power):
    store, terms, weights = many
    row = min(range(40), key=lambda row: len(weights[row]))
    sampler = PairSampler(store, SamplerOptions("bprop", ties="second", **options), seed=0, terms=terms)
    batch = sampler.pairs(np.array([row]), 0, 60_000)
    chances = {word: power(c) for word, c in plain_scores(weights)[row].items()}
    total = sum(chances.values())
    chances = {word: chance / total for word, chance in chances.items()}
    seen: dict[tuple[str, ...], int] = {}
    for pair in (batch[i] for i in range(len(batch))):
        for side in (pair.positive, pair.negative):
            if len(side) == 2:
                drawn = tuple(store.types[t] for t in side)
                seen[drawn] = seen.get(drawn, 0) + 1
    count = sum(seen.values())
    law = {(a, b): chances[a] * chances[b] / (1 - chances[a]) for a, b in permutations(chances, 2)}
    assert sum(law.values()) == pytest.approx(1)
    usual = {key: p * count for key, p in law.items() if p * count > 5}
    statistic = sum((seen.get(key, 0) - mean) ** 2 / mean for key, mean in usual.items())
    assert len(usual) > 20
    assert abs(statistic - len(usual)) < 4 * math.sqrt(2 * len(usual))


def test_sets_longer_than_the_document_repeat_words(many):
    store, terms, _ = many
    sampler = PairSampler(store, SamplerOptions("bprop", mean_length=300), seed=0, terms=terms)
    batch = sampler.pairs(sampler.documents, 0, 1)
    lengths = np.diff(batch.offsets)
    assert lengths.min() > 200
    assert len(set(batch[0].positive.tolist())) < len(batch[0].positive)


def test_words_without_a_score_are_drawn_last(many):
    """Subtracted and normalised linearly, many words weigh nothing; a longer set takes all that do first."""
    store, terms, weights = many
    options = SamplerOptions("bprop", contrast="subtract", normalise="linear", mean_length=10)
    sampler = PairSampler(store, options, seed=0, terms=terms)
    batch = sampler.pairs(sampler.documents, 0, 3)
    scores = []
    for i, pair in enumerate(batch[i] for i in range(len(batch))):
        if len(pair.positive) < len(weights[i // 3]):
            assert len(set(pair.positive.tolist())) == len(pair.positive)
            scores.append(pair.negative_score)
    assert len(scores) > 100
    assert np.isfinite(batch.positive_score).all()


def test_stems_sum_their_forms_and_are_written_as_forms(tmp_path):
    words = [f"n{i}" for i in range(12)]
    store = store_of([" ".join(["plays playing", *words]), " ".join(["playing", *words])], tmp_path / "s")
    small = dict.fromkeys(words, 0.001)
    terms = terms_of(
        store, [{"plays": 0.02, "playing": 0.01} | small, {"playing": 0.03} | small], tmp_path / "t"
    )
    options = SamplerOptions("bprop", stem=True, temperature=0.05)
    sampler = PairSampler(store, options, seed=0, terms=terms)
    assert len(sampler.random) == 13
    batch = sampler.pairs(np.array([0, 1]), 0, 200)
    forms = {store.types[t] for t in np.concatenate([batch.positive, batch.negative])}
    assert {"plays", "playing"} < forms
    equal = PairSampler(store, options, seed=0, terms=terms).pairs(np.array([0, 1]), 0, 200)
    assert np.array_equal(batch.positive, equal.positive)


def test_pairs_are_the_same_one_by_one_and_from_a_pickle(many):
    store, terms, _ = many
    first = PairSampler(store, SamplerOptions("bprop", temperature=0.1), seed=4, terms=terms)
    again = pickle.loads(pickle.dumps(first))
    rows = np.array([5, 3, 8])
    batch = first.pairs(rows, 1, 3)
    for i in range(9):
        other = again.pair(int(rows[i // 3]), 1, i % 3)
        assert all(np.array_equal(a, b) for a, b in zip(batch[i], other, strict=True))


def test_weights_of_another_store_are_refused(hand, many, tmp_path):
    with pytest.raises(
        UserError, match=r"terms: weights of another store than .*store; run bprop-attn on it"
    ):
        PairSampler(many[0], SamplerOptions("bprop"), seed=0, terms=hand[1])


def test_documents_with_few_words_are_all_refused(hand):
    with pytest.raises(UserError, match=r"none of 2 documents has 10 different words with attention"):
        PairSampler(hand[0], SamplerOptions("bprop"), seed=0, terms=hand[1])


def test_other_shards_are_refused(tmp_path):
    with ShardWriter(tmp_path / "other", {"kind": "photographs"}) as writer:
        writer.append({"types": np.zeros(1, np.uint32)})
        writer.consumed()
    with pytest.raises(UserError, match=r"other: no attention weights; make them with prop-ir bprop-attn"):
        ContrastiveTerms(tmp_path / "other")
