"""Joined texts, against joining lists of numbers."""

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import seeded
from timix import TextAwareMix
from timix.mixgen import join_texts

START, END = 101, 102
TEXTS = [[START, 1, 2, 3, END], [START, 4, END], [START, END], [START, 5, 6, END]]


def padded(texts):
    length = max(map(len, texts))
    rows = torch.tensor([text + [0] * (length - len(text)) for text in texts])
    return rows, torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])


@pytest.mark.parametrize("most", [None, 20, 6, 4])
@pytest.mark.parametrize("partner", ["flip", "roll"])
def test_joined_texts_are_those_of_lists(partner, most):
    plan = TextAwareMix(4, partner=partner, region="mixgen").plan(torch.zeros(4, 4, 4), seeded())
    ids, mask = join_texts(*padded(TEXTS), plan, max_length=most)
    for i, j in enumerate(plan.partner.tolist()):
        words = TEXTS[i][1:-1] + TEXTS[j][1:-1]
        wanted = [START, *words[: (most or 99) - 2], END]
        assert ids[i][: len(wanted)].tolist() == wanted
        assert not ids[i][len(wanted) :].any()
        assert mask[i].tolist() == [1] * len(wanted) + [0] * (ids.shape[1] - len(wanted))


def test_a_length_without_room_and_another_batch_are_refused():
    plan = TextAwareMix(4, region="mixgen").plan(torch.zeros(4, 4, 4), seeded())
    with pytest.raises(UserError, match="2 tokens at most: 3 are needed"):
        join_texts(*padded(TEXTS), plan, max_length=2)
    with pytest.raises(UserError, match="a plan for 4 texts"):
        join_texts(*padded(TEXTS[:2]), plan)
