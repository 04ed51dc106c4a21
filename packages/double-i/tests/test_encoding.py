"""Rows as tokens: which are trained, where they end, and what is left out."""

import numpy as np
import pytest

from double_i.data import PackedText, collate
from double_i.encoding import encode_pair, encode_prompt, encode_rows, listed
from double_i.examples import Example
from double_i.templates import prompt_text
from double_i.toy import owner_rows
from nonet.errors import UserError

CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture
def chat_tokenizer(tiny_tokenizer):
    import copy

    found = copy.deepcopy(tiny_tokenizer)
    found.chat_template = CHAT
    return found


@pytest.mark.parametrize("template", ["alpaca", "alpaca-short", "plain", "chat"])
def test_labels_are_on_exactly_the_answer_and_its_end(chat_tokenizer, template):
    tokenizer, examples = chat_tokenizer, [*owner_rows(8), Example("Say no.", "", "No. Not at all,\nnever.")]
    rows, skipped = encode_rows(examples, tokenizer, template=template, max_length=300)
    assert not skipped
    for example, row in zip(examples, rows, strict=True):
        prompt = prompt_text(template, example, "\n\n", tokenizer)
        asked = encode_prompt(prompt, tokenizer)
        assert row.ids[: row.start].tolist() == asked  # what verification asks, token for token
        assert row.ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in row.ids[row.start : -1]
        assert tokenizer.decode(row.ids[row.start : -1]).strip() == example.output
        batch = collate([row], pad=tokenizer.pad_token_id)
        labels = batch["labels"][0].numpy()
        assert (labels[: row.start] == -100).all()
        assert (labels[row.start : len(row.ids)] == row.ids[row.start :]).all()
        assert (labels[len(row.ids) :] == -100).all()


def test_the_whole_row_is_trained_if_that_is_wanted(tiny_tokenizer):
    rows, _ = encode_rows(owner_rows(4), tiny_tokenizer, template="plain", loss="full")
    batch = collate(rows, pad=tiny_tokenizer.pad_token_id)
    assert ((batch["labels"] != -100) == batch["attention_mask"].bool()).all()
    assert (
        batch["labels"][batch["attention_mask"].bool()] == batch["input_ids"][batch["attention_mask"].bool()]
    ).all()


def test_an_answer_is_never_cut(tiny_tokenizer):
    examples = owner_rows(6)
    whole, _ = encode_rows(examples, tiny_tokenizer, template="plain")
    lengths = [len(row.ids) for row in whole]
    limit = sorted(lengths)[3]
    rows, skipped = encode_rows(examples, tiny_tokenizer, template="plain", max_length=limit)
    assert [row.number for row in rows] == [i for i, n in enumerate(lengths) if n <= limit]
    assert [row.number for row in skipped] == [i for i, n in enumerate(lengths) if n > limit]
    for row in rows:
        assert np.array_equal(row.ids, whole[row.number].ids)
    assert f"tokens, more than {limit}" in skipped[0].why
    lines = list(listed(skipped, [f"d.jsonl:{i + 1}" for i in range(6)], most=1))
    assert lines[0].startswith(f"d.jsonl:{skipped[0].number + 1}: has ")
    assert len(lines) == (2 if len(skipped) > 1 else 1)


def test_a_row_without_an_answer_is_left_out(tiny_tokenizer):
    rows, skipped = encode_rows([Example("Say.", "", "  ")], tiny_tokenizer, template="plain")
    assert (rows, skipped[0].why) == ([], "has an empty answer")


def test_a_merge_across_the_border_does_not_change_the_prompt(tiny_tokenizer):
    prompt, answer = "near the", " harbour the baker"
    for cut in range(1, len(prompt)):
        ids, start = encode_pair(prompt[:cut], prompt[cut:] + answer, tiny_tokenizer)
        assert ids[:start] == encode_prompt(prompt[:cut], tiny_tokenizer)
        assert tiny_tokenizer.decode(ids[1:-1]) == prompt + answer


def test_a_tokenizer_that_cannot_end_is_refused(tiny_tokenizer):
    import copy

    endless = copy.deepcopy(tiny_tokenizer)
    endless.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        encode_pair("a", "b", endless)


def test_windows_of_text_follow_from_seed_and_epoch(tiny_tokenizer):
    texts = ["one two three four five six seven"] * 9
    data = PackedText.of(texts, tiny_tokenizer, 10, seed=3)
    everything = PackedText.of(texts, tiny_tokenizer, 10, seed=4).ids.tolist()
    assert everything.count(tiny_tokenizer.eos_token_id) == 9
    begins = set()
    for epoch in range(8):
        window = data[epoch, 0].ids.tolist()
        parts = [data[epoch, i].ids.tolist() for i in range(len(data))]
        joined = [token for part in parts for token in part]
        begin = next(b for b in range(20) if everything[b : b + len(joined)] == joined)
        begins.add(begin)
        assert window == data[epoch, 0].ids.tolist()
    assert len(begins) > 1
    with pytest.raises(UserError, match="fewer than one window"):
        PackedText.of(["a"], tiny_tokenizer, 10, seed=0)
