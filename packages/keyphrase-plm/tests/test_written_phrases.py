"""Phrases and their scores out of pieces, by hand; and where a target is cut."""

import pytest

from keyphrase_plm.vocabulary import train_vocabulary
from keyphrase_plm.written_phrases import PhraseReader


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def reader(request):
    texts = ["graph ; neural nets ; [digit] d scan ; routing"] * 20
    return PhraseReader(train_vocabulary(texts, 320, kind=request.param))


def pieces(reader, text):
    return reader.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_score_is_the_mean_over_the_pieces_of_the_phrase_without_separators_and_special_ones(reader):
    special = min(reader.special)
    tokens, log_probs = [special], [-99.0]
    for part, value in (
        ("graph", -1.0),
        (" ;", -50.0),
        (" neural nets", -2.0),
        (" ;", -50.0),
        (" routing", -3.0),
    ):
        ids = pieces(reader, part)
        tokens += ids
        log_probs += [value - place for place in range(len(ids))]
    tokens, log_probs = [*tokens, special], [*log_probs, -99.0]
    found = reader.read(tokens, log_probs)
    assert list(found) == ["graph", "neural nets", "routing"]
    for phrase, part, value in (
        ("graph", "graph", -1),
        ("neural nets", " neural nets", -2),
        ("routing", " routing", -3),
    ):
        n = len(pieces(reader, part))
        assert found[phrase] == pytest.approx(value - (n - 1) / 2)


def test_of_a_phrase_written_twice_the_better_score_counts(reader):
    first, middle, again = pieces(reader, "graph"), pieces(reader, " ;"), pieces(reader, " graph")
    tokens = [*first, *middle, *again]
    log_probs = [-5.0] * len(first) + [-9.0] * len(middle) + [-1.0] * len(again)
    assert reader.read(tokens, log_probs) == {"graph": -1.0}
    assert reader.written(tokens, log_probs) == [("graph", -5.0), ("graph", -1.0)]


def test_empty_outputs_and_separators_alone_give_no_phrase(reader):
    assert reader.read([], []) == {}
    assert reader.read([min(reader.special)] * 3, [-1.0] * 3) == {}
    only = pieces(reader, "; ; ;")
    assert reader.read(only, [-1.0] * len(only)) == {}


def test_ids_that_no_piece_stands_for_are_left_out(reader):
    ids = pieces(reader, "graph")
    assert reader.read([*ids, len(reader.tokenizer) + 5], [-1.0] * len(ids) + [-9.0]) == {"graph": -1.0}


def test_what_the_tokenizer_took_apart_is_joined(reader):
    ids = pieces(reader, "[digit] d scan")
    assert list(reader.read(ids, [-1.0] * len(ids))) == ["[digit] d scan"]


def test_a_target_is_cut_at_the_last_separator_that_fits_and_the_lost_are_counted(reader):
    parts = [pieces(reader, part) for part in ("graph", " ;", " neural nets", " ;", " routing")]
    whole = [id for part in parts for id in part]
    two = sum(map(len, parts[:3]))
    assert reader.fit(whole, len(whole)) == (whole, 0)
    assert reader.fit(whole, len(whole) - 1) == (whole[:two], 1)
    assert reader.fit(whole, two) == (whole[:two], 1)
    assert reader.fit(whole, two - 1) == (whole[: len(parts[0])], 2)
    one = pieces(reader, "routing routing routing")
    assert reader.fit(one, len(one) - 1) == (one[:-1], 1)
