"""`prop-ir sample` and its files, read back and counted again."""

import gzip
import json
import re

import numpy as np
import pytest
import zstandard
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import prop_ir.pair_files
from nonet.errors import UserError
from nonet.testing import needs, run_cli
from prop_ir.building import build_store
from prop_ir.commands import sample
from prop_ir.documents import Document
from prop_ir.options import SamplerOptions, WordOptions
from prop_ir.pair_files import Lines, check_target, export_pairs
from prop_ir.pieces import load_tokenizer
from prop_ir.word_sets import PairSampler


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer that knows every word."""
    folder = tmp_path_factory.mktemp("tokenizer")
    names = ["[UNK]", *(f"w{i}" for i in range(80))]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def store(tokenizer, tmp_path_factory):
    rng = np.random.default_rng(0)
    documents = (
        Document(f"D{i}", " ".join(f"w{w}" for w in rng.integers(0, 80, rng.integers(20, 60))), "made-up")
        for i in range(50)
    )
    words = WordOptions(regex="[a-z0-9]+", stop_words="none")
    folder = tmp_path_factory.mktemp("store") / "store"
    return build_store(documents, load_tokenizer(tokenizer), folder, words=words)[0]


@pytest.fixture
def sampler(store):
    return PairSampler(store, SamplerOptions(floor=2), seed=3)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")


def read(path):
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return [json.loads(line) for line in data.decode().splitlines()]


def export(sampler, path, rows=None, **options):
    rows = sampler.rows(0) if rows is None else rows
    return export_pairs(Lines(sampler, 0, 4), rows, path, settings={"seed": sampler.seed}, **options)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.jsonl.zst"])
def test_a_file_has_the_pairs_of_every_document(sampler, store, tmp_path, name):
    export(sampler, tmp_path / name)
    lines = read(tmp_path / name)
    assert [line["doc_id"] for line in lines] == store.ids
    for row, line in enumerate(lines):
        assert set(line) == {"doc_id", "rep_word_sets"}
        assert len(line["rep_word_sets"]) == 4
        for number, (first, second) in enumerate(line["rep_word_sets"]):
            pair = sampler.pair(row, 0, number)
            assert first == [" ".join(store.types[t] for t in pair.positive), pair.positive_score]
            assert second == [" ".join(store.types[t] for t in pair.negative), pair.negative_score]


def test_the_released_codes_rule_finds_the_better_set_even_of_equals(store, tmp_path):
    sampler = PairSampler(store, SamplerOptions(floor=2, keep=0, ties="second", mean_length=0.1), seed=3)
    export_pairs(Lines(sampler, 0, 80), sampler.rows(0), tmp_path / "p.jsonl", settings={})
    ties = 0
    for row, line in enumerate(read(tmp_path / "p.jsonl")):
        for number, (one, two) in enumerate(line["rep_word_sets"]):
            better = one if one[1] > two[1] else two
            assert better[0] == " ".join(store.types[t] for t in sampler.pair(row, 0, number).positive)
            ties += one[1] == two[1]
    assert ties > 10


def test_pieces_are_written_for_the_released_codes_next_step(sampler, store, tokenizer, tmp_path, capsys):
    path = tmp_path / "p.jsonl"
    options = {"store": store.folder, "floor": 2, "seed": 3, "pairs": 4, "export": path, "statistics": 0}
    assert sample.run(sample.Options(**options, tokenizer=str(tokenizer))) == 0
    lines = read(path)
    assert [line["bert_tokenized_content"] for line in lines] == [
        [store.types[t] for t in store.words(row)] for row in range(50)
    ]
    assert "4 pairs of 50 documents" in capsys.readouterr().out
    export(sampler, tmp_path / "q.jsonl")
    assert [line["rep_word_sets"] for line in read(tmp_path / "q.jsonl")] == [
        line["rep_word_sets"] for line in lines
    ]


def test_a_folder_goes_on_where_it_stopped(sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(prop_ir.pair_files, "DOCUMENTS", 12)
    done = []
    assert export(sampler, tmp_path / "a", progress=done.append) == 0
    assert done == [0, 12, 12, 12, 12, 2]
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(files) == {"pairs.json", *(f"pairs-0000{i}.jsonl.zst" for i in range(5))}
    (tmp_path / "a" / "pairs-00001.jsonl.zst").unlink()
    (tmp_path / "a" / "pairs-00004.jsonl.zst").unlink()
    done.clear()
    assert export(sampler, tmp_path / "a", progress=done.append) == 36
    assert done == [36, 12, 2]
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    other = PairSampler(sampler.store, sampler.options, seed=4)
    with pytest.raises(UserError, match="a: was begun with seed = 3, not 4"):
        export(other, tmp_path / "a")


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(prop_ir.pair_files, "DOCUMENTS", 10)
    export(sampler, tmp_path / "one.jsonl.zst")
    export(sampler, tmp_path / "many.jsonl.zst", workers=2)
    assert (tmp_path / "one.jsonl.zst").read_bytes() == (tmp_path / "many.jsonl.zst").read_bytes()


@pytest.mark.slow
@needs("ray")
def test_ray_writes_the_same_bytes(store, tmp_path):
    words = ["--store", store.folder, "--floor", 2, "--statistics", 0, "--workers", 2]
    for engine in ("local", "ray"):
        outcome = run_cli(
            "prop-ir", "sample", *words, "--engine", engine, "--export", f"{engine}.jsonl", cwd=tmp_path
        )
        assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "local.jsonl").read_bytes() == (tmp_path / "ray.jsonl").read_bytes()


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    (tmp_path / "there.jsonl").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    for name, reason in [
        ("there.jsonl", "exists; name another file"),
        ("notes.txt", "is a file, but not .jsonl"),
        ("full", "holds other files"),
    ]:
        with pytest.raises(UserError, match=f"{name}: {reason}"):
            check_target(tmp_path / name)
    check_target(tmp_path / "new")


# --------------------------------------------------------------------------------------------- what it prints


def test_shown_pairs_have_their_scores_and_marks(store, sampler, capsys):
    options = sample.Options(store=store.folder, floor=2, seed=3, show=1, ids=("D7",), pairs=3, statistics=0)
    assert sample.run(options) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^document (\S+):", out, flags=re.M) == ["D7", "D0"]
    rows = [line.split("  ") for line in out.splitlines() if re.match(r"  -\d", line)]
    assert len(rows) == 6
    for i, row in enumerate(rows):
        number = 7 if i < 3 else 0
        pair = sampler.pair(number, 0, i % 3)
        cells = [cell.strip() for cell in row if cell.strip()]
        here = set(store.words(number))
        sides = [" ".join(store.types[t] + "*" * (t in here) for t in side) for side in pair[:2]]
        assert cells == [f"{pair.positive_score:.3f}", sides[0], f"{pair.negative_score:.3f}", sides[1]]


def test_the_account_counts_what_was_drawn(store, sampler, capsys):
    assert sample.run(sample.Options(store=store.folder, floor=2, seed=3)) == 0
    captured = capsys.readouterr()
    batch = sampler.pairs(sampler.documents, 0, 10)
    inside = total = 0
    for i in range(len(batch)):
        here = set(store.words(int(sampler.documents[i // 10])))
        for t in [*batch[i].positive, *batch[i].negative]:
            inside, total = inside + (t in here), total + 1
    lines = captured.out.splitlines()
    assert lines[0] == "500 pairs of 50 documents, exact sampler"
    assert f"  drawn words that occur in the document: {inside / total:.1%}" in lines
    assert f"  words of a set: {total / 1000:.2f} on average" in lines
    ones = np.mean(np.diff(batch.offsets) == 1)
    assert any(re.fullmatch(rf"      1 +{ones:.1%} #+", line) for line in lines)
    assert "is small for keep 0.0001" in captured.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ids": ("nobody",)}, "no document 'nobody'; its ids begin with 'D0'"),
        ({"floor": 1000}, "no word occurs 1000 times in these 50 documents with"),
        ({"skip_short": 10_000, "seed": 3, "floor": 2}, "all 50 documents have fewer than 10000 pieces"),
    ],
)
def test_what_cannot_be_drawn_is_refused(store, monkeypatch, options, reason):
    monkeypatch.setattr(PairSampler, "skipped", lambda self, row, epoch: True)
    with pytest.raises(UserError, match=re.escape(reason)):
        sample.run(sample.Options(store=store.folder, **options))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pairs": 0}, "pairs is 0; it is 1 or more"),
        ({"workers": -1}, "workers is -1; it is 0 or more"),
        ({"floor": 0}, "floor is 0; it is 1 or more"),
        ({"sampler": "bprop"}, "--sampler bprop and --terms WEIGHTS"),
    ],
)
def test_options_outside_their_range_are_refused(tmp_path, options, reason):
    with pytest.raises(UserError, match=re.escape(reason)):
        sample.Options(store=tmp_path, **options)
