"""Word sets against dense distributions, a plain restatement of the released code, and raw counts."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import prop_ir.word_sets
from nonet.data.draws import uniform
from nonet.errors import UserError
from nonet.testing import data_folder
from prop_ir.alias import alias_draw
from prop_ir.building import build_store
from prop_ir.documents import Document
from prop_ir.options import SamplerOptions, WordOptions
from prop_ir.pairs import CANDIDATE
from prop_ir.word_sets import PairSampler

FORMS = "plays playing played plays plays".split()
PLAIN = WordOptions(regex="[a-z0-9]+", stop_words="none")


def store_of(texts, folder):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "w0": 1, "w1": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    documents = (Document(f"D{i}", text, f"made-up:{i}") for i, text in enumerate(texts))
    return build_store(documents, backend, folder, words=PLAIN)[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """60 documents of 300 words by Zipf's law, and one of 650 different words."""
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 2001)
    chances /= chances.sum()
    texts = [" ".join(f"w{w}" for w in rng.choice(2000, 300, p=chances)) for _ in range(60)]
    texts.append(" ".join(f"w{w}" for w in range(650)))
    return store_of(texts, tmp_path_factory.mktemp("zipf") / "store")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Documents so short that ties are common; the last has one word."""
    texts = ["a b", "a a b c", "b c d e e", "a " + " ".join(FORMS), "e"]
    return store_of(texts * 3, tmp_path_factory.mktemp("small") / "store")


def plain_model(store, floor, t):
    """Raw counts to a model, by dictionaries: tf of each document, |D|, mu, p_C, keep."""
    documents = [[store.types[t] for t in store.words(row)] for row in range(len(store))]
    ctf = Counter(word for words in documents for word in words)
    df = Counter(word for words in documents for word in set(words))
    kept = [word for word in ctf if ctf[word] >= floor]
    total, whole = sum(df[word] for word in kept), sum(ctf.values())
    background = {word: df[word] / total for word in kept}
    keep = {w: min(1, math.sqrt(t * whole / ctf[w]) + t * whole / ctf[w]) if t else 1 for w in kept}
    return documents, whole / len(documents), background, keep


def drawn_words(store, row, options, pairs=160_000):
    """How often each type is drawn for one document; with ties kept, as dropping them changes the law."""
    sampler = PairSampler(store, options, seed=3)
    batch = sampler.pairs(np.array([row]), 0, pairs)
    return np.bincount(np.concatenate([batch.positive, batch.negative]), minlength=len(store.types))


def chi_square(seen, law):
    """The statistic in units of its standard deviation; rare outcomes count as one."""
    expected = law * seen.sum()
    rare = expected < 5
    seen = np.append(seen[~rare], seen[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    seen, expected = seen[expected > 0], expected[expected > 0]
    freedom = len(seen) - 1
    return (((seen - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


# ---------------------------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("keep", [0, 1e-3])
@pytest.mark.parametrize("row", [4, 60])
def test_a_million_exact_draws_follow_the_subsampled_model(store, row, keep):
    documents, mu, background, kept = plain_model(store, 5, keep)
    tf = Counter(documents[row])
    law = np.array([
        (tf[w] + mu * background[w]) * kept[w] if w in background else 0 for w in store.types
    ])  # fmt: skip
    seen = drawn_words(store, row, SamplerOptions(floor=5, keep=keep, ties="second"))
    assert seen.sum() > 1_000_000
    assert seen[law == 0].sum() == 0
    assert abs(chi_square(seen, law / law.sum())) < 4


def test_the_mixture_is_numpys_choice_from_the_dense_distribution(store):
    documents, mu, background, keep = plain_model(store, 5, 1e-3)
    tf = Counter(documents[9])
    dense = np.array([(tf[w] + mu * background.get(w, 0)) * keep.get(w, 0) for w in store.types])
    theirs = np.random.default_rng(5).choice(len(dense), 500_000, p=dense / dense.sum())
    theirs = np.bincount(theirs, minlength=len(dense))
    ours = drawn_words(store, 9, SamplerOptions(floor=5, keep=1e-3, ties="second"), 80_000)
    both = theirs + ours  # two samples of one law: given both, ours is a share of the sum
    difference = np.where(both > 20, (ours * theirs.sum() - theirs * ours.sum()) ** 2, 0)
    statistic = (difference / np.maximum(both, 1)).sum() / theirs.sum() / ours.sum()
    freedom = (both > 20).sum() - 1
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


def test_dropping_rejected_words_and_drawing_on_gives_the_same_law(store):
    """Subsampling as word2vec and the released code do it: draw, and keep or draw again."""
    documents, mu, background, keep = plain_model(store, 5, 1e-3)
    tf, rng = Counter(documents[9]), np.random.default_rng(6)
    words = list(background)
    law = np.array([tf[w] + mu * background[w] for w in words])
    draws = rng.choice(len(words), 400_000, p=law / law.sum())
    stays = rng.random(len(draws)) < np.array([keep[w] for w in words])[draws]
    inside = np.array([tf[w] > 0 for w in words])[draws[stays]]
    sampler = PairSampler(store, SamplerOptions(floor=5, keep=1e-3), seed=0)
    tally = sampler.pairs(np.array([9]), 0, 60_000).tally
    assert tally.inside / tally.words == pytest.approx(inside.mean(), abs=0.005)
    assert tally.kept == pytest.approx(stays.mean(), abs=0.005)


def restated(documents, row, mu, background, keep, rng):
    """One word as the released code draws it (section 2.2 of its description), by lists and dictionaries."""
    tf, size = Counter(documents[row]), len(documents[row])
    own = [word for word in tf if word in background]
    more = 500 - len(own) if len(own) < 500 else len(own) + 100
    names, chances = np.array(list(background)), np.array(list(background.values()))
    others = rng.choice(names, more, p=chances).tolist()
    candidates = own + [word for word in dict.fromkeys(others) if word not in tf]
    law = np.array([(tf[word] + mu * background[word]) / (size + mu) for word in candidates])
    while True:
        word = candidates[rng.choice(len(candidates), p=law / law.sum())]
        if rng.random() < keep[word]:
            return word


@pytest.mark.parametrize("row", [2, 60])
def test_topk500_is_the_released_codes_sampler(store, row):
    """The first word of many epochs: each has candidates of its own."""
    documents, mu, background, keep = plain_model(store, 2, 1e-3)
    rng, times = np.random.default_rng(7), 1000
    theirs = [restated(documents, row, mu, background, keep, rng) for _ in range(times)]
    sampler = PairSampler(store, SamplerOptions("topk500", floor=2, keep=1e-3, ties="second"), seed=1)
    pairs = [sampler.pair(row, epoch, 0) for epoch in range(times)]
    # either set is the better one: take the one that a coin says
    ours = [store.types[(p.positive if uniform(0, e, 0, 0, 0) < 0.5 else p.negative)[0]]
            for e, p in enumerate(pairs)]  # fmt: skip
    here = set(documents[row])
    shares = [np.mean([word in here for word in words]) for words in (ours, theirs)]
    spread = math.sqrt(sum(p * (1 - p) / times for p in shares))
    assert abs(shares[0] - shares[1]) < 4 * spread
    exact = PairSampler(store, SamplerOptions(floor=2, keep=1e-3), seed=1)
    exact = exact.pairs(np.array([row]), 0, 3000).tally
    assert shares[0] > exact.inside / exact.words + (0.1 if row == 2 else 0.02)
    band = {w: k * 10 // len(background) for k, w in enumerate(sorted(background, key=background.get))}
    seen = [np.bincount([band[word] for word in words], minlength=10) for words in (ours, theirs)]
    both = np.maximum(seen[0] + seen[1], 1)
    assert ((seen[0] - seen[1]) ** 2 / both).sum() < 10 + 4 * math.sqrt(20)


@pytest.mark.parametrize("row", [2, 60])
def test_topk500_draws_from_document_and_candidates_by_their_probability(store, row):
    documents, mu, background, keep = plain_model(store, 2, 1e-3)
    options = SamplerOptions("topk500", floor=2, keep=1e-3, ties="second")
    model = PairSampler(store, options, seed=3).model
    tf = Counter(documents[row])
    own = {word for word in tf if word in background}
    more = 500 - len(own) if len(own) < 500 else len(own) + 100
    drawn = [alias_draw(model.table, uniform(3, 0, row, CANDIDATE, k)) for k in range(more)]
    candidates = own | {store.types[model.forms[w]] for w in drawn}
    law = np.array([
        (tf[w] + mu * background[w]) * keep[w] if w in candidates else 0 for w in store.types
    ])  # fmt: skip
    seen = drawn_words(store, row, options)
    assert abs(chi_square(seen, law / law.sum())) < 4


def test_uniform_takes_each_different_word_of_the_document_alike(store):
    seen = drawn_words(store, 0, SamplerOptions("uniform", floor=2, ties="second"), 50_000)
    kept = np.isin(np.arange(len(seen)), store.words(0)) & (store.ctf >= 2)
    assert abs(chi_square(seen, kept / kept.sum())) < 4


def test_a_stem_is_written_as_its_forms_by_the_logarithm_of_their_counts(small):
    seen = drawn_words(small, 3, SamplerOptions(floor=1, keep=0, stem=True, ties="second"), 30_000)
    counts = {form: 3 * FORMS.count(form) for form in set(FORMS)}
    seen = np.array([seen[small.types.index(form)] for form in counts])
    weights = np.array([math.log(count + 1) for count in counts.values()])
    assert abs(chi_square(seen, weights / weights.sum())) < 4


# -------------------------------------------------------------------------------------------- lengths, scores


def test_lengths_are_poisson_without_the_zero(store):
    sampler = PairSampler(store, SamplerOptions(floor=2), seed=0)
    batch = sampler.pairs(sampler.documents, 0, 4000)
    lengths = np.diff(batch.offsets)
    assert lengths.min() == 1
    assert lengths.mean() == pytest.approx(3 / (1 - math.exp(-3)), abs=0.02)
    assert round(3 / (1 - math.exp(-3)), 5) == 3.15719
    law = np.array([math.exp(-3) * 3**k / math.factorial(k) for k in range(1, 30)]) / (1 - math.exp(-3))
    assert round(law[0], 3) == 0.157
    assert abs(chi_square(np.bincount(lengths, minlength=30)[1:30], law)) < 4


@pytest.mark.parametrize("sampler", ["exact", "topk500", "uniform"])
@pytest.mark.parametrize("background", ["df", "ctf"])
def test_scores_are_likelihoods_by_raw_counts(store, sampler, background):
    options = SamplerOptions(sampler, background=background, floor=4, keep=1e-3)
    pairs = PairSampler(store, options, seed=2)
    documents, mu, p, _ = plain_model(store, 4, 1e-3)
    if background == "ctf":
        ctf = Counter(word for words in documents for word in words)
        p = {word: ctf[word] / sum(ctf[w] for w in p) for word in p}
    batch = pairs.pairs(pairs.documents, 1, 10)
    assert len(batch) == 10 * len(pairs.documents) == batch.tally.pairs
    inside = 0
    for i, pair in enumerate(batch[i] for i in range(len(batch))):
        words = documents[pairs.documents[i // 10]]
        tf = Counter(words)
        assert len(pair.positive) == len(pair.negative) >= 1
        assert pair.positive_score > pair.negative_score
        for side, score in ((pair.positive, pair.positive_score), (pair.negative, pair.negative_score)):
            drawn = [store.types[t] for t in side]
            plain = sum(math.log((tf[word] + mu * p[word]) / (len(words) + mu)) for word in drawn)
            assert score == pytest.approx(plain, abs=1e-9)
            inside += sum(word in tf for word in drawn)
    assert batch.tally.inside == inside
    assert batch.tally.words == len(batch.positive) + len(batch.negative)


def test_stems_are_scored_as_stems(small):
    sampler = PairSampler(small, SamplerOptions(floor=1, keep=0, stem=True), seed=0)
    batch = sampler.pairs(np.array([3]), 0, 50)
    probability = sampler.model.probabilities(small.words(3))
    for pair in (batch[i] for i in range(50)):
        plain = np.log(probability[sampler.model.number[pair.positive]]).sum()
        assert pair.positive_score == pytest.approx(plain, abs=1e-9)
    assert probability[sampler.model.number[small.types.index("played")]] > 5 / (6 + sampler.model.mu)


# ------------------------------------------------------------------------------------------- the same for all


@pytest.mark.parametrize("sampler", ["exact", "topk500", "uniform"])
def test_one_by_one_in_any_order_and_from_a_pickle_pairs_are_the_same(store, sampler):
    options = SamplerOptions(sampler, floor=2, keep=1e-3)
    first = PairSampler(store, options, seed=7)
    batch = first.pairs(first.documents, 5, 4)
    again = pickle.loads(pickle.dumps(first))
    turned = again.pairs(first.documents[::-1], 5, 3)
    for i, row in enumerate(first.documents.tolist()):
        back = len(first.documents) - 1 - i
        for number in range(3):
            for other in (again.pair(row, 5, number), turned[3 * back + number]):
                assert same(batch[4 * i + number], other)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_seed_epoch_document_and_number_each_change_the_pair(store):
    sampler = PairSampler(store, SamplerOptions(floor=2), seed=0)
    other = PairSampler(store, SamplerOptions(floor=2), seed=1)
    pairs = [sampler.pair(3, 0, 0), sampler.pair(3, 0, 1), sampler.pair(3, 1, 0), sampler.pair(4, 0, 0)]
    pairs.append(other.pair(3, 0, 0))
    assert len({tuple(pair.positive.tolist() + pair.negative.tolist()) for pair in pairs}) == 5


def test_pickles_are_small(store):
    sampler = PairSampler(store, SamplerOptions(floor=1), seed=0)
    sampler.pair(0, 0, 0)
    assert len(pickle.dumps(sampler)) < 60 * len(store.types) + 20 * len(store) + 5000


# ------------------------------------------------------------------------------------------------------- ties


@pytest.mark.parametrize("sampler", ["exact", "topk500"])
def test_dropped_ties_are_drawn_again_and_lengths_stay(small, sampler):
    drop, second = (
        PairSampler(small, SamplerOptions(sampler, floor=1, keep=0, ties=ties), seed=0)
        for ties in ("drop", "second")
    )
    a, b = (sampler.pairs(sampler.documents, 0, 300) for sampler in (drop, second))
    assert (a.positive_score > a.negative_score).all()
    tied = b.positive_score == b.negative_score
    assert 0.02 < tied.mean() == b.tally.ties / b.tally.pairs
    assert (b.positive_score >= b.negative_score).all()
    assert np.array_equal(a.offsets, b.offsets)
    assert a.tally.unresolved == 0 < a.tally.ties
    assert all(same(a[i], b[i]) for i in np.flatnonzero(~tied))


def test_sets_of_the_same_words_tie_in_whatever_order(small):
    sampler = PairSampler(small, SamplerOptions(floor=1, keep=0, ties="second", mean_length=4), seed=1)
    batch = sampler.pairs(np.array([2]), 0, 20_000)
    equal = [i for i in range(len(batch)) if sorted(batch[i].positive) == sorted(batch[i].negative)]
    long = [batch[i] for i in equal if len(batch[i].positive) > 3]
    assert len(long) > 20
    assert all(pair.positive_score == pair.negative_score for pair in long)


def test_pairs_that_cannot_differ_are_given_up_and_counted(small):
    sampler = PairSampler(small, SamplerOptions("uniform", floor=1), seed=0)
    batch = sampler.pairs(np.array([4]), 0, 5)
    assert batch.tally.unresolved == 5
    assert (batch.positive_score == batch.negative_score).all()


# -------------------------------------------------------------------------------------------- which documents


def test_short_documents_are_skipped_four_times_in_five(store):
    sampler = PairSampler(store, SamplerOptions(floor=2, skip_short=301), seed=0)
    epochs = [set(sampler.rows(epoch).tolist()) for epoch in range(100)]
    assert all(60 in rows for rows in epochs)  # the long one
    assert np.mean([len(rows) - 1 for rows in epochs]) / 60 == pytest.approx(0.2, abs=0.02)
    assert epochs[0] == {row for row in range(61) if not sampler.skipped(row, 0)} != epochs[1]
    assert len(PairSampler(store, SamplerOptions(floor=2), seed=0).rows(0)) == 61


def test_documents_without_a_word_above_the_floor_are_left_out_and_told(tmp_path):
    store = store_of(["a b a", "a c", "rare words", "b a"], tmp_path / "s")
    sampler = PairSampler(store, SamplerOptions(floor=2, keep=0), seed=0)
    assert sampler.documents.tolist() == [0, 1, 3]
    assert "1 of 4 documents are left out; none of them has a word that occurs 2 times" in sampler.notices[0]
    with pytest.raises(ValueError, match="document 2 has no words to draw from"):
        sampler.pair(2, 0, 0)


def test_a_small_collection_is_told_that_subsampling_takes_much(store):
    def notices(**options):
        return PairSampler(store, SamplerOptions(floor=2, **options), seed=0).notices

    ctf = Counter(store.types[t] for row in range(len(store)) for t in store.words(row))
    _, _, p, keep = plain_model(store, 2, 1e-4)
    share = sum(ctf[w] * keep[w] for w in p) / sum(ctf[w] for w in p)
    assert len(notices()) == 1
    assert notices()[0] == (
        "a collection of 18,650 words is small for keep 0.0001: of the words in documents "
        f"{share:.0%} stay, mostly rare ones; consider keep 0.001"
    )
    assert notices(keep=1e-3) == notices(keep=0) == notices(sampler="uniform") == []


def test_the_sampler_bprop_needs_weights(store):
    with pytest.raises(UserError, match="needs attention weights: run prop-ir bprop-attn"):
        PairSampler(store, SamplerOptions("bprop"), seed=0)


def test_one_shard_or_chunks_find_the_same_documents(store, monkeypatch):
    whole = PairSampler(store, SamplerOptions(floor=3, stem=True), seed=0)
    monkeypatch.setattr(prop_ir.word_sets, "ROWS", 7)
    monkeypatch.setattr("prop_ir.language_model.ROWS", 7)
    parts = PairSampler(store, SamplerOptions(floor=3, stem=True), seed=0)
    assert np.array_equal(whole.documents, parts.documents)
    assert all(np.array_equal(a, b) for a, b in zip(whole.model, parts.model, strict=True))


# -------------------------------------------------------------------------------------------------- real data


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "exact", "topk500"), [(0, 0.48, 0.71), (1e-4, 0.47, 0.78)])
def test_share_of_words_from_the_document_on_vaswani(keep, exact, topk500, tmp_path_factory):
    """As measured on the released code's models, to 0.03: which documents were counted is not known."""
    from prop_ir.collections import Collection

    path = data_folder("vaswani", "corpus", "doc-text.trec")
    backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    store, _ = build_store(Collection([path]), backend, tmp_path_factory.mktemp("vaswani") / "store")
    for sampler, share in (("exact", exact), ("topk500", topk500)):
        pairs = PairSampler(store, SamplerOptions(sampler, floor=5, keep=keep), seed=0)
        assert len(pairs.model.mass) == 4435
        tally = pairs.pairs(pairs.documents, 0, 5).tally
        assert tally.inside / tally.words == pytest.approx(share, abs=0.03)
