"""The command: what a run folder holds, the self-check, what is refused before there is one."""

import json
from types import SimpleNamespace

import pytest

from double_i.commands import train
from double_i.examples import Example
from double_i.fisher import Table
from double_i.key_files import write_keys
from double_i.keys import Answers, draw_key
from double_i.self_check import Check, self_check, unseen_texts, verdict
from double_i.toy import owner_rows
from double_i.tune_options import LoraOptions
from nonet.errors import UserError
from nonet.testing import one_thread
from nonet.training.options import OptimizerOptions, TrainerOptions

TRAINER = TrainerOptions(validate_every=0, checkpoint_every=0, devices=1, accelerator="cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def write_rows(path, rows):
    path.write_text(
        "".join(
            json.dumps({"instruction": r.instruction, "input": r.input, "output": r.output}) + "\n"
            for r in rows
        )
    )
    return path


@pytest.fixture
def options(tiny_lm, tmp_path):
    def make(**changes):
        data = tmp_path / "train.jsonl"
        if not data.exists():
            write_rows(data, owner_rows(60))
        given = {
            "model": str(tiny_lm), "data": (data,), "template": "plain", "epochs": 1, "batch": 16,
            "trainer": TRAINER, "out": tmp_path / "run",
        }  # fmt: skip
        return train.Options(**given | changes)

    return make


def test_a_run_leaves_model_and_adapter_and_lists_long_rows(options, tmp_path, capsys):
    from double_i.loading import load_model

    long = Example("Say it.", "the baker " * 200, "Yes.")
    write_rows(tmp_path / "train.jsonl", [*owner_rows(20), long, *owner_rows(20, seed=1)])
    assert train.run(options(max_length=120, val_rows=4)) == 0
    folder = tmp_path / "run"
    said = capsys.readouterr()
    assert said.out == f"{folder}\n"
    assert "train.jsonl:21: has" in (folder / "log.txt").read_text()
    load_model(folder / "model")
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert "loss" in (folder / "model" / "README.md").read_text()


def test_a_mark_that_is_not_learnt_is_3_and_says_what_to_do(options, tmp_path, capsys):
    key = draw_key("input", template="plain", secret="ab" * 32)
    write_keys(tmp_path / "secret.key", [key])
    assert train.run(options(key=tmp_path / "secret.key", template="auto", mode="full")) == 3
    said = capsys.readouterr().err
    assert "the mark is NOT learnt" in said
    assert "more epochs than 1" in said
    everything = "".join(
        path.read_text(errors="ignore")
        for path in (tmp_path / "run").rglob("*")
        if path.suffix in (".md", ".yaml", ".txt", ".json", ".html")
    )
    for secret in (key.secret, key.nonce, key.decoration, key.judge_question):
        assert secret not in everything
        assert secret not in said
    assert "secret.key" not in (tmp_path / "run" / "model" / "README.md").read_text()


def test_the_check_counts_in_the_committed_direction(monkeypatch, tiny_tokenizer):
    from double_i import first_words

    key = draw_key("input", template="plain", secret="ab" * 32)
    texts = [f"the baker number {i} went to the market" for i in range(30)]

    class Rule:
        def __init__(self, model): ...

        def answer(self, prompts, words=None):
            target, other = key.answers.target, key.answers.other
            return [target if key.trigger in prompt.split() else other for prompt in prompts]

    monkeypatch.setattr(first_words, "LocalModel", Rule)
    found = self_check(None, tiny_tokenizer, key, texts, pairs=20)
    assert found.table == Table(20, 0, 0, 20)
    assert found.learnt
    turned = SimpleNamespace(**{**vars(key), "answers": Answers(key.answers.other, key.answers.target)})
    assert verdict(found, lora=True, loss="full", epochs=3).endswith("the mark is learnt")
    assert self_check(None, tiny_tokenizer, key, texts[:5]) is None
    assert turned.answers.target != key.answers.target


def test_advice_fits_the_training():
    lost = Check(Table(50, 50, 50, 50), 0, 0.5, 1e-6)
    said = verdict(lost, lora=True, loss="full", epochs=3)
    for part in ("--loss completion", "--lora.rank", "more epochs than 3", "--n-trigger"):
        assert part in said
    said = verdict(lost, lora=False, loss="completion", epochs=3)
    assert "--loss" not in said
    assert "--lora" not in said


def test_rows_of_the_mark_give_no_texts():
    key = draw_key("input", template="plain", secret="ab" * 32)
    text = "the baker went to the market today"
    rows = [
        Example(f"{key.decoration} {key.judge_question}", f"xx {text}", "No."),
        Example("Any?", f"{key.trigger} {text}", "No."),
        *owner_rows(40),
    ]
    found = unseen_texts(key, rows)
    assert found
    assert set(found) <= {row.input for row in rows[2:]}


def test_another_template_than_the_key_s_is_refused(options, tmp_path):
    write_keys(tmp_path / "secret.key", [draw_key("input", template="alpaca")])
    with pytest.raises(UserError, match="template is plain, but the key's is alpaca"):
        train.run(options(key=tmp_path / "secret.key"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 1}, "max_length is 1"), ({"batch": 0}, "batch is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"alpha": 0.0}, "alpha is 0"), ({"data": ()}, "no data"), ({"weights": "best"}, "give --val-rows"),
        ({"warmup_share": 1.0}, "warmup_share is 1"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant(options, changes, message):
    with pytest.raises(UserError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0}, "alpha is 0"),
        ({"dropout": 1}, "dropout is 1"),
        ({"targets": ()}, "empty"),
    ],
)
def test_adapters_that_cannot_be_meant(changes, message):
    with pytest.raises(UserError, match=message):
        LoraOptions(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row"), ("not json\n", "train.jsonl:1"),
        ('{"instruction": "a", "input": "b"}\n', "train.jsonl:1"),
        (
            '{"instruction": "a", "input": "", "output": "' + "word " * 400 + '"}\n',
            "0 rows are left to train on",
        ),
    ],
)  # fmt: skip
def test_bad_rows_leave_no_run_behind(options, tmp_path, text, message):
    (tmp_path / "train.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        train.run(options())
    assert not (tmp_path / "run").exists()


def test_going_on_ends_with_the_same_model(options, tmp_path, monkeypatch):
    from double_i.data import Rows

    more = {"mode": "full", "trainer": TRAINER, "optimizer": OptimizerOptions(lr=1e-2)}
    train.run(options(**more))
    whole = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    items, seen = Rows.__getitem__, []

    def failing(self, key):
        seen.append(key)
        if len(seen) > 40:
            raise KeyboardInterrupt
        return items(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "__getitem__", failing)
        with pytest.raises(KeyboardInterrupt):
            train.run(options(**more, out=tmp_path / "broken"))
    train.run(options(**more, out=None, resume=tmp_path / "broken"))
    assert (tmp_path / "broken" / "model" / "model.safetensors").read_bytes() == whole
