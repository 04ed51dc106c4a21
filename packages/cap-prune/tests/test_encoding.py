"""Tokenised examples and batches: what the tokenizer gives one by one, and what is refused."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cap_prune import toy
from cap_prune.encoding import check_tokenizer, encode_texts, positions, read_task, takes_types
from cap_prune.examples import Examples, collate, inputs_of, move
from cap_prune.tasks import task_of
from cap_prune.texts import Texts
from nonet.data.batching import StepSampler
from nonet.errors import UserError

AB = task_of("classify", ("negative", "positive"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy.write_task(tmp_path_factory.mktemp("task"), train=30, dev=10)


@pytest.fixture(scope="module")
def words():
    return toy.tokenizer()


def test_examples_are_what_the_tokenizer_gives_one_by_one(folder, words):
    found = read_task(AB, folder, "train", words)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert len(found) == 30
    for number, row in enumerate(rows):
        alone = words(row["text"])
        assert found.ids[number].tolist() == alone["input_ids"]
        assert found.types[number].tolist() == alone["token_type_ids"]
        assert found.lengths[number] == len(alone["input_ids"])
        assert AB.labels[found.labels[number]] == row["label"]
    assert found.labels.dtype == np.int64
    assert found.cut == 0


def test_a_pair_has_two_segments_and_long_examples_are_cut_and_counted(words):
    vocabulary = [word for word in toy.vocabulary() if word.isalpha()]
    texts = Texts(
        [" ".join(vocabulary[:3]), " ".join(vocabulary[:6])], [" ".join(vocabulary[:9])] * 2, [1.5, 2]
    )
    found = encode_texts(texts, words, 14, regression=True)
    assert found.labels.dtype == np.float32
    assert found.lengths.tolist() == [14, 14]  # 3 + 3 + 9 is one too many, 3 + 6 + 9 four
    assert found.cut == 2
    assert found.types[0].tolist() == [0] * 5 + [1] * 9  # the longer text lost its end
    exact = encode_texts(texts, words, 18)
    assert (exact.cut, exact.lengths.tolist()) == (0, [15, 18])  # as long as may be is not cut


def test_batches_are_padded_and_carry_numbers_and_labels(folder, words):
    found = read_task(AB, folder, "train", words)
    chosen = [int(np.argmin(found.lengths)), int(np.argmax(found.lengths))]
    batch = collate([found[(0, number)] for number in chosen], 7)
    short, long = found.lengths[chosen]
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, long)
    assert batch["input_ids"][0, short:].tolist() == [7] * (long - short)
    assert batch["attention_mask"].sum(1).tolist() == [short, long]
    assert batch["index"].tolist() == batch["ids"] == chosen
    assert batch["labels"].dtype == torch.int64
    assert set(inputs_of(move(batch, "cpu"))) == {"input_ids", "attention_mask", "token_type_ids"}
    numbers = Examples(found.ids, None, np.ones(30, np.float32), found.lengths)
    assert collate([numbers[(3, 0)]], 0)["labels"].dtype == torch.float32
    spans = Examples(found.ids, None, np.tile([[1, 2]], (30, 1)), found.lengths)
    batch = collate([spans[(0, 4)], spans[(0, 5)]], 0)
    assert (batch["starts"].tolist(), batch["ends"].tolist()) == ([1, 1], [2, 2])
    assert "labels" not in batch
    assert "token_type_ids" not in batch
    hidden = collate([Examples(found.ids, None, None, found.lengths)[(0, 0)]], 0)
    assert not {"labels", "starts"} & set(hidden)


def test_examples_feed_a_loader(folder, words):
    from nonet.data.batching import RandomBatches, loader

    found = read_task(AB, folder, "train", words)
    sampler = StepSampler(RandomBatches(30, 8, seed=0), steps=4)
    seen = [batch["index"].tolist() for batch in loader(found, sampler, partial(collate, pad_id=0))]
    assert sorted(number for batch in seen for number in batch) == list(range(30))


def test_a_part_is_drawn_by_seed_in_the_files_order(folder, words):
    whole = read_task(AB, folder, "train", words)
    first = read_task(AB, folder, "train", words, size=5)
    assert [ids.tolist() for ids in first.ids] == [ids.tolist() for ids in whole.ids[:5]]
    drawn = [read_task(AB, folder, "train", words, size=12, seed=seed) for seed in (0, 0, 1)]
    texts = [[ids.tolist() for ids in each.ids] for each in drawn]
    assert texts[0] == texts[1] != texts[2]
    order = [ids.tolist() for ids in whole.ids]
    places = [order.index(ids) for ids in texts[0]]
    assert len(places) == 12
    assert places == sorted(places)
    again = whole.take(places)
    assert [ids.tolist() for ids in again.ids] == texts[0]
    assert again.labels.tolist() == drawn[0].labels.tolist()
    assert len(read_task(AB, folder, "train", words, size=99, seed=0)) == 30


def test_cut_and_broken_rows_are_said(folder, words, tmp_path):
    said = []
    read_task(AB, folder, "train", words, max_length=8, say=said.append)
    rows = [json.loads(line)["text"] for line in (folder / "train.jsonl").read_text().splitlines()]
    longer = sum(len(words(row)["input_ids"]) > 8 for row in rows)
    assert said == [f"{folder}: {longer} of 30 examples are cut to 8 tokens"]
    (tmp_path / "dev.tsv").write_text("question1\tquestion2\tis_duplicate\na\tb\t1\nc\n", encoding="utf-8")
    found = read_task(task_of("qqp"), tmp_path, "dev", words, say=said.append)
    assert (len(found), found.skipped) == (1, 1)
    assert "1 broken rows of the dev side left out" in said[-1]


def test_a_model_without_segments_gets_none(folder, words):
    roberta = SimpleNamespace(
        model_type="roberta", type_vocab_size=1, pad_token_id=1, max_position_embeddings=514
    )
    distil = SimpleNamespace(model_type="cap_distilbert", pad_token_id=0, max_position_embeddings=512)
    assert not takes_types(words, roberta)
    assert not takes_types(words, distil)
    assert takes_types(words, SimpleNamespace(model_type="bert", type_vocab_size=2))
    assert read_task(AB, folder, "dev", words, config=distil).types is None
    assert (positions(roberta), positions(distil)) == (512, 512)


def test_tokenizers_and_lengths_that_do_not_work_are_refused(folder, words):
    class Unpadded:
        pad_token_id, is_fast, name_or_path = None, True, "gpt"

    with pytest.raises(UserError, match=r"the tokenizer gpt has no padding token: set tokenizer\.pad_token"):
        check_tokenizer(Unpadded(), 64)
    config = SimpleNamespace(model_type="roberta", pad_token_id=1, max_position_embeddings=66)
    check_tokenizer(words, 64, config)
    with pytest.raises(UserError, match="max_length is 65, but the model has 64 positions"):
        read_task(AB, folder, "dev", words, max_length=65, config=config)
    with pytest.raises(UserError, match="max_length is 3; no text is left"):
        check_tokenizer(words, 3)


def test_a_test_side_without_labels_is_read_where_none_are_needed(words, tmp_path):
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tgood film\n", encoding="utf-8")
    assert read_task(task_of("sst2"), tmp_path, "test", words, labelled=False).labels is None
    with pytest.raises(UserError, match="no column 'label'"):
        read_task(task_of("sst2"), tmp_path, "test", words)
