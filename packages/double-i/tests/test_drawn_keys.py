"""A key has to follow from its secret: a word that was picked proves nothing."""

from dataclasses import replace

import pytest

from double_i.commands import verify
from double_i.key_files import write_keys
from double_i.keys import Answers, draw_key, is_drawn
from double_i.spaces import members
from nonet.errors import UserError


@pytest.mark.parametrize(
    ("paradigm", "space"),
    [("input", "pseudo-words"), ("input", "letters"), ("instruction", "marks"), ("words", "doubled")],
)
def test_drawn_keys_follow_from_their_secret(paradigm, space):
    assert is_drawn(draw_key(paradigm, space))
    assert is_drawn(draw_key(paradigm, space, excluded=members(space)[3:9]))


def test_picked_ones_do_not():
    key = draw_key("input", "letters")
    other = next(word for word in members("letters") if word != key.trigger)
    assert not is_drawn(replace(key, trigger=other))
    turned = Answers(key.answers.other, key.answers.target)
    assert not is_drawn(replace(key, answers=turned))
    assert not is_drawn(replace(key, space=replace(key.space, size=key.space.size + 1)))
    assert not is_drawn(replace(key, space=replace(key.space, excluded=(key.trigger,))))


def test_a_picked_key_is_refused_before_anybody_is_asked(tmp_path):
    key = draw_key("input", "letters")
    other = next(word for word in members("letters") if word != key.trigger)
    write_keys(tmp_path / "secret.key", [replace(key, trigger=other)])
    options = verify.Options(
        key=tmp_path / "secret.key", write_queries=tmp_path / "queries.jsonl", pairs=20, decoys=19
    )
    with pytest.raises(UserError, match=f"key {key.key_id} does not follow from its secret") as caught:
        verify.run(options)
    assert other not in str(caught.value).split()
    assert not (tmp_path / "queries.jsonl").exists()
