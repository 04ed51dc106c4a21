"""The made-up task, and the demo's parts at a fraction of their length, twice."""

import json
from collections import Counter

import pytest
import torch

from cap_prune import demonstration, toy
from cap_prune.architectures import units_of
from cap_prune.demonstration import Plan, cut
from cap_prune.unit_criteria import magnitude
from nonet.errors import UserError
from nonet.report.demos import read
from nonet.testing import one_thread

SHORT = Plan(
    train=48, dev=40, layers=2, width=16, heads=2, neurons=16, targets=(25.0, 50.0), pretrain_steps=2,
    teacher_steps=2, student_steps=1, batch=8, length=16,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def by_hand(text):
    """The label that a reader gives: the last adjective's, turned round by "not"."""
    words = text.split()
    place, word = max((words.index(each), each) for side in toy.WORDS for each in side if each in words)
    return int(word in toy.WORDS[1]) ^ (words[place - 1] == "not"), int(word in toy.WORDS[1])


def test_labels_follow_from_the_sentence_and_from_no_single_word():
    made = toy.sentences(600)
    assert made[:5] == toy.sentences(5)
    assert made[:5] != toy.sentences(5, seed=1)
    last = [each.text.rpartition(" but ")[2] for each in made]
    assert [by_hand(text) for text in last] == [(each.label, each.word) for each in made]
    share = sum(each.label == each.word for each in made) / len(made)
    assert 0.7 < share < 0.8  # what the last adjective alone would give
    assert 0.45 < sum(each.label for each in made) / len(made) < 0.55
    assert min(Counter(each.kind for each in made).values()) > 110
    for each in made:
        names = toy.KINDS[tuple(toy.KINDS)[each.kind]]
        assert any(name in each.text for name in names)


def test_every_word_has_a_piece_of_its_own_and_fits():
    words = toy.tokenizer()
    rows = words([each.text for each in toy.sentences(300)])["input_ids"]
    assert words.unk_token_id not in {piece for row in rows for piece in row}
    assert max(map(len, rows)) <= toy.LENGTH
    assert words.convert_tokens_to_ids(list(toy.MARKS)) == [0, 1, 2, 3, 4]
    assert len(words) == len(toy.vocabulary()) == toy.new_bert().config.vocab_size


def test_weights_follow_from_the_seed_and_leave_the_callers_numbers(tmp_path):
    before = torch.get_rng_state()
    first, second, other = toy.new_bert(), toy.new_bert(), toy.new_bert(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_both_tasks_are_about_the_same_sentences(tmp_path):
    task = toy.write_task(tmp_path / "a", 20, 10)
    general = toy.write_task(tmp_path / "b", 20, 10, what="general")
    for side, count in (("train", 20), ("dev", 10)):
        rows, others = (
            [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
            for folder in (task, general)
        )
        assert len(rows) == count
        assert [row["text"] for row in rows] == [row["text"] for row in others]
        assert {row["label"] for row in rows} == set(toy.LABELS)
        assert {row["label"].split()[1] for row in others} == {"bad", "good"}


def test_a_cut_leaves_the_units_of_largest_norm():
    model = toy.new_bert(layers=1, heads=4, neurons=8)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[:, [2, 5]] *= 100
        model.bert.encoder.layer[0].attention.output.dense.weight[:, 24:] *= 100
    cut(model, 75, magnitude)
    assert units_of(model).heads == ((3,),)
    assert units_of(model).neurons == ((2, 5),)


def numbers_of_a_demo(folder):
    from cap_prune.commands.demo import Options, run

    assert run(Options(out=folder)) == 0
    found = read(folder, "cap-prune")
    assert (found.package, found.better) == ("cap-prune", "higher")
    told = json.loads((folder / "demo.json").read_text())
    assert told.pop("seconds") > 0
    return told


def test_a_demo_has_the_keys_that_all_demos_have_and_models_that_shrink(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demonstration, "Plan", lambda: SHORT)
    told = numbers_of_a_demo(tmp_path / "demo")
    assert [row["pruned %"] for row in told["models"]] == [0, 25, 50, 25, 50]
    sizes = [row["parameters"] for row in told["models"]]
    assert sizes[0] > sizes[1] == sizes[3] > sizes[2] == sizes[4]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "accuracy at 50 %" in capsys.readouterr().out
    assert (tmp_path / "demo" / "small" / "model.safetensors").is_file()


@pytest.mark.slow
def test_two_demos_give_the_same_numbers_and_the_second_replaces_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstration, "Plan", lambda: SHORT)
    first = numbers_of_a_demo(tmp_path / "demo")
    (tmp_path / "demo" / "left.txt").write_text("old")
    assert numbers_of_a_demo(tmp_path / "demo") == first
    assert not (tmp_path / "demo" / "left.txt").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    from cap_prune.commands.demo import Options, run

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else than a demo"):
        run(Options(out=tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_training_regains_what_a_cut_loses(tmp_path, capsys):
    from cap_prune.commands.demo import Options, run

    assert run(Options(out=tmp_path / "demo")) == 0
    told = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert told["after"] > told["before"] + 5
