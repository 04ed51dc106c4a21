"""Presets: all of them load, and those of the original say what its scripts say."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

from nonet.options import build, read

PRESETS = Path(str(files("keyphrase_plm") / "presets"))
TRAINING = {"train": ("train.jsonl",), "init": "model"}
REQUIRED = {
    "pretrain": {"data": ("texts.jsonl",)},
    "predict": {"input": ("test.jsonl",), "out": "out.jsonl", "model": "model"},
    "train-b2b": {"train": ("train.jsonl",), "encoder": "model"},
}


def preset(verb, name):
    options = import_module(f"keyphrase_plm.commands.{verb.replace('-', '_')}").Options
    return build(options, [read(PRESETS / verb / f"{name}.yaml"), (REQUIRED.get(verb, TRAINING), "test")])


@pytest.mark.parametrize(
    ("verb", "name", "batch", "rate", "warmup", "decay", "smoothing"),
    [
        ("train-tag", "deepkpg", 32, 1e-5, 1000, 0, None),
        ("train-tag", "deepkpg-crf", 32, 1e-5, 1000, 0, None),
        ("train-seq2seq", "deepkpg-base", 64, 6e-5, 2000, 0, 0),
        ("train-seq2seq", "deepkpg-large", 64, 6e-5, 1000, 0, 0),
        ("train-b2b", "deepkpg", 32, 5e-5, 2000, 0, 0),
        ("train-prefix-lm", "deepkpg-base", 128, 1e-4, 2000, 0.01, 0.1),
        ("train-prefix-lm", "deepkpg-large", 64, 3e-5, 1000, 0.01, 0.1),
    ],
)
def test_the_recipes_are_those_of_the_released_scripts(verb, name, batch, rate, warmup, decay, smoothing):
    options = preset(verb, name)
    assert options.batch * options.trainer.accumulate == batch
    assert options.batch_tokens is None
    optimizer = options.optimizer
    assert (optimizer.lr, optimizer.warmup, optimizer.weight_decay) == (rate, warmup, decay)
    assert (optimizer.schedule, optimizer.eps, options.trainer.clip) == ("linear", 1e-8, 1.0)
    assert getattr(options.model, "label_smoothing", None) == smoothing


def test_the_lengths_of_the_recipes():
    assert preset("train-tag", "deepkpg").model.max_words == 510
    seq2seq, b2b = preset("train-seq2seq", "deepkpg-base").model, preset("train-b2b", "deepkpg").model
    assert (seq2seq.max_source, seq2seq.max_target) == (1024, 128)
    assert (b2b.max_source, b2b.max_target, b2b.max_output) == (512, 80, 100)
    assert (b2b.encoder_layers, b2b.decoder_layers) == (8, 4)
    prefix = preset("train-prefix-lm", "deepkpg-base")
    assert (prefix.model.max_source, prefix.model.max_target) == (464, 48)
    assert (prefix.trainer.steps, prefix.select) == (20000, "last")
    scibart = preset("pretrain", "scibart-base")
    assert (scibart.share, scibart.span, scibart.batch * scibart.trainer.accumulate) == (0.3, 3.5, 2048)


@pytest.mark.parametrize(
    "path", sorted(PRESETS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_preset_loads_and_its_header_has_the_command(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    verb = path.parent.name
    assert lines[0].startswith("# ")
    words = verb.replace("-", " ", 1) if verb.startswith("train") else verb
    assert lines[1].startswith(f"# keyphrase-plm {words} --preset {path.stem} ")
    assert lines[2].startswith("# ")
    assert preset(verb, path.stem)
