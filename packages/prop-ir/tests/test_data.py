"""Pre-training examples against what they are made of, and their batches."""

import pickle

import numpy as np
import pytest

from nonet.data.batching import StepSampler, loader
from prop_ir.building import build_store
from prop_ir.data import PairBatches, RopData, collate, hold_out
from prop_ir.documents import Document
from prop_ir.inputs import PairTemplate
from prop_ir.masking import MaskPieces
from prop_ir.options import MaskOptions, SamplerOptions
from prop_ir.pieces import load_tokenizer
from prop_ir.toy import collection, write_encoder
from prop_ir.word_sets import PairSampler

CLS, SEP, MASK = 2, 3, 4
MASKS = MaskOptions()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(write_encoder(tmp_path_factory.mktemp("encoder"), layers=1, width=8, heads=1))


@pytest.fixture(scope="module")
def store(tmp_path_factory, tokenizer):
    notices = [Document(*notice) for notice in collection(80, 1, seed=4).documents]
    folder = tmp_path_factory.mktemp("store") / "store"
    return build_store(notices, tokenizer, folder)[0]


@pytest.fixture(scope="module")
def data(store, tokenizer):
    return make(store, tokenizer)


def make(store, tokenizer, *, masks=MASKS, pairs=3, max_length=64, seed=0, rows=None, **sampler):
    drawn = PairSampler(store, SamplerOptions(floor=2, keep=1e-2, **sampler), seed=seed)
    return RopData(
        store, drawn, PairTemplate.of(tokenizer), masks=masks, into=MaskPieces.of(tokenizer), pairs=pairs,
        max_length=max_length, seed=seed, rows=drawn.documents if rows is None else rows,
    )  # fmt: skip


def unmasked(row):
    ids = row.ids.copy()
    ids[row.places] = row.labels
    return ids


# ----------------------------------------------------------- examples


def test_a_row_is_the_word_set_in_drawn_order_and_the_document(data, store, tokenizer):
    for index in range(0, len(data), 7):
        example = data[(1, index)]
        document = int(data.rows[index // 3])
        pair = data.sampler.pair(document, 1, index % 3)
        assert example.document == document
        assert pair.positive_score >= pair.negative_score
        for row, words in ((example.better, pair.positive), (example.worse, pair.negative)):
            text = " ".join(store.types[word] for word in words)
            query = tokenizer(text, add_special_tokens=False)["input_ids"]
            whole = [CLS, *query, SEP, *store.pieces(document).tolist(), SEP]
            assert unmasked(row).tolist() == (whole if len(whole) <= 64 else [*whole[:63], SEP])
            assert row.segments.tolist() == [0] * (len(query) + 2) + [1] * (len(row.ids) - len(query) - 2)


def test_masks_are_on_document_pieces_alone_whole_words_and_within_the_budget(data, store):
    seen = []
    for index in range(len(data)):
        example = data[(0, index)]
        starts = store.starts(example.document)
        for row in (example.better, example.worse):
            first = int((row.segments == 0).sum())  # the document begins behind the first [SEP]
            places = row.places - first
            kept = len(row.ids) - first - 1
            assert (places >= 0).all()
            assert (places < kept).all()  # never on the last [SEP]
            words = int(starts[:kept].sum())
            assert len(places) <= min(60, max(1, round(0.15 * words)))
            word_of = np.cumsum(starts[:kept])
            assert set(np.flatnonzero(np.isin(word_of, word_of[places]))) == set(places)
            assert not np.isin(row.labels, [CLS, SEP, MASK]).any()
            others = np.setdiff1d(np.arange(len(row.ids)), row.places)
            assert (row.ids[others] != MASK).all()
            seen.append(len(places))
    assert np.mean(seen) > 3


def test_the_two_members_and_the_epochs_have_masks_and_words_of_their_own(data):
    examples = [[data[(epoch, index)] for index in range(60)] for epoch in (0, 1)]
    same = [np.array_equal(e.better.places, e.worse.places) for e in examples[0]]
    assert np.mean(same) < 0.1
    again = [np.array_equal(a.better.ids, b.better.ids) for a, b in zip(*examples, strict=True)]
    assert not any(again)


def test_an_example_follows_from_seed_epoch_and_index(data, store, tokenizer):
    copy = pickle.loads(pickle.dumps(data))
    other = make(store, tokenizer, seed=1)
    for index in (0, 5, 30):
        mine, its = data[(2, index)].better, copy[(2, index)].better
        assert all(np.array_equal(a, b) for a, b in zip(mine, its, strict=True))
        assert not np.array_equal(data[(2, index)].better.ids, other[(2, index)].better.ids)


def test_a_subset_of_documents_gives_the_same_examples(data, store, tokenizer):
    part = make(store, tokenizer, rows=data.rows[10:20])
    for pair in range(3):
        mine, whole = part[(0, 4 * 3 + pair)], data[(0, 14 * 3 + pair)]
        assert mine.document == whole.document
        assert np.array_equal(mine.worse.ids, whole.worse.ids)


def test_long_documents_are_cut_at_their_end(store, tokenizer):
    data = make(store, tokenizer, max_length=20)
    lengths = {len(row.ids) for index in range(60) for row in data[(0, index)][1:]}
    assert max(lengths) == 20
    row = data[(0, 0)].better
    first = int((row.segments == 0).sum())
    assert unmasked(row)[first:-1].tolist() == store.pieces(0)[: 19 - first].tolist()
    assert row.ids[-1] == SEP


def test_without_masks_rows_are_as_they_are(store, tokenizer):
    data = make(store, tokenizer, masks=MaskOptions(share=0.0))
    example = data[(0, 0)]
    assert len(example.better.places) == len(example.better.labels) == 0
    assert MASK not in example.better.ids
    assert collate([example])["masked"].shape == (0,)


# ----------------------------------------------------------- batches


def test_a_batch_has_two_rows_a_pair_the_better_one_first(data):
    examples = [data[(0, index)] for index in (0, 50, 100)]
    batch = {name: value.numpy() for name, value in collate(examples, padding=7).items()}
    length = max(len(row.ids) for example in examples for row in example[1:])
    assert batch["input_ids"].shape == (6, -(-length // 8) * 8)
    assert batch["ids"].tolist() == [example.document for example in examples]
    rows = [row for example in examples for row in (example.better, example.worse)]
    for i, row in enumerate(rows):
        n = len(row.ids)
        assert batch["input_ids"][i, :n].tolist() == row.ids.tolist()
        assert (batch["input_ids"][i, n:] == 7).all()
        assert batch["attention_mask"][i].tolist() == [1] * n + [0] * (batch["input_ids"].shape[1] - n)
        assert batch["token_type_ids"][i, :n].tolist() == row.segments.tolist()
    where = batch["input_ids"].flatten()[batch["masked"]]
    assert where.tolist() == np.concatenate([row.ids[row.places] for row in rows]).tolist()
    assert batch["labels"].tolist() == np.concatenate([row.labels for row in rows]).tolist()
    assert all(value.dtype == np.int64 for value in batch.values())


def test_batches_hold_each_pair_once_in_pairs_of_like_length(data):
    batches = PairBatches(data, 16, words=4, seed=0, skips=False)
    found = batches.epoch(0)
    assert sorted(np.concatenate(found).tolist()) == list(range(240))
    assert [len(items) for items in found] == [16] * 15
    assert batches.steps(0) == 15
    assert batches.epoch(0)[0].tolist() != batches.epoch(1)[0].tolist()
    spread = [np.ptp(batches.lengths[items]) for items in found]
    assert np.mean(spread) < np.ptp(batches.lengths) / 4
    real = [np.mean([len(data[(0, int(i))].better.ids) for i in items]) for items in found]
    guess = [batches.lengths[items].mean() + 3 for items in found]
    assert np.abs(np.array(real) - guess).mean() < 3


def test_short_documents_are_left_out_of_four_epochs_in_five(store, tokenizer):
    limit = int(np.median(store.piece_counts))
    data = make(store, tokenizer, skip_short=limit)
    batches = PairBatches(data, 16, words=4, seed=0, skips=True)
    short = store.piece_counts[data.rows] < limit
    seen = np.zeros((len(data.rows), 40), bool)
    for epoch in range(40):
        items = np.concatenate(batches.epoch(epoch))
        assert len(set(items.tolist())) == len(items)
        documents, counts = np.unique(items // data.pairs, return_counts=True)
        assert (counts == data.pairs).all()
        seen[documents, epoch] = True
        assert batches.steps(epoch) == len(batches.epoch(epoch))
    assert seen[~short].all()
    assert seen[short].mean() == pytest.approx(0.2, abs=0.04)


def test_an_epoch_that_would_be_empty_has_every_document(store, tokenizer):
    data = make(store, tokenizer, skip_short=10**6, rows=np.array([3, 4]))
    batches = PairBatches(data, 4, words=4, seed=0, skips=True)
    sizes = {len(np.concatenate(batches.epoch(epoch))) for epoch in range(30)}
    assert sizes == {3, 6}


@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_workers_and_ranks_gives_the_same_pairs(data, workers):
    batches = PairBatches(data, 8, words=4, seed=0, skips=False)
    whole = list(loader(data, StepSampler(batches, steps=2), collate))
    shares = [
        list(loader(data, StepSampler(batches, steps=2, rank=rank, world=2), collate, workers=workers))
        for rank in (0, 1)
    ]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            share = shares[rank][step]
            assert share["ids"].tolist() == batch["ids"][rank::2].tolist()
            length = share["input_ids"].shape[1]
            for place in range(4):
                mine = share["input_ids"][2 * place : 2 * place + 2]
                its = batch["input_ids"][2 * (2 * place + rank) :][:2, :length]
                assert mine.tolist() == its.tolist()


def test_documents_are_held_out_by_a_seeded_draw():
    documents = np.arange(100, 300, 2)
    train, val = hold_out(documents, 0.1, seed=0)
    assert (len(train), len(val)) == (90, 10)
    assert sorted([*train, *val]) == documents.tolist()
    assert hold_out(documents, 0.1, seed=1)[1].tolist() != val.tolist()
    assert [len(part) for part in hold_out(documents, 0.0, seed=0)] == [100, 0]
    assert [len(part) for part in hold_out(documents[:2], 0.99, seed=0)] == [1, 1]
    assert len(hold_out(np.arange(10**6), 0.01, seed=0)[1]) == 2000
