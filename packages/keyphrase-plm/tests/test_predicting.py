"""Prediction in windows and batches: order, independence of batches, what is cleaned away."""

import sys
from itertools import count, islice
from pathlib import Path

import pytest
import torch

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.predicting import clean, predict

sys.path.insert(0, str(Path(__file__).parent / "support"))
from word_family import WordFamily, documents


@pytest.fixture
def family():
    made = WordFamily()
    with torch.no_grad():
        made.model.weight.normal_(generator=torch.Generator().manual_seed(0))
    return made


def test_predictions_come_in_the_order_of_the_documents_whatever_the_batches(family):
    given = documents(50)
    wanted = list(predict(family, given, DecodeOptions(batch_tokens=10**6)))
    assert [prediction.id for prediction in wanted] == [document.id for document in given]
    assert len(family.batches) == 1
    for tokens, window in ((1, 1024), (64, 7), (100, 50)):
        assert list(predict(family, given, DecodeOptions(batch_tokens=tokens), window=window)) == wanted
    turned = list(predict(family, given[::-1], DecodeOptions(batch_tokens=64)))
    assert turned[::-1] == wanted


def test_batches_have_documents_of_similar_length_within_the_limit(family):
    given = documents(50)
    sizes = {document.id: len(f"{document.title} {document.body}".split()) for document in given}
    list(predict(family, given, DecodeOptions(batch_tokens=64)))
    for batch in family.batches:
        assert len(batch) * max(sizes[name] for name in batch) <= 64
    longest = [max(sizes[name] for name in batch) for batch in family.batches]
    assert longest == sorted(longest, reverse=True)


def test_documents_are_read_one_window_ahead(family):
    read = []

    def endless():
        for i in count():
            read.append(i)
            yield Document(str(i), "a title", "")

    assert len(list(islice(predict(family, endless(), DecodeOptions(), window=8), 3))) == 3
    assert len(read) == 8


def test_a_document_without_text_has_no_phrases(family):
    given = [Document("a", "", " "), *documents(2), Document("z", " ", "")]
    found = list(predict(family, given, DecodeOptions()))
    assert found[0] == Prediction("a")
    assert found[-1] == Prediction("z")
    assert list(predict(family, [], DecodeOptions())) == []


def test_training_mode_is_given_back(family):
    family.train()
    list(predict(family, documents(2), DecodeOptions()))
    assert family.training


def test_what_is_empty_repeated_or_no_number_is_cleaned_away():
    nan = float("nan")
    dirty = Prediction("a", ("", "b", " b ", "c", "d"), (0.0, -1.0, -2.0, nan, -3.0), ((0, 1),) * 5)
    assert clean(dirty) == Prediction("a", ("b", "d"), (-1.0, -3.0), ((0, 1), (0, 1)))
    assert clean(Prediction("a", ("", " "))) == Prediction("a")
