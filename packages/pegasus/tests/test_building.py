"""Shards built from files: the same bytes however they are built, and counts of everything left out."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nonet.cli import main
from nonet.data.shards import Shards
from nonet.data.text import TextReader
from nonet.errors import UserError
from nonet.testing import needs, run_cli
from pegasus.building import BATCH, build_shards
from pegasus.cli import VERBS
from pegasus.options import CorpusOptions, GapOptions, MaskOptions, WordOptions
from pegasus.statistics import corpus_statistics, entropy
from pegasus.toy import reports

REPORT = "The flood closed the harbour. People spoke of the water. The river was high. Shops opened late."


def build(paths, tokenizer, folder, *, words=None, gaps=None, corpus=None, unit="line", **options):
    reader = TextReader(paths, unit=unit, on_bad="skip" if options.get("skip_bad") else "raise")
    return build_shards(
        reader, tokenizer, folder, words=words or WordOptions(), gaps=gaps or GapOptions(),
        corpus=corpus or CorpusOptions(), **options,
    )  # fmt: skip


def contents(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


def command(*arguments):
    return main("pegasus", "about", "0", VERBS, argv=["gsg", "build", *map(str, arguments)])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Over three batches of reports, with repeated and useless ones in between."""
    texts = [report.text for report in reports(3 * BATCH + 40, seed=2)]
    texts[10], texts[300], texts[301] = texts[9], "Too short.", "... !!! ... ?"
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


# ----------------------------------------------------------- the same bytes


@pytest.fixture(scope="module")
def built(corpus, toy_tokenizer, tmp_path_factory):
    """The folder that one process builds in one go, and its counts."""
    folder = tmp_path_factory.mktemp("built") / "shards"
    _, counts = build([corpus], toy_tokenizer[0], folder, rows_per_shard=100)
    return folder, counts


def test_the_account_adds_up(built):
    folder, counts = built
    assert {name: number for name, number in counts.items() if number} == {
        "documents": 808, "parts kept": 806, "skipped: fewer than 3 sentences": 1, "skipped: no words": 1,
    }  # fmt: skip
    shards = Shards(folder)
    assert len(shards) == 806
    records = [int(shards[i]["record"][0]) for i in range(len(shards))]
    assert records == [i for i in range(808) if i not in (300, 301)]


@pytest.mark.slow
def test_processes_change_no_byte(built, corpus, toy_tokenizer, tmp_path):
    build([corpus], toy_tokenizer[0], tmp_path / "two", rows_per_shard=100, workers=2)
    assert contents(tmp_path / "two") == contents(built[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own: deprecated calls, sockets left open
@needs("ray")
def test_ray_changes_no_byte(built, corpus, toy_tokenizer, tmp_path):
    build([corpus], toy_tokenizer[0], tmp_path / "ray", rows_per_shard=100, workers=2, engine="ray")
    assert contents(tmp_path / "ray") == contents(built[0])


def test_an_interrupted_build_goes_on_and_changes_no_byte(built, corpus, toy_tokenizer, tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt_behind(limit):
        done = []

        def interrupt(documents):
            done.append(documents)
            if sum(done) >= limit:
                raise Interrupted

        return interrupt

    for limit in (1, BATCH, 2 * BATCH):
        with pytest.raises(Interrupted):
            build([corpus], toy_tokenizer[0], tmp_path / "a", rows_per_shard=100,
                  progress=interrupt_behind(limit))  # fmt: skip
        with pytest.raises(UserError):
            Shards(tmp_path / "a")
    _, counts = build([corpus], toy_tokenizer[0], tmp_path / "a", rows_per_shard=100)
    assert counts["already done"] == 2 * BATCH
    assert counts["documents"] == 808 - 2 * BATCH
    assert contents(tmp_path / "a") == contents(built[0])
    _, counts = build([corpus], toy_tokenizer[0], tmp_path / "a", rows_per_shard=100)
    assert (counts["already done"], counts["documents"]) == (808, 0)


def test_repeated_documents_are_left_out_also_across_an_interruption(corpus, toy_tokenizer, tmp_path):
    lines = corpus.read_text().splitlines()
    source = tmp_path / "twice.jsonl"
    source.write_text("\n".join([*lines, *lines[:50]]) + "\n")
    options = {"corpus": CorpusOptions(unique=True), "rows_per_shard": 100}
    _, counts = build([source], toy_tokenizer[0], tmp_path / "a", **options)
    assert counts["repeated"] == 51
    assert counts["skipped: no text"] == 51
    assert counts["parts kept"] == 805

    def stop(documents):
        if documents:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build([source], toy_tokenizer[0], tmp_path / "b", progress=stop, **options)
    build([source], toy_tokenizer[0], tmp_path / "b", **options)
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


# What a user starts; each batch takes a while, so that the test finds it at work.
SLOW_BUILD = """
import sys, time
from pegasus import building, cli
encode = building.Encoder.__call__
def slowly(self, batch):
    time.sleep(0.4)
    return encode(self, batch)
building.Encoder.__call__ = slowly
building.BATCH = 64
sys.argv[0] = "pegasus"
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_a_killed_build_given_again_leaves_the_same_folder(corpus, toy_tokenizer, tmp_path):
    words = ["gsg", "build", "--input", corpus, "--tokenizer", toy_tokenizer[1], "--rows-per-shard", "60"]

    def start(folder, pause):
        code = SLOW_BUILD.replace("0.4", str(pause))
        line = [sys.executable, "-c", code, *map(str, words), "--out", str(folder)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    child = start(tmp_path / "a", 0.4)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "a").glob("shard-*.safetensors"))) < 3:
        assert child.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(UserError):
        Shards(tmp_path / "a")
    again, undisturbed = start(tmp_path / "a", 0), start(tmp_path / "b", 0)
    assert "already done: " in again.communicate()[0]
    assert "already done: " not in undisturbed.communicate()[0]
    assert (again.returncode, undisturbed.returncode) == (0, 0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# ----------------------------------------------------------- refusals


def refused(capsys, *words):
    assert command(*words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.startswith("pegasus gsg build: ")
    return error


def test_other_options_on_the_same_folder_are_refused_in_a_line(
    built, corpus, toy_tokenizer, tmp_path, capsys
):
    given = ["--input", corpus, "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    assert command(*given) == 0
    before = contents(tmp_path / "shards")
    capsys.readouterr()
    for changes, name in (
        (["--ratio", "0.45"], "ratio"),
        (["--strategy", "lead"], "strategy"),
        (["--words", "unicode"], "words"),
        (["--chunk", "256"], "chunk"),
        (["--seed", "1"], "seed"),
        (["--rows-per-shard", "100"], "rows_per_shard"),
    ):
        assert name in refused(capsys, *given, *changes)
    assert contents(tmp_path / "shards") == before


def test_a_script_of_other_letters_is_refused_and_names_the_rule(toy_tokenizer, tmp_path, capsys):
    source = tmp_path / "news.txt"
    source.write_text("Το ποτάμι ανέβηκε. Έβρεξε πολύ. Κανείς δεν ήξερε.\n" * 5, encoding="utf-8")
    given = ["--input", source, "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    error = refused(capsys, *given)
    assert f"{source}:1: 100% of the letters" in error
    assert "use --words unicode or --words subword" in error
    assert not (tmp_path / "shards").exists() or not list((tmp_path / "shards").glob("shard-*"))
    assert command(*given[:-1], tmp_path / "other", "--words", "unicode") == 0


def test_a_missing_field_is_named_with_its_line_or_skipped(toy_tokenizer, tmp_path, capsys):
    source = tmp_path / "mails.jsonl"
    rows = [{"text": REPORT}, {"txt": REPORT}, {"text": 3}, {"text": REPORT}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    given = ["--input", source, "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    assert f"{source}:2: no text field; fields are txt: name one with --text-field" in refused(capsys, *given)
    assert f"{source}:1: no field 'mail'; fields are text" in refused(capsys, *given, "--text-field", "mail")
    assert command(*given, "--skip-bad") == 0
    printed = capsys.readouterr().out
    assert "2 documents" in printed
    assert "skipped: no text field: 2" in printed
    assert "parts kept: 2" in printed
    broken = [line for line in printed.splitlines() if line.startswith("  skipped: ")]
    assert len(broken) == 3, printed  # no text field, no text (its place), and the broken line
    shards = Shards(tmp_path / "shards")
    assert [int(shards[i]["record"][0]) for i in range(2)] == [0, 3]


def test_missing_files_are_refused(toy_tokenizer, tmp_path, capsys):
    given = ["--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    assert "none.txt: no such file" in refused(capsys, "--input", tmp_path / "none.txt", *given)
    given[1] = tmp_path / "none"
    assert "none" in refused(capsys, "--input", tmp_path / "none.txt", *given)
    assert not (tmp_path / "shards").exists()


# ----------------------------------------------------------- bad bytes


def test_broken_bytes_are_mended_and_counted(toy_tokenizer, tmp_path, capsys):
    source = tmp_path / "mails.txt"
    good = REPORT.encode()
    lines = [good, good.replace(b"water", b"wa\xffter"), good.replace(b"river", b"ri\0ver"), b"", b"  "]
    source.write_bytes(b"\r\n".join(lines) + b"\n" + good)
    given = ["--input", source, "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    assert command(*given) == 0
    printed = capsys.readouterr().out
    for line in ("documents: 4", "mended: invalid_utf8: 1", "mended: nul: 1", "mended: blank: 2"):
        assert f"  {line}\n" in printed
    shards = Shards(tmp_path / "shards")
    tokenizer = toy_tokenizer[0]
    assert tokenizer.decode(shards[0]["pieces"].tolist()) == REPORT
    assert shards[2]["pieces"].tolist() == shards[0]["pieces"].tolist()
    assert shards[3]["pieces"].tolist() == shards[0]["pieces"].tolist()
    assert tokenizer.decode(shards[1]["pieces"].tolist()) != REPORT
    assert shards[1]["words"].tolist() == list(range(12))  # one more: "wa" and "ter" are two words
    assert all(shards[i]["pieces"].min() >= 105 for i in range(4))


def test_packed_files_folders_and_units_give_the_same_documents(toy_tokenizer, toy_reports, tmp_path):
    texts = [report.text for report in toy_reports[:9]]
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "a.txt").write_text("\n".join(texts[:4]))
    with gzip.open(tmp_path / "many" / "b.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"body": text}) + "\n" for text in texts[4:]))
    (tmp_path / "one.txt").write_text("\n\n".join(text.replace(". ", ".\n", 1) for text in texts))
    first, _ = build([tmp_path / "many"], toy_tokenizer[0], tmp_path / "1")
    second, _ = build([tmp_path / "one.txt"], toy_tokenizer[0], tmp_path / "2", unit="paragraph")
    assert len(first) == len(second) == 9
    for i in range(9):
        assert first[i]["words"].tolist() == second[i]["words"].tolist()
        assert first[i]["chosen"].tolist() == second[i]["chosen"].tolist()


def test_nothing_to_keep_leaves_an_empty_folder_and_a_reason(toy_tokenizer, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("One.\nTwo.\n")
    given = ["--input", tmp_path / "a.txt", "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "shards"]
    assert command(*given, "--stats", "--show", "2") == 0
    printed = capsys.readouterr().out
    assert "0 documents, 0 tokens" in printed
    assert "skipped: fewer than 3 sentences: 2" in printed


# ----------------------------------------------------------- statistics


def test_statistics_by_hand(toy_tokenizer, tmp_path):
    footer = "This mail is for the flood of the harbour."
    texts = [f"{footer} Water {word}. People went {word}. Shops opened." for word in ("a", "b", "c")]
    (tmp_path / "a.txt").write_text("\n".join([*texts, REPORT]))
    tokenizer = toy_tokenizer[0]
    gaps = GapOptions(strategy="lead", ratio=0.3)
    shards, _ = build([tmp_path / "a.txt"], tokenizer, tmp_path / "shards", gaps=gaps)
    masks = MaskOptions(mask=1.0, intact=0.0, max_input=40, max_target=20)
    found = corpus_statistics(shards, tokenizer, masks)
    first = tokenizer.encode(REPORT.split(". ")[0] + ".")
    cut = tokenizer.encode(footer)
    assert (found["documents"], found["sentences"], found["gap_sentences"]) == (4, 16, 4)
    assert found["gap_share"] == 0.25
    assert found["tokens"] == int(shards.lengths("pieces").sum())
    assert found["gap_tokens"] == 3 * len(cut) + len(first)
    assert found["frequent"] == [{"count": 3, "sentence": footer}]
    targets = [len(cut)] * 3 + [len(first)]
    assert found["gap_tokens_per_document"]["mean"] == np.mean(targets)
    assert found["cut_targets"] == np.mean([length + 1 > 20 for length in targets])
    rest = shards.lengths("pieces") - targets + 2  # a mask and the end
    assert found["cut_inputs"] == np.mean(rest > 40)
    counts = np.bincount([*cut * 3, *first, *[1] * 4])
    shares = counts[counts > 0] / counts.sum()
    assert found["target_entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert (entropy(np.array([1, 1, 0, 2])), entropy(np.zeros(3))) == (pytest.approx(1.5 * np.log(2)), 0)


def test_the_command_prints_statistics_and_documents(toy_tokenizer, toy_files, tmp_path, capsys):
    given = ["--input", toy_files / "corpus.txt", "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "s"]
    given += ["--stats", "--show", "2", "--strategy", "lead", "--masks.mask", "1", "--masks.intact", "0"]
    assert command(*given) == 0
    printed = capsys.readouterr().out
    assert "60 documents" in printed
    assert "gap share: 0." in printed
    assert "target entropy: " in printed
    assert "sentences per document: mean " in printed
    assert (tmp_path / "s" / "report.html").read_text().startswith("<!")
    assert json.loads((tmp_path / "s" / "statistics.json").read_text())["documents"] == 60
    _, first, second = printed.split("\ndocument ")
    text = (toy_files / "corpus.txt").read_text().splitlines()[0]
    marked = [line for line in first.splitlines()[1:] if line.startswith((" > ", "   "))]
    sentences = [line[3:] for line in marked if not line.startswith(("   input:", "   target:"))]
    assert " ".join(sentences) == text
    assert first.splitlines()[0] == "0 (record 0); > marks gap sentences"
    gaps = [line[3:] for line in first.splitlines() if line.startswith(" > ")]
    assert gaps == sentences[: len(gaps)] != []
    shown = next(line for line in first.splitlines() if line.startswith("   target:"))
    assert shown.startswith(f"   target: {' '.join(gaps)}")
    given_in = next(line for line in first.splitlines() if line.startswith("   input:"))
    assert given_in.count("<mask_1>") == len(gaps)
    assert second.startswith("1 (record 1)")


def test_the_program_builds_from_standard_input(toy_tokenizer, tmp_path):
    done = run_cli(
        "pegasus", "gsg", "build", "--input", "-", "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "s",
        input=f"{REPORT}\n" * 3,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 documents" in done.stdout
    assert toy_tokenizer[0].decode(Shards(tmp_path / "s")[0]["pieces"].tolist()) == REPORT
