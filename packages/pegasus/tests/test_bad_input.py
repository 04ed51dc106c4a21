"""What bad input and bad options lead to, verb by verb: mended text, a count, or one line and exit 2."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.cli import main
from nonet.data.shards import Shards
from nonet.data.text import TextReader
from nonet.errors import UserError
from nonet.testing import one_thread
from nonet.training.hub import save_folder
from pegasus import summarize_texts
from pegasus.building import build_shards
from pegasus.cli import VERBS
from pegasus.data import GapSentenceData, PairData
from pegasus.model import new_model
from pegasus.options import CorpusOptions, GapOptions, MaskOptions, ModelOptions, WordOptions
from pegasus.toy import reports

RESERVED = [
    "<n>",
    "<mask_1>",
    "<mask_2>",
    "<pad>",
    "</s>",
    "<unk>",
    "<unk_3>",
    "\0",
    "\r\n",
    "\ud800",
    "a. ",
    "B! ",
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def command(*words):
    return main("pegasus", "about", "0", VERBS, presets="pegasus", argv=list(map(str, words)))


def refused(capsys, *words):
    """The one line that a refused command leaves."""
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ----------------------------------------------------------- reserved strings


@settings(max_examples=40)
@given(st.lists(st.sampled_from(RESERVED), max_size=12).map("".join))
def test_no_text_of_a_pair_becomes_a_control_id(toy_tokenizer, text):
    tokenizer = toy_tokenizer[0]
    data = PairData([text], [text], tokenizer.encode, MaskOptions(max_input=64, max_target=64))
    for ids in (data[(0, 0)]["input"], data[(0, 0)]["target"]):
        body = ids[:-1] if ids[-1] == 1 else ids
        assert (body >= 105).all()


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(RESERVED), min_size=4, max_size=20).map("".join), max_size=4))
def test_no_text_of_a_corpus_becomes_a_control_id(toy_tokenizer, tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("reserved")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = toy_tokenizer[0]
    shards, counts = build_shards(
        TextReader([folder / "a.jsonl"]), tokenizer, folder / "shards", words=WordOptions(),
        gaps=GapOptions(), corpus=CorpusOptions(chunk=16),
    )  # fmt: skip
    assert counts["documents"] == len(texts)
    data = GapSentenceData(shards, GapOptions(), MaskOptions(intact=0.0, mask=1.0), tokenizer.starts_word)
    for i in range(len(shards)):
        assert shards[i]["pieces"].min() >= 105
        example = data.example((0, i))
        masks = int((example.input_ids == 2).sum())
        assert masks == len(shards[i]["chosen"])  # only gaps are masks
        assert (example.input_ids[:-1] >= 105).sum() + masks == len(example.input_ids) - 1
        assert (example.target_ids[:-1] >= 105).all()
        assert len(example.target_ids) > 1  # never an empty target


# ----------------------------------------------------------- bad options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("--ratio 0", "ratio is 0.0; the share of sentences to cut lies in (0, 1]"),
        ("--ratio 1.01", "ratio is 1.01"),
        ("--ratio-low 0.5", "ratio_low is 0.5; it lies in (0, ratio = 0.3]"),
        ("--strategy best", "ind-orig"),
        ("--words latin", "subword"),
        ("--sentences line", "newline"),
        ("--ngram 0", "ngram is 0"),
        ("--noise-scale -1", "noise_scale is -1"),
        ("--chunk 5", "chunk is 5; it is 0 (keep documents whole) or at least 16 tokens"),
        ("--min-sentences 0", "at least 1"),
        ("--masks.mask 0.7 --masks.intact 0.2", "they add up to 1"),
        ("--masks.words 2", "the share of masked words lies in [0, 1]"),
        ("--workers -1", "workers is -1; it is 0 or more"),
        ("--rows-per-shard 0", "rows_per_shard is 0; it is 1 or more"),
        ("--raito 0.3", "raito"),
        ("--preset nosuch", "paper-large"),
        ("--config bad.yaml", "raito"),
        ("--config none.yaml", "none.yaml"),
    ],
)
def test_gsg_build_names_the_option_before_any_work(
    toy_tokenizer, tmp_path, monkeypatch, capsys, changes, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("raito: 0.3\n")
    (tmp_path / "a.txt").write_text("One flood. Two floods. Three floods.\n")
    words = ["gsg", "build", "--input", "a.txt", "--tokenizer", toy_tokenizer[1], "--out", "shards"]
    assert message in refused(capsys, *words, *changes.split())
    assert not (tmp_path / "shards").exists()


TRAINING = [
    ("--batch 0", "batch is 0; it is at least 1"),
    ("--max-tokens 0", "max_tokens is 0"),
    ("--label-smoothing 1.5", "label_smoothing is 1.5; it lies in [0, 1)"),
    ("--model.layers 0", "model.layers is 0; it is at least 1"),
    ("--model.max-positions 0", "model.max_positions is 0"),
    ("--model.dropout 2", "model.dropout is 2; the share dropped lies in [0, 1)"),
    ("--optimizer.lr 0", "lr is 0; it is positive"),
    ("--optimizer.name sgd", "adafactor"),
]


@pytest.mark.parametrize(
    ("verb", "changes", "message"),
    [
        *(("pretrain --texts a.txt", *row) for row in TRAINING),
        *(("finetune --train a.jsonl", *row) for row in TRAINING),
        ("pretrain --texts a.txt", "--val-share 2", "val_share is 2"),
        ("pretrain --texts a.txt", "--word-weight -1", "word_weight is -1"),
        ("finetune --train a.jsonl", "--patience -1", "patience is -1; it is 0 or more"),
        ("finetune --train a.jsonl", "--score -1", "score is -1"),
        ("summarize --model m", "--batch-tokens 0", "batch_tokens is 0; it is at least 1"),
        ("summarize --model m", "--max-input 0", "max_input is 0"),
    ],
)
def test_training_and_decoding_name_the_option_before_any_work(
    tmp_path, monkeypatch, capsys, verb, changes, message
):
    monkeypatch.chdir(tmp_path)
    words = [*verb.split(), *([] if verb.startswith("summarize") else ["--tokenizer", "t"])]
    assert message in refused(capsys, *words, "--out", "out", *changes.split())
    assert not (tmp_path / "out").exists()


def test_nothing_to_learn_is_refused(toy_files, toy_tokenizer, tmp_path, capsys):
    words = [
        "pretrain",
        "--texts",
        toy_files / "corpus.txt",
        "--tokenizer",
        toy_tokenizer[1],
        "--model.size",
        "tiny",
    ]
    assert command(*words, "--gaps.strategy", "none", "--out", tmp_path / "run") == 2
    assert "nothing to learn: mask words with --masks.words" in capsys.readouterr().err.splitlines()[-1]


def test_shares_may_miss_one_by_rounding(toy_tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("One flood. Two floods. Three floods.\n")
    words = ["gsg", "build", "--input", tmp_path / "a.txt", "--tokenizer", toy_tokenizer[1]]
    shares = ["--masks.mask", 0.1 + 0.2, "--masks.intact", 0.7 - 4e-7]
    assert command(*words, "--out", tmp_path / "shards", *shares) == 0


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "summarize", "tokenizer train"])
def test_unknown_keys_of_a_configuration_are_named(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("no_such_key: 3\n")
    error = refused(capsys, *verb.split(), "--config", "bad.yaml")
    assert "no_such_key" in error
    assert "bad.yaml" in error


def test_a_vocabulary_that_is_too_large_names_the_largest(toy_files, tmp_path, capsys):
    words = ["tokenizer", "train", "--input", toy_files / "corpus.txt", "--out", tmp_path / "tokenizer"]
    error = refused(capsys, *words, "--vocab-size", "5000")
    largest = next(int(word.strip(".,;:")) for word in error.split()[::-1] if word.strip(".,;:").isdigit())
    assert 100 < largest < 5000
    assert command(*words, "--vocab-size", largest) == 0


# ----------------------------------------------------------- limits and mismatches


def test_cut_inputs_and_targets_of_pre_training_are_told(toy_files, toy_tokenizer, tmp_path):
    words = ["pretrain", "--texts", toy_files / "corpus.txt", "--tokenizer", toy_tokenizer[1], "--batch", "8"]
    words += "--model.size tiny --model.layers 1 --model.width 16 --model.heads 2 --trainer.steps 1".split()
    words += ["--trainer.accelerator", "cpu"]
    assert command(*words, "--masks.max-input", 16, "--masks.max-target", 8, "--out", tmp_path / "a") == 0
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "100% of the inputs cut at 16 tokens, 100% of the targets at 8; raise --masks.max-target" in log
    assert command(*words, "--masks.max-input", 512, "--masks.max-target", 256, "--out", tmp_path / "b") == 0
    assert "of the inputs cut" not in (tmp_path / "b" / "log.txt").read_text()


def test_the_longest_target_keeps_whole_tokens_and_no_end(toy_files, toy_tokenizer, tmp_path):
    shards, _ = build_shards(
        TextReader([toy_files / "corpus.txt"]), toy_tokenizer[0], tmp_path / "shards", words=WordOptions(),
        gaps=GapOptions(), corpus=CorpusOptions(),
    )  # fmt: skip
    masks = MaskOptions(max_input=16, max_target=8)
    example = GapSentenceData(shards, GapOptions(), masks, toy_tokenizer[0].starts_word).example((0, 0))
    assert (len(example.input_ids), len(example.target_ids)) == (16, 8)
    assert example.input_ids[-1] == 1
    assert example.target_ids[-1] != 1
    assert min(example.lost) > 0


def test_a_model_and_a_tokenizer_that_do_not_fit_are_noticed_by_the_function_too(toy_tokenizer, tmp_path):
    shape = ModelOptions(size="tiny", layers=1, width=16, heads=2, max_positions=64)
    save_folder(new_model(shape, 200), toy_tokenizer[0], tmp_path / "model", "card\n")
    with pytest.raises(UserError, match="the tokenizer has 293 ids and the model 200 embeddings"):
        next(summarize_texts(tmp_path / "model", ["a"], device="cpu"))


# ----------------------------------------------------------- damaged shards


def test_shards_that_are_damaged_or_unfinished_are_refused(toy_files, toy_tokenizer, tmp_path, capsys):
    shards = tmp_path / "shards"
    words = ["gsg", "build", "--input", toy_files / "corpus.txt", "--tokenizer", toy_tokenizer[1]]
    assert command(*words, "--out", shards) == 0
    capsys.readouterr()
    train = ["pretrain", "--data", shards, "--tokenizer", toy_tokenizer[1], "--out", tmp_path / "run"]
    index = json.loads((shards / "index.json").read_text())
    (shards / "index.json").write_text(json.dumps(index | {"complete": False}))
    assert str(shards) in refused(capsys, *train)
    (shards / "index.json").write_text("{")
    assert "index.json" in refused(capsys, *train)
    (shards / "index.json").write_text(json.dumps(index))
    file = next(shards.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-9])
    assert file.name in refused(capsys, *train)
    file.unlink()
    assert file.name in refused(capsys, *train)
    assert not (tmp_path / "run").exists()


# ----------------------------------------------------------- long and lonely texts


def test_a_document_of_fifty_thousand_words_is_cut_and_nothing_is_lost(toy_tokenizer, tmp_path):
    sentences = [f"Flood {i} came to the harbour of Oslo." for i in range(8000)]  # 56,000 words
    (tmp_path / "a.txt").write_text(" ".join(sentences) + "\n")
    shards, counts = build_shards(
        TextReader([tmp_path / "a.txt"]), toy_tokenizer[0], tmp_path / "shards", words=WordOptions(),
        gaps=GapOptions(), corpus=CorpusOptions(),
    )  # fmt: skip
    assert counts["documents"] == 1
    assert counts["parts kept"] == counts["parts of long documents"] + 1 == len(shards) > 200
    assert shards.lengths("ends").sum() == 8000
    assert shards.lengths("pieces").max() <= 512


def test_one_giant_sentence_is_left_out_or_kept_whole_when_asked(toy_tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("flood of the harbour " * 3000 + "\n")
    for least, kept in ((3, 0), (1, 1)):
        shards, counts = build_shards(
            TextReader([tmp_path / "a.txt"]), toy_tokenizer[0], tmp_path / str(least), words=WordOptions(),
            gaps=GapOptions(), corpus=CorpusOptions(min_sentences=least),
        )  # fmt: skip
        assert len(shards) == kept
        assert counts["skipped: fewer than 3 sentences"] == 1 - kept
    example = GapSentenceData(
        shards, GapOptions(), MaskOptions(mask=1, intact=0), toy_tokenizer[0].starts_word
    )
    assert example.example((0, 0)).input_ids.tolist() == [2, 1]  # the mask and the end
    assert len(example.example((0, 0)).target_ids) == 256


def test_near_copies_are_shown_as_frequent_sentences_and_exact_ones_left_out(toy_tokenizer, tmp_path, capsys):
    footer = "This mail of the council of Oslo is for the council of Oslo alone."
    texts = [f"{footer} {report.text}" for report in reports(30)]
    rows = [{"text": text} for text in [*texts, *texts[:10]]]
    words = ["gsg", "build", "--input", write(tmp_path / "a.jsonl", rows), "--tokenizer", toy_tokenizer[1]]
    assert command(*words, "--strategy", "lead", "--out", tmp_path / "s", "--unique", "--stats") == 0
    printed = capsys.readouterr().out
    assert "repeated: 10" in printed
    assert f"     30  {footer}" in printed
    found = json.loads((tmp_path / "s" / "statistics.json").read_text())["frequent"]
    assert found[0] == {"count": 30, "sentence": footer}
    assert len(found) <= 20
    assert len(Shards(tmp_path / "s")) == 30
    assert np.all(Shards(tmp_path / "s").lengths("chosen") > 0)
