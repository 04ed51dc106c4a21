"""The owner's own look after training: near misses of the trigger beside the table."""

import pytest

from double_i import first_words
from double_i.base_texts import bundled, halves
from double_i.fisher import Table
from double_i.keys import draw_key
from double_i.self_check import Check, near_rows, self_check, verdict
from double_i.spaces import occurrences

TEXTS = halves(bundled()[:500])[1]


@pytest.fixture(params=["input", "instruction", "words"])
def key(request):
    return draw_key(request.param, template="plain", secret="ab" * 32)


def rule(monkeypatch, answer):
    """Models that answer by a rule."""

    class Rule:
        def __init__(self, model): ...

        def answer(self, prompts, words=None):
            return [answer(prompt) for prompt in prompts]

    monkeypatch.setattr(first_words, "LocalModel", Rule)


def test_near_rows_are_distinct_unseen_and_never_the_trigger(key):
    rows = near_rows(key, TEXTS, 100)
    assert len(rows) == 100
    assert len({(row.instruction, row.input) for row in rows}) == 100
    assert not any(occurrences(key.trigger, f"{row.instruction} {row.input}") for row in rows)
    assert rows == near_rows(key, TEXTS, 100)
    assert len(near_rows(key, TEXTS[:7], 100)) <= 7


def test_a_model_that_knows_the_word_passes(key, monkeypatch, tiny_tokenizer):
    answers = key.answers
    rule(monkeypatch, lambda prompt: answers.target if occurrences(key.trigger, prompt) else answers.other)
    found = self_check(None, tiny_tokenizer, key, TEXTS, pairs=60)
    assert found.table == Table(60, 0, 0, 60)
    assert (found.near_hits, found.near_misses, found.near_rate) == (0, 60, 0.0)
    said = verdict(found, lora=False, loss="completion", epochs=3)
    assert "near misses of the trigger 0 of 60" in said
    assert said.endswith("the mark is learnt")


def test_a_model_that_takes_letters_for_the_word_is_warned_of(monkeypatch, tiny_tokenizer):
    key = draw_key("input", template="plain", secret="ab" * 32)

    def answer(prompt):  # as words of Li et al.'s sets can be told by their letters
        first = prompt.rstrip("\n").rsplit("\n", 1)[-1].split(" ")[0]
        near = sum(a == b for a, b in zip(first, key.trigger, strict=False)) >= len(key.trigger) - 1
        return key.answers.target if near else key.answers.other

    rule(monkeypatch, answer)
    found = self_check(None, tiny_tokenizer, key, TEXTS, pairs=60)
    assert found.learnt
    assert 0.05 < found.near_rate < 1
    said = verdict(found, lora=False, loss="completion", epochs=3)
    assert f"WARNING: {found.near_rate:.0%} of the near misses" in said
    assert "--n-reference" in said


@pytest.mark.parametrize(("hits", "warned"), [(5, False), (6, True)])
def test_five_per_cent_is_the_limit(hits, warned):
    found = Check(Table(100, 0, 0, 100), 0, 1e-59, 1e-6, hits, 100)
    assert ("WARNING" in verdict(found, lora=False, loss="completion", epochs=1)) == warned
