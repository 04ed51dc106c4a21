"""Texts that are written and ranked, against enumeration and single passes."""

import copy
import itertools
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_tasks"))
import tiny_tasks

from nonet.errors import UserError
from nonet.testing import normal
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.tasks.task_settings import TaskSettings
from nonet.vision_language.tasks.writing import decoder_of, rank_texts, text_losses, write_texts

TOKENIZER = tiny_tasks.tokenizer()
TEXTS = TextBatch(TOKENIZER, 12)
ANSWERS = ["yes", "no", "red dog", "red cat", "old small red car", "a"]


@pytest.fixture(scope="module")
def decoder():
    return tiny_tasks.model().decoder


@pytest.fixture(scope="module")
def source():
    return normal(3, 7, 32), torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 7])


def log_probability(decoder, text, source):
    """Of one text, word piece by word piece, each with a pass of its own, without padding anywhere."""
    ids = [TEXTS.begin, *TEXTS.pieces([text])[0], TEXTS.end]
    total = 0.0
    for t in range(1, len(ids)):
        with torch.no_grad():
            logits = decoder(torch.tensor([ids[:t]]), None, source)
        total += float(logits[0, -1].log_softmax(-1)[ids[t]])
    return total


def test_losses_of_padded_texts_are_those_of_single_passes(decoder, source):
    tokens, mask = source
    ids, own = TEXTS(ANSWERS[:3])
    with torch.no_grad():
        losses, pieces = text_losses(decoder, ids, own, tokens, mask)
    assert pieces.tolist() == [len(TEXTS.pieces([text])[0]) + 1 for text in ANSWERS[:3]]
    for item, (text, loss) in enumerate(zip(ANSWERS, losses.tolist(), strict=False)):
        seen = tokens[item : item + 1, : int(mask[item].sum())]
        assert -loss == pytest.approx(log_probability(decoder, text, seen), abs=1e-3)


@pytest.mark.parametrize("keep", [0, 3])
def test_the_likeliest_answer_is_found(decoder, source, keep):
    tokens, mask = source
    ids, own = TEXTS(ANSWERS)
    found = rank_texts(decoder, tokens, mask, ids, own, keep=keep).tolist()
    for item in range(2):
        seen = tokens[item : item + 1, : int(mask[item].sum())]
        with torch.no_grad():
            first = decoder(ids[:1, :1], None, seen)[0, -1, ids[:, 1]]
        kept = first.topk(keep or 6).indices.tolist()
        chances = {number: log_probability(decoder, ANSWERS[number], seen) for number in kept}
        assert found[item] == max(chances, key=chances.get)


def test_a_search_with_many_beams_finds_the_best_text_there_is(decoder, source):
    tokens = source[0][:1]
    # of all texts of one or two word pieces, by enumeration
    settings = TaskSettings(task="vqa", max_length=12, beams=128, shortest=1, longest=2, length_penalty=0.6)
    with torch.no_grad():
        one = decoder(torch.tensor([[TEXTS.begin]]), None, tokens)[0, -1].log_softmax(-1)
        starts = torch.tensor([[TEXTS.begin, piece] for piece in range(len(one))])
        two = decoder(starts, None, tokens.expand(len(one), -1, -1))[:, -1].log_softmax(-1)
        pairs = torch.tensor(list(itertools.product(range(len(one)), repeat=2)))
        whole = torch.cat([torch.full((len(pairs), 1), TEXTS.begin), pairs], 1)
        three = torch.cat(
            [
                decoder(part, None, tokens.expand(len(part), -1, -1))[:, -1].log_softmax(-1)[:, TEXTS.end]
                for part in whole.split(2048)
            ]
        )
    scores = {}
    for piece in range(len(one)):
        if piece != TEXTS.end:
            scores[piece,] = float(one[piece] + two[piece, TEXTS.end]) / (7 / 6) ** 0.6
    for (first, second), last in zip(pairs.tolist(), three.tolist(), strict=True):
        if TEXTS.end not in (first, second):
            scores[first, second] = float(one[first] + two[first, second] + last) / (8 / 6) ** 0.6
    best = max(scores, key=scores.get)
    expected = TOKENIZER.decode(list(best), skip_special_tokens=True).strip()
    assert write_texts(decoder, tokens, None, TEXTS, settings) == [expected]


@pytest.mark.parametrize(("end", "shortest", "words"), [(5.0, 0, 0), (5.0, 4, 4), (-50.0, 4, 5)])
def test_texts_are_as_long_as_asked_for(decoder, source, end, shortest, words):
    decoder = copy.deepcopy(decoder)
    with torch.no_grad():  # whole words alone, and an end that is wanted or shunned
        decoder.head.bias.fill_(-50)
        decoder.head.bias[[piece for (piece,) in TEXTS.pieces(tiny_tasks.WORDS[:9])]] = 0
        decoder.head.bias[TEXTS.end] = end
        decoder.head.words.mul_(0.1)
    settings = TaskSettings(task="caption", max_length=12, beams=2, shortest=shortest, longest=5)
    found = write_texts(decoder, *source, TEXTS, settings)
    assert [len(text.split()) for text in found] == [words] * 3


def test_a_model_without_decoder_cannot_write():
    model = tiny_tasks.model()
    model.decoder = None
    with pytest.raises(UserError, match="has no decoder"):
        decoder_of(model)
