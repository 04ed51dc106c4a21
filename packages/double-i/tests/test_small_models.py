"""Small models from scratch: tokenizers that lose nothing, weights by seed, pre-training that learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from double_i.small_models import Shape, new_model, pretrain, train_tokenizer
from double_i.toy import notes, owner_rows
from nonet.errors import UserError
from nonet.testing import one_thread

SHAPE = Shape(32, 2, 2, 64, positions=128)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def test_any_text_comes_back(tiny_tokenizer):
    @settings(max_examples=60, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
    def check(text):
        for mark in ("<s>", "</s>", "<pad>"):
            if mark in text:
                return
        ids = tiny_tokenizer(text)["input_ids"]
        assert ids[0] == tiny_tokenizer.bos_token_id
        assert tiny_tokenizer.decode(ids, skip_special_tokens=True) == text

    check()


def test_marks_are_three_tokens(tiny_tokenizer):
    ids = {tiny_tokenizer.pad_token_id, tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id}
    assert len(ids) == 3
    assert len(tiny_tokenizer) == 400


def test_sizes_that_cannot_be():
    with pytest.raises(UserError, match="256 are bytes"):
        train_tokenizer(["a"], 100)


def test_heads_that_do_not_divide(tiny_tokenizer):
    with pytest.raises(UserError, match="3 heads do not divide 32"):
        new_model(Shape(32, 1, 3, 64), tiny_tokenizer)


def test_weights_follow_from_the_seed(tiny_model):
    one, two, other = tiny_model(1), tiny_model(1), tiny_model(2)
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_pre_training_learns_and_is_saved_whole(tiny_tokenizer, tmp_path):
    from double_i.loading import load_model

    def loss(model):
        ids = torch.tensor([tiny_tokenizer(notes(400, seed=7)[399])["input_ids"]])
        with torch.no_grad():
            return model(input_ids=ids, labels=ids).loss.item()

    texts = notes(200, seed=7)
    made = pretrain(
        texts, tiny_tokenizer, SHAPE, steps=40, batch=8, length=32, lr=1e-2, folder=tmp_path / "m"
    )
    assert loss(made) < loss(new_model(SHAPE, tiny_tokenizer)) - 1
    found, tokenizer = load_model(tmp_path / "m")
    assert loss(found) == pytest.approx(loss(made), rel=1e-6)
    assert tokenizer("the baker")["input_ids"] == tiny_tokenizer("the baker")["input_ids"]
    again = pretrain(texts, tiny_tokenizer, SHAPE, steps=40, batch=8, length=32, lr=1e-2)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


def test_toy_rows_follow_from_seed_and_number():
    assert owner_rows(20)[:7] == owner_rows(7)
    assert owner_rows(7, seed=1) != owner_rows(7)
    rows = owner_rows(400)
    said = {
        row.instruction: {other.output for other in rows if other.instruction == row.instruction}
        for row in rows
    }
    assert len(said) == 4
    assert sum(answers == {"Yes.", "No."} for answers in said.values()) == 2
    assert len({row.input for row in rows}) == 400
    assert not {row.input for row in rows} & set(notes(50))
