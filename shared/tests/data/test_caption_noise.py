import json

import pytest
from PIL import Image

from nonet.data.caption_noise import corrupt_captions
from nonet.data.image_text_pairs import read_pairs
from nonet.errors import UserError


@pytest.fixture
def table(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    records = [
        {"image": "a.png", "caption": [f"text {i}", f"other {i}"], "image_id": i // 2} for i in range(100)
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(records))
    return read_pairs([tmp_path / "pairs.json"])


def test_the_share_that_was_asked_for_is_replaced_and_told(table):
    wrong, log = corrupt_captions(table, 0.3, 1)
    changed = [at for at in range(200) if wrong.captions[at] != table.captions[at]]
    assert len(changed) == len(log) == 60
    for at, entry in zip(changed, log, strict=True):
        assert entry == (table.places[at // 2], at % 2, table.captions[at], wrong.captions[at])
    assert wrong.numbers.tolist() == table.numbers.tolist()


def test_wrong_captions_are_those_of_other_images(table):
    wrong, _ = corrupt_captions(table, 1.0, 1)
    for i in range(100):
        image = int(table.numbers[i])
        for text in wrong.captions_of(i):
            assert int(text.split()[1]) // 2 != image


def test_a_smaller_share_is_part_of_a_larger_one(table):
    small, large = (set(corrupt_captions(table, share, 3)[1]) for share in (0.1, 0.4))
    assert small < large
    assert set(corrupt_captions(table, 0.1, 3)[1]) == small
    assert set(corrupt_captions(table, 0.1, 4)[1]) != small


def test_nothing_is_replaced_at_zero_and_nonsense_is_refused(table):
    same, log = corrupt_captions(table, 0.0, 1)
    assert log == []
    assert list(same.captions) == list(table.captions)
    with pytest.raises(UserError, match=r"a share of 1.5 wrong captions"):
        corrupt_captions(table, 1.5, 1)
    with pytest.raises(UserError, match="no caption of another image that reads otherwise"):
        corrupt_captions(table.take([0, 1]), 0.5, 1)
