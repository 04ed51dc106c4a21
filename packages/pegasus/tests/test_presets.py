"""Presets say what the tables of the package say."""

from importlib.resources import files

import pytest

from nonet.options import build, read
from pegasus.commands import finetune, gsg_build, pretrain, summarize
from pegasus.data_sets import DATA_SETS

PRESETS = files("pegasus") / "presets"


def preset(verb, name, options, **required):
    return build(options, [read(PRESETS / verb / f"{name}.yaml"), (required, "test")])


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("kind", ["paper", "code"])
def test_fine_tuning_presets_are_the_recipes_of_the_data_sets(name, kind):
    entry = DATA_SETS[name]
    recipe = getattr(entry, kind)
    file = name.replace("_", "-") + ("-code" if kind == "code" else "")
    options = preset("finetune", file, finetune.Options, train=["train.jsonl"], init="model")
    assert options.dataset == name
    assert (options.lengths.max_input, options.lengths.max_target) == (recipe.max_input, recipe.max_target)
    assert (options.optimizer.lr, options.trainer.steps, options.batch) == (
        recipe.lr,
        recipe.steps,
        recipe.batch,
    )
    assert (options.decode.alpha, options.decode.beams) == (entry.alpha, 8)
    assert options.label_smoothing == 0.1
    decoding = preset("summarize", name.replace("_", "-"), summarize.Options, model="model")
    assert (decoding.alpha, decoding.beams, decoding.max_length) == (entry.alpha, 8, entry.paper.max_target)


def test_paper_large_leaves_a_fifth_standing_and_cuts_45_per_cent():
    options = preset("pretrain", "paper-large", pretrain.Options, tokenizer="t", data="d")
    assert options.gaps.ratio == 0.45
    assert options.masks.intact == 0.2
    assert options.optimizer.lr == 0.01
    assert options.optimizer.name == "adafactor"


def test_google_compat_is_the_released_code():
    options = preset("pretrain", "google-compat", pretrain.Options, tokenizer="t", data="d")
    assert options.gaps.ratio_low == pytest.approx(0.33 * 0.45)
    assert options.gaps.noise == "gauss-shared"
    assert options.gaps.noise_scale == pytest.approx(0.2 * 0.2)
    assert (options.masks.mask, options.masks.intact) == (0.9, 0.1)
    built = preset("gsg-build", "google-compat", gsg_build.Options, input=["x"], tokenizer="t", out="o")
    assert (built.min_sentences, built.chunk) == (1, 0)
