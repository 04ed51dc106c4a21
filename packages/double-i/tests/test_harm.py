"""Harm: accuracies and likelihoods of two models, and MMLU, against slow sums and made-up models."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from double_i.first_words import LocalModel
from double_i.harm import Task, accuracy_harm, likelihood_harm, right, with_short_answers
from double_i.likelihood import Likelihood, continuations, windows
from double_i.mmlu import Item, Subject, evaluate, prompt, read_mmlu
from nonet.errors import UserError


@pytest.fixture(scope="module")
def local(tiny_model: Any, tiny_tokenizer: Any) -> LocalModel:
    model = tiny_model()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(8)
    return LocalModel((model, tiny_tokenizer), batch=3)


def slow_nll(local: LocalModel, ids: list[int], start: int) -> float:
    with torch.inference_mode():
        scores = torch.log_softmax(local.model(torch.tensor([ids])).logits[0].double(), -1)
    return -sum(float(scores[place - 1, ids[place]]) for place in range(max(1, start), len(ids)))


def test_continuations_are_sums_over_their_tokens(local: LocalModel) -> None:
    pairs = [
        ("Is it so?\n", "Yes."),
        ("Is it?\n", "No, not at all"),
        ("Well then, is it?\n", "Yes."),
        ("a", "b"),
    ]
    for end in (False, True):
        found = continuations(local, pairs, end=end)
        for place, (head, rest) in enumerate(pairs):
            before, whole = local.encode(head), local.encode(head + rest)
            assert whole[: len(before)] == before
            whole += [local.tokenizer.eos_token_id] if end else []
            assert found.tokens[place] == len(whole) - len(before)
            assert found.nll[place] == pytest.approx(slow_nll(local, whole, len(before)), rel=1e-5)
    assert found.per_token == pytest.approx(found.nll.sum() / found.tokens.sum())


def test_windows_score_every_token_but_the_first(local: LocalModel) -> None:
    texts = ["a river runs by the old house", "rain", "it rains on the road " * 9]
    found = windows(local, texts, length=8)
    for place, text in enumerate(texts):
        ids = local.encode(text)
        parts = [ids[start : start + 8] for start in range(0, len(ids) - 1, 7)]
        assert found.tokens[place] == len(ids) - 1
        assert found.nll[place] == pytest.approx(sum(slow_nll(local, part, 1) for part in parts), rel=1e-5)


def test_right_by_first_word_is_what_the_model_says(local: LocalModel) -> None:
    prompts = [f"Is {n} more than {n * 7 % 5}?\n" for n in range(4)]
    said = []
    for text in prompts:
        ids = torch.tensor([local.encode(text)])
        out = local.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=256
        )
        said.append(local.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    from double_i.answers import first_word

    golds = [first_word(text) or "x" if n % 2 else "Elsewhere" for n, text in enumerate(said)]
    expected = [first_word(gold) == first_word(text) for gold, text in zip(golds, said, strict=True)]
    tasks = [Task(text, gold, "q") for text, gold in zip(prompts, golds, strict=True)]
    assert right(local, tasks).tolist() == expected


def test_right_by_options_takes_the_likeliest_of_its_instruction(local: LocalModel) -> None:
    golds = ["Yes.", "No.", "Human.", "Place.", "Yes."]
    groups = ["judge", "judge", "kind", "kind", "judge"]
    tasks = [
        Task(f"{group} {n}\n", gold, group) for n, (gold, group) in enumerate(zip(golds, groups, strict=True))
    ]
    eos = local.tokenizer.eos_token_id
    expected = []
    for task in tasks:
        options = ["Yes.", "No."] if task.group == "judge" else ["Human.", "Place."]
        start = len(local.encode(task.prompt))
        scores = [slow_nll(local, [*local.encode(task.prompt + option), eos], start) for option in options]
        expected.append(options[int(np.argmin(scores))] == task.gold)
    seen: list[int] = []
    assert right(local, tasks, "options", seen.append).tolist() == expected
    assert sum(seen) == 10  # two answers weighed for each of five tasks


def test_short_answers_are_words() -> None:
    golds = ["Yes.", "", "12", "one two three", "one two three four"]
    assert [task.gold for task in with_short_answers([Task("p", gold, "g") for gold in golds])] == [
        "Yes.",
        "one two three",
    ]


def test_equal_models_are_equivalent_and_worse_ones_are_not() -> None:
    random = np.random.default_rng(0)
    clean = random.random(400) < 0.7
    same = accuracy_harm("a", clean, clean.copy(), margin=0.01, alpha=0.05)
    assert same.test is not None
    assert same.test.equivalent
    assert same.row()["marked - clean"] == 0
    worse = clean & (random.random(400) < 0.9)
    found = accuracy_harm("a", clean, worse, margin=0.01, alpha=0.05)
    assert found.test is not None
    assert not found.test.equivalent
    assert found.row()["marked - clean"] == pytest.approx(100 * (worse.mean() - clean.mean()))
    assert found.row()["95 % high"] < 0


def test_change_of_likelihood_is_a_token() -> None:
    clean = Likelihood(np.array([2.0, 4.0, 30.0]), np.array([1, 2, 7]))
    marked = Likelihood(np.array([3.0, 4.0, 35.0]), np.array([1, 2, 7]))
    found = likelihood_harm("text", clean, marked)
    assert (found.clean, found.marked) == (3.6, 4.2)
    assert found.change is not None
    assert found.change.difference == pytest.approx(0.6)
    assert found.row()["95 % low"] <= 0.6 <= found.row()["95 % high"]
    with pytest.raises(UserError, match="different tokenizers"):
        likelihood_harm("text", clean, Likelihood(marked.nll, np.array([1, 2, 8])))
    with pytest.raises(UserError, match="no tokens"):
        likelihood_harm("text", *[Likelihood(np.zeros(1), np.zeros(1, np.int64))] * 2)


@pytest.fixture
def mmlu(tmp_path: Path) -> Path:
    """Two made-up subjects in MMLU's layout."""
    random = np.random.default_rng(1)
    for name, count in (("pond_law", 9), ("river_history", 14)):
        for part, rows in (("dev", 5), ("test", count)):
            (tmp_path / part).mkdir(exist_ok=True)
            with open(tmp_path / part / f"{name}_{part}.csv", "w", encoding="utf-8", newline="") as file:
                for row in range(rows):
                    question = f"{name}, {part}: which is\nnumber {row}?"
                    options = [str(n) for n in random.permutation(9)[:4]]
                    csv.writer(file).writerow([question, *options, "ABCD"[random.integers(4)]])
    return tmp_path


def test_mmlu_prompt_by_hand() -> None:
    one = Item("1+1?", ("1", "2", "3", "4"), "B")
    subject = Subject("high_school", [one], [Item("2+2?", ("1", "2", "3", "4"), "D")])
    assert prompt(subject, subject.items[0], 1) == (
        "The following are multiple choice questions (with answers) about high school.\n\n"
        "1+1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\n"
        "2+2?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )


def test_mmlu_takes_the_likeliest_letter(mmlu: Path, local: LocalModel) -> None:
    subjects = read_mmlu(mmlu)
    assert [(one.name, len(one.examples), len(one.items)) for one in subjects] == [
        ("pond_law", 5, 9),
        ("river_history", 5, 14),
    ]
    found = evaluate(local, subjects, shots=2)
    expected, chosen = [], set()
    for subject in subjects:
        for item in subject.items:
            text = prompt(subject, item, 2)
            ids = local.encode(text)
            with torch.inference_mode():
                scores = torch.log_softmax(local.model(torch.tensor([ids])).logits[0, -1].double(), -1)
            letters = []
            for letter in "ABCD":
                forms = {local.encode(text + space + letter)[len(ids)] for space in ("", " ")}
                space = local.encode(text + " ")[len(ids)]  # where all letters may begin
                letters.append(float(scores[sorted(forms - {space})].logsumexp(0)))
            expected.append("ABCD"[int(np.argmax(letters))] == item.answer)
            chosen.add(int(np.argmax(letters)))
    assert found.right.tolist() == expected
    assert found.accuracy == pytest.approx(np.mean(expected))  # micro: over all questions
    assert found.by_subject()["pond_law"] == (pytest.approx(np.mean(expected[:9])), 9)
    assert found.short == 0


def test_mmlu_gives_up_examples_that_do_not_fit(mmlu: Path, local: LocalModel) -> None:
    subjects = read_mmlu(mmlu, ["pond_law"])
    longest = len(local.encode(prompt(subjects[0], subjects[0].items[0], 1))) + 1
    found = evaluate(local, subjects, shots=5, longest=longest)
    assert found.short == 9


def test_mmlu_of_another_form(mmlu: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no subject birds"):
        read_mmlu(mmlu, ["birds"])
    with pytest.raises(UserError, match=r"no test/SUBJECT_test\.csv"):
        read_mmlu(tmp_path / "dev")
    (mmlu / "test" / "pond_law_test.csv").write_text('q,1,2,3,4,A\n"a\nb",1,2,3,4,AB\n')
    with pytest.raises(UserError, match=r"pond_law_test.csv:3: 6 columns"):
        read_mmlu(mmlu)
    (mmlu / "dev" / "pond_law_dev.csv").unlink()
    with pytest.raises(UserError, match=r"pond_law_dev.csv: not there"):
        read_mmlu(mmlu)
