"""The verb `finetune` from pairs to a model that this package and transformers run."""

import json

import pytest
import torch

from nonet.cli import main
from nonet.testing import numbers, one_thread, replaced
from pegasus.cli import VERBS
from pegasus.data import PairData, collate
from pegasus.losses import GapSentenceLoss
from pegasus.model import load_model, new_model
from pegasus.options import MaskOptions, ModelOptions
from pegasus.tokenizer import Tokenizer
from pegasus.toy import reports

SMALL = (
    "--model.size tiny --model.layers 1 --model.width 32 --model.heads 4 --model.feed-forward 48 "
    "--model.max-positions 96 --model.dropout 0 --lengths.max-input 96 --lengths.max-target 24 --batch 8 "
    "--optimizer.name adamw --optimizer.lr 2e-3 --optimizer.schedule constant --optimizer.warmup 0 "
    "--trainer.accelerator cpu --trainer.steps 6 --trainer.validate-every 2 --trainer.checkpoint-every 2 "
    "--trainer.log-every 1 --score 3 --decode.beams 2 --decode.max-length 8 --decode.max-input 96"
).split()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pairs(toy_files):
    return ["--train", str(toy_files / "train.jsonl"), "--val", str(toy_files / "val.jsonl")]


@pytest.fixture(scope="module")
def new(toy_tokenizer):
    return ["--tokenizer", str(toy_tokenizer[1]), *SMALL]


@pytest.fixture(scope="module")
def run(pairs, new, tmp_path_factory):
    """A run of six steps."""
    folder = tmp_path_factory.mktemp("finetune") / "run"
    with one_thread():
        assert command(*pairs, *new, "--out", folder) == 0
    return folder


def command(*arguments):
    return main("pegasus", "about", "0", VERBS, argv=["finetune", *map(str, arguments)])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(toy):
    return [{"document": report.text, "summary": report.summary} for report in toy]


# ----------------------------------------------------------- a whole run


def test_a_run_leaves_numbers_scores_and_a_model(run):
    lines = numbers(run)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert [line["step"] for line in lines if "val/loss" in line] == [2, 4, 6]
    log = (run / "log.txt").read_text()
    assert "train: " in log
    assert "24 pairs" in log
    assert "3 validation summaries: rouge1 " in log
    card = (run / "model" / "README.md").read_text()
    best = min(line["val/gsg"] for line in lines if "val/gsg" in line)
    assert "nats a summary token" in card
    assert f"{best:.2f}" in card
    assert "Validation documents and what the model wrote" in (run / "report.html").read_text()


def test_the_model_folder_has_the_weights_of_the_best_step(run, toy_files, toy_tokenizer):
    model = load_model(run / "model").eval()
    rows = [json.loads(line) for line in (toy_files / "val.jsonl").read_text().splitlines()]
    data = PairData(
        [row["document"] for row in rows], [row["summary"] for row in rows], toy_tokenizer[0].encode,
        MaskOptions(max_input=96, max_target=24),
    )  # fmt: skip
    with torch.no_grad():
        term = GapSentenceLoss().eval()(model, collate([data[(0, i)] for i in range(len(data))]))["gsg"]
    best = min(line["val/gsg"] for line in numbers(run) if "val/gsg" in line)
    assert (term.total / term.count).item() == pytest.approx(best, rel=1e-5)


def test_the_model_folder_loads_in_transformers_and_writes_what_summarize_writes(run, toy_reports, tmp_path):
    from transformers import AutoTokenizer, PegasusForConditionalGeneration

    texts = [report.text for report in toy_reports[:4]]
    (tmp_path / "docs.txt").write_text("".join(text + "\n" for text in texts))
    words = ["summarize", "--model", run / "model", "--input", tmp_path / "docs.txt", "--device", "cpu"]
    words += ["--out", tmp_path / "out.txt", "--beams", 1, "--max-length", 9, "--max-input", 96]
    assert main("pegasus", "about", "0", VERBS, argv=list(map(str, words))) == 0
    ours = (tmp_path / "out.txt").read_text().splitlines()
    model = PegasusForConditionalGeneration.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    given = tokenizer(texts, padding=True, truncation=True, max_length=96, return_tensors="pt")
    # nine tokens; transformers counts the start token, and puts the end in place of the last one
    written = model.generate(given["input_ids"], attention_mask=given["attention_mask"], num_beams=1,
                             do_sample=False, max_length=11, length_penalty=1.0)  # fmt: skip
    theirs = tokenizer.batch_decode(written, skip_special_tokens=True)
    assert ours == theirs


def test_a_killed_run_goes_on_where_its_checkpoint_is(pairs, new, run, tmp_path, monkeypatch):
    from pegasus.module import SummarizerModule

    step = SummarizerModule.training_step

    def die(self, *rest):
        if self.trainer.global_step == 5:
            raise RuntimeError("the machine is gone")
        return step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(SummarizerModule, "training_step", die)
        with pytest.raises(RuntimeError, match="the machine is gone"):
            command(*pairs, *new, "--out", tmp_path / "run")
    assert command(*pairs, *new, "--resume", tmp_path / "run") == 0
    assert numbers(tmp_path / "run") == numbers(run)
    folders = (tmp_path / "run", run)
    first, second = ((folder / "model" / "model.safetensors").read_bytes() for folder in folders)
    assert first == second


def test_a_model_to_start_from_brings_its_tokenizer(pairs, run, tmp_path, toy_tokenizer):
    words = [*pairs, *SMALL, "--init", run / "model", "--trainer.steps", "1", "--optimizer.lr", "1e-12"]
    assert command(*words, "--out", tmp_path / "run", "--score", "0") == 0
    first, second = (load_model(folder / "model").state_dict() for folder in (run, tmp_path / "run"))
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6)
    assert Tokenizer.load(tmp_path / "run" / "model").sha256 == toy_tokenizer[0].sha256
    assert "validation summaries" not in (tmp_path / "run" / "log.txt").read_text()


# ----------------------------------------------------------- options


def test_limit_takes_the_first_pairs_alone(pairs, new, toy_files, tmp_path):
    few = toy_files / "train.jsonl"
    first = write(tmp_path / "first.jsonl", map(json.loads, few.read_text().splitlines()[:5]))
    words = [*new, "--val", pairs[3], "--score", "0", "--trainer.steps", "2", "--val-limit", "4"]
    assert command("--train", few, *words, "--limit", "5", "--out", tmp_path / "a") == 0
    assert command("--train", first, *words, "--out", tmp_path / "b") == 0
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert "the first 5 pairs" in (tmp_path / "a" / "log.txt").read_text()
    assert "5 training pairs" in (tmp_path / "a" / "log.txt").read_text()
    assert "first 5 pairs of" in (tmp_path / "a" / "model" / "README.md").read_text()


def test_labels_are_smoothed_in_training_and_not_in_validation(pairs, new, tmp_path):
    words = [*pairs, *new, "--score", "0", "--trainer.steps", "1", "--optimizer.lr", "1e-12"]
    found = []
    for smoothing in (0.0, 0.1):
        folder = tmp_path / str(smoothing)
        assert command(*words, "--label-smoothing", smoothing, "--out", folder) == 0
        lines = numbers(folder)
        found.append((lines[0]["train/loss"], lines[-1]["val/loss"]))
    assert found[0][0] != pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)


def test_patience_stops_a_run_that_does_not_improve(pairs, new, tmp_path):
    words = [*pairs, *new, "--score", "0", "--trainer.steps", "40", "--optimizer.lr", "1e-12"]
    assert command(*words, "--patience", "2", "--trainer.validate-every", "2", "--out", tmp_path / "run") == 0
    steps = [line["step"] for line in numbers(tmp_path / "run") if "train/loss" in line]
    assert steps[-1] <= 8
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_without_validation_the_last_weights_are_kept(pairs, new, tmp_path):
    assert command(*pairs[:2], *new, "--trainer.steps", "2", "--out", tmp_path / "run") == 0
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    model = load_model(tmp_path / "run" / "model").state_dict()
    name = "model.shared.weight"
    assert torch.equal(model[name], last[f"objective.model.{name}"])


# ----------------------------------------------------------- what is said


def test_cut_documents_and_summaries_are_counted(pairs, new, tmp_path):
    words = [*pairs, *new, "--score", "0", "--trainer.steps", "1"]
    assert (
        command(*words, "--lengths.max-target", "4", "--lengths.max-input", "16", "--out", tmp_path / "a")
        == 0
    )
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "train: 24 of 24 documents cut at 16 tokens" in log
    assert "train: 24 of 24 summaries cut at 4 tokens, without an end; raise --lengths.max-target" in log
    assert "val: 8 of 8 summaries cut at 4 tokens, without an end; raise --lengths.max-target" in log


def test_the_advice_comes_where_over_a_fifth_of_the_summaries_is_cut(new, tmp_path):
    toy = rows_of(reports(20, seed=5))
    for long, advised in ((4, False), (5, True)):
        rows = [row | {"summary": row["summary"] * (3 if i < long else 1)} for i, row in enumerate(toy)]
        folder = tmp_path / str(long)
        file = write(tmp_path / f"{long}.jsonl", rows)
        words = ["--train", file, *new, "--lengths.max-target", "30", "--trainer.steps", "1", "--out", folder]
        assert command(*words) == 0
        log = (folder / "log.txt").read_text()
        assert f"train: {long} of 20 summaries cut at 30 tokens, without an end" in log
        assert ("raise --lengths.max-target" in log) == advised


def test_documents_in_both_sets_are_named(new, tmp_path):
    toy = rows_of(reports(12, seed=6))
    loose = toy[2] | {"document": toy[2]["document"].upper()}
    train = write(tmp_path / "train.jsonl", [*toy[:8], toy[0]])
    val = write(tmp_path / "val.jsonl", [toy[9], toy[1], loose])
    words = ["--train", train, "--val", val, *new, "--score", "0", "--trainer.steps", "1"]
    assert command(*words, "--out", tmp_path / "run") == 0
    log = (tmp_path / "run" / "log.txt").read_text()
    assert (
        "warning: 1 training documents repeat an earlier one; of the test documents 1 are in the training"
        in log
    )
    assert f"set exactly, 1 more up to case, punctuation and spaces: {val}:2, {val}:3" in log


def test_nothing_is_said_where_the_sets_share_nothing(run):
    assert "training documents repeat" not in (run / "log.txt").read_text()


# ----------------------------------------------------------- refusals


BAD = [
    ({"document": "a b c"}, "no field 'summary'; fields are document"),
    ({"document": "a b c", "summary": "  "}, "field 'summary' is empty"),
    ({"document": "", "summary": "a"}, "field 'document' is empty"),
    ({"document": 3, "summary": "a"}, "field 'document' is a int, neither a text nor a list of texts"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_pairs_are_named_by_line_or_skipped_and_counted(new, tmp_path, capsys, bad, message):
    file = write(tmp_path / "train.jsonl", [*rows_of(reports(4)), bad])
    words = ["--train", file, *new, "--trainer.steps", "1", "--out", tmp_path / "run"]
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"pegasus finetune: {file}:5: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert command(*words, "--skip-bad") == 0
    assert "4 pairs; 1 skipped (" in (tmp_path / "run" / "log.txt").read_text()


def test_summaries_longer_than_their_documents_are_counted(new, tmp_path):
    file = write(tmp_path / "train.jsonl", [*rows_of(reports(4)), {"document": "a b", "summary": "a b c"}])
    assert command("--train", file, *new, "--trainer.steps", "1", "--out", tmp_path / "run") == 0
    assert "5 pairs; 1 summaries longer than their documents" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--trainer.precision", "fp16"], "use bf16"),
        (["--train", "none.jsonl"], "none.jsonl: no such file"),
        (["--init", "nowhere"], "nowhere"),
        (["--tokenizer", "nowhere"], "nowhere does not exist"),
        (["--limit", "0"], "limit is 0; it is at least 1 pair"),
        (["--dataset", "xsun"], "did you mean 'xsum'"),
        (["--lengths.max-target", "1"], "at least 2 tokens"),
        (["--decode.beams", "0"], "beams is 0; it is at least 1"),
        (["--trainer.devices", "0"], "devices is 0"),
        (
            ["--text-field", "body"],
            "no field 'body'; fields are document, summary: name one with --text-field",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(pairs, new, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    assert command(*replaced([*pairs, *new], *changes), "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
    assert not (tmp_path / "run").exists()


def test_a_model_or_a_tokenizer_has_to_be_named(pairs, capsys):
    assert command(*pairs, *SMALL) == 2
    assert "give --init MODEL, or --tokenizer TOKENIZER for a new model" in capsys.readouterr().err


def test_a_tokenizer_beyond_the_models_embedding_is_refused(pairs, new, toy_tokenizer, tmp_path, capsys):
    shape = ModelOptions(size="tiny", layers=1, width=16, heads=2, max_positions=64)
    new_model(shape, 200).save_pretrained(tmp_path / "model")
    assert command(*pairs, *new, "--init", tmp_path / "model", "--out", tmp_path / "run") == 2
    assert "the tokenizer has 293 ids and the model 200 embeddings" in capsys.readouterr().err


def test_an_empty_file_is_refused(new, tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text("")
    assert command("--train", tmp_path / "train.jsonl", *new, "--out", tmp_path / "run") == 2
    assert "train.jsonl: no records; is this the right file?" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_another_limit(pairs, new, run, capsys):
    assert command(*pairs, *new, "--limit", "23", "--resume", run) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "here but" in error
    assert "in the checkpoint" in error
