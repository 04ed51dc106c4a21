"""The verb `summarize`: every document has its line, in order, however it is batched or interrupted."""

import json
import signal
import subprocess
import sys

import pytest
import torch

from nonet.cli import main
from nonet.testing import one_thread, replaced, run_cli
from nonet.training.hub import save_folder
from pegasus import summarize_texts
from pegasus.cli import VERBS
from pegasus.model import new_model
from pegasus.options import DecodeOptions, ModelOptions
from pegasus.predict import summarize

DECODE = ["--beams", "2", "--max-length", "10", "--max-input", "64", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(toy_tokenizer, tmp_path_factory):
    """A model that was never trained, with weights so large that documents differ in what it writes."""
    shape = {"layers": 1, "width": 32, "heads": 4, "feed_forward": 48, "max_positions": 96, "dropout": 0.0}
    model = new_model(ModelOptions(size="tiny", **shape), len(toy_tokenizer[0]), seed=1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 2 and "shared" not in name and "embed_positions" not in name:
                value *= 4
    path = tmp_path_factory.mktemp("model") / "model"
    save_folder(model.eval(), toy_tokenizer[0], path, "A model for tests.\n")
    return path


@pytest.fixture(scope="module")
def texts(toy_reports):
    """Thirty documents; numbers 3 and 17 are empty or blank, 5 is very long."""
    found = [report.text for report in toy_reports[:30]]
    found[3], found[17] = "", "  "
    found[5] = " ".join(found[:12])
    return found


@pytest.fixture(scope="module")
def loaded(folder):
    from pegasus.model import load_model
    from pegasus.tokenizer import Tokenizer

    return load_model(folder).eval(), Tokenizer.load(folder)


@pytest.fixture(scope="module")
def alone(loaded, texts):
    """Each document's summary, written with no other document beside it."""
    options = DecodeOptions(beams=2, max_length=10, max_input=64)
    with one_thread():
        return [next(summarize(*loaded, [text], options)) for text in texts]


def command(folder, *arguments):
    words = ["summarize", "--model", folder, *DECODE, *arguments]
    return main("pegasus", "about", "0", VERBS, argv=list(map(str, words)))


def write(path, texts):
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
    return path


# ----------------------------------------------------------- the order


def test_the_documents_differ_in_their_summaries(alone):
    assert len({summary.text for summary in alone}) > 20


@pytest.mark.parametrize("batch_tokens", [1, 64, 200, 100_000])
def test_summaries_do_not_depend_on_the_batches(loaded, texts, alone, batch_tokens):
    options = DecodeOptions(beams=2, max_length=10, max_input=64)
    found = list(summarize(*loaded, texts, options, batch_tokens=batch_tokens))
    assert [summary.text for summary in found] == [summary.text for summary in alone]
    assert [summary.score for summary in found] == pytest.approx([item.score for item in alone], abs=1e-5)
    assert [summary[2:] for summary in found] == [summary[2:] for summary in alone]


def test_documents_are_read_window_by_window(loaded, texts, alone, monkeypatch):
    import pegasus.predict

    monkeypatch.setattr(pegasus.predict, "WINDOW", 7)
    taken = []

    def source():
        for text in texts:
            taken.append(text)
            yield text

    stream = summarize(*loaded, source(), DecodeOptions(beams=2, max_length=10, max_input=64))
    assert next(stream) == pytest.approx(alone[0])
    assert len(taken) == 7
    assert [summary.text for summary in stream] == [summary.text for summary in alone[1:]]


def test_empty_documents_get_empty_summaries_and_long_ones_are_cut(loaded, texts, alone):
    assert [i for i, summary in enumerate(alone) if summary[2:] == (0, 0)] == [3, 17]
    assert (alone[3].text, alone[3].score) == ("", 0.0)
    tokens = len(loaded[1].encode(texts[5])) + 1
    assert alone[5].cut == tokens - 64 > 300
    short = [summary.cut for text, summary in zip(texts, alone, strict=True) if len(text) < 100]
    assert not any(short)


def test_what_lies_beyond_the_longest_input_does_not_matter(loaded, texts):
    options = DecodeOptions(beams=1, max_length=10, max_input=64)
    first, second = summarize(*loaded, [texts[5], texts[5] + " The frost came."], options)
    assert first.text == second.text
    assert second.cut > first.cut


def test_the_function_takes_a_folder_and_nothing(folder, texts, alone):
    options = DecodeOptions(beams=2, max_length=10, max_input=64)
    found = list(summarize_texts(folder, texts[:6], options, device="cpu"))
    assert found == [summary.text for summary in alone[:6]]
    assert list(summarize_texts(folder, [], options, device="cpu")) == []


# ----------------------------------------------------------- the command


def test_lines_and_counts(folder, texts, alone, tmp_path, capsys):
    given = write(tmp_path / "docs.jsonl", texts)
    assert command(folder, "--input", given) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\n") == [*(summary.text.replace("\n", " ") for summary in alone), ""]
    cut = sum(summary.cut > 0 for summary in alone)
    blank = sum(not summary.text.strip() for summary in alone)
    assert printed.err == f"30 summaries; {cut} documents cut at 64 tokens; {blank} empty summaries\n"


def test_a_plain_text_file_keeps_its_blank_lines(folder, texts, alone, tmp_path):
    (tmp_path / "docs.txt").write_text("".join(text + "\n" for text in texts[:8]))
    assert command(folder, "--input", tmp_path / "docs.txt", "--out", tmp_path / "out.txt") == 0
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert lines == [*(summary.text.replace("\n", " ") for summary in alone[:8]), ""]
    assert lines[3] == ""


def test_json_lines_say_where_each_summary_is_from(folder, texts, alone, tmp_path):
    given = write(tmp_path / "docs.jsonl", texts)
    assert command(folder, "--input", given, "--out", tmp_path / "sub" / "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "sub" / "out.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == [f"{given}:{i}" for i in range(1, 31)]
    assert [row["summary"] for row in rows] == [summary.text for summary in alone]
    assert [row["tokens"] for row in rows] == [summary.tokens for summary in alone]
    assert [row["score"] for row in rows] == pytest.approx([summary.score for summary in alone], abs=1e-5)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["out.jsonl"]


def test_a_list_of_sentences_is_a_document(folder, texts, alone, tmp_path, capsys):
    row = {"mail": [sentence + "." for sentence in texts[0].rstrip(".").split(". ")], "id": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert command(folder, "--input", tmp_path / "a.jsonl", "--text-field", "mail") == 0
    assert capsys.readouterr().out == alone[0].text + "\n"


def test_line_ends_in_summaries_become_spaces_or_stay_visible(folder, tmp_path, monkeypatch, capsys):
    import pegasus.predict
    from pegasus.predict import Summary

    def write_two_lines(model, tokenizer, documents, options, *, batch_tokens):
        for _ in documents:
            yield Summary("a\nb", -1.0, 4, 0)

    monkeypatch.setattr(pegasus.predict, "summarize", write_two_lines)
    (tmp_path / "a.txt").write_text("x\ny\n")
    assert command(folder, "--input", tmp_path / "a.txt") == 0
    assert capsys.readouterr().out == "a b\na b\n"
    assert command(folder, "--input", tmp_path / "a.txt", "--newline", "keep") == 0
    assert capsys.readouterr().out == "a\\nb\na\\nb\n"
    assert command(folder, "--input", tmp_path / "a.txt", "--out", tmp_path / "a.jsonl") == 0
    rows = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(row)["summary"] for row in rows] == ["a\nb"] * 2


@pytest.mark.slow
def test_the_program_reads_standard_input(folder, texts, alone):
    done = run_cli("pegasus", "summarize", "--model", folder, *DECODE, input="\n".join(texts[:3]) + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(summary.text.replace("\n", " ") + "\n" for summary in alone[:3])
    assert done.stderr.splitlines()[-1].startswith("3 summaries")


# ----------------------------------------------------------- interruptions


KILLED = """
import os, signal, sys
from pegasus import cli, predict
predict.WINDOW = 4
window = predict._window
calls = []
def dying(*arguments):
    calls.append(1)
    for number, summary in enumerate(window(*arguments)):
        if len(calls) == 3 and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield summary
predict._window = dying
sys.argv[0] = "pegasus"
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_its_last_whole_line(folder, texts, tmp_path, capsys):
    name = "out.jsonl"
    given = write(tmp_path / "docs.jsonl", texts)
    assert command(folder, "--input", given, "--out", tmp_path / "whole" / name) == 0
    wanted = (tmp_path / "whole" / name).read_bytes()
    words = ["summarize", "--model", folder, *DECODE, "--input", given, "--out", tmp_path / name]
    line = [sys.executable, "-c", KILLED, *map(str, words)]
    assert subprocess.run(line, capture_output=True, check=False).returncode == -signal.SIGKILL
    part = tmp_path / f"{name}.part"
    assert part.read_bytes().count(b"\n") == 10
    assert not (tmp_path / name).exists()
    with open(part, "ab") as file:
        file.write(wanted.split(b"\n")[10][:3])  # as if it had died while writing
    capsys.readouterr()
    assert command(folder, "--input", given, "--out", tmp_path / name) == 0
    assert "20 summaries; 10 were there already" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == wanted
    assert not part.exists()


# ----------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model", "none"], "none"),
        (["--input", "none.txt"], "none.txt: no such file"),
        (["--out", "there.txt"], "there.txt is there already; name another --out or remove it"),
        (["--text-field", "body"], "docs.jsonl:1: no field 'body'; fields are id, text"),
        (["--beams", "0"], "beams is 0; it is at least 1"),
        (["--top-k", "5"], "sampling (top_k, top_p) keeps one sequence: set beams to 1"),
        (["--beams", "1", "--top-k", "5", "--top-p", "0.5"], "exclude each other"),
        (["--min-length", "20"], "0 <= min <= max"),
        (["--length-norm", "best"], "gnmt"),
    ],
)
def test_mistakes_are_one_line(folder, texts, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "docs.jsonl", texts[:2])
    (tmp_path / "there.txt").write_text("kept")
    assert command(folder, *replaced(["--input", "docs.jsonl"], *changes)) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("\n") == 1, error
    assert out == ""
    assert (tmp_path / "there.txt").read_text() == "kept"


def test_a_tokenizer_beyond_the_models_embedding_is_refused(toy_tokenizer, tmp_path, capsys):
    shape = ModelOptions(size="tiny", layers=1, width=16, heads=2, max_positions=64)
    save_folder(new_model(shape, 200), toy_tokenizer[0], tmp_path / "model", "card\n")
    (tmp_path / "a.txt").write_text("x\n")
    assert command(tmp_path / "model", "--input", tmp_path / "a.txt") == 2
    assert "the tokenizer has 293 ids and the model 200 embeddings" in capsys.readouterr().err


def test_a_model_folder_without_a_tokenizer_is_refused(folder, tmp_path, capsys):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "a.txt").write_text("x\n")
    assert command(tmp_path, "--input", tmp_path / "a.txt") == 2
    assert "spiece.model or tokenizer.json not found in" in capsys.readouterr().err
