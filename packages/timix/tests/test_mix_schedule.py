"""When images are mixed, and options that cannot be."""

import dataclasses

import pytest

from nonet.errors import UserError
from nonet.vision_language.pair_optimizer import PairRates, rate_at
from nonet.vision_language.pretraining.options import ItcOptions, LossOptions
from timix.commands.pretrain import Options
from timix.commands.preview import Options as PreviewOptions
from timix.mix_options import MixOptions, TppOptions
from timix.mix_schedule import mix_weight, ramp

STEPS = 200  # of a pass


def weights(mix, *steps):
    return [mix_weight(mix, step, step / STEPS) for step in steps]


def test_weight_rises_over_the_first_pass_and_ends_with_the_twentieth():
    found = weights(MixOptions(), 0, 50, 100, 199, 200, 1000, 20 * STEPS - 1, 20 * STEPS, 25 * STEPS)
    assert found == [0.0, 0.25, 0.5, 0.995, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_weight_and_ramp_scale():
    assert weights(MixOptions(weight=0.3, ramp=2.0, until_epoch=None), 200, 400, 10_000) == [0.15, 0.3, 0.3]
    assert weights(MixOptions(ramp=0.0), 0) == [1.0]
    assert ramp(0.25, 0.5) == 0.5


def test_every_leaves_steps_out():
    assert weights(MixOptions(every=3, ramp=0), 0, 1, 2, 3, 4, 5, 6) == [1, 0, 0, 1, 0, 0, 1]


def test_mixing_can_be_off_from_the_start():
    assert weights(MixOptions(enabled=False), 0, 300) == [0, 0]
    assert weights(MixOptions(until_epoch=0, ramp=0), 0) == [0]


def test_rates_are_those_of_the_released_schedule():
    rates = PairRates()
    found = [rate_at(step, 1e-4, rates, steps=30 * 5000, steps_per_epoch=5000) for step in
             (0, 1000, 2000, 5000, 15 * 5000, 30 * 5000)]  # fmt: skip
    assert found == pytest.approx([1e-6, 5.05e-5, 1e-4, 9.9729e-5, 5.05e-5, 1e-6], rel=1e-4)


def test_random_scores_make_guided_regions_random():
    assert MixOptions(score="random").chosen == "random"
    assert not MixOptions(score="random").guided
    assert MixOptions(score="random", region="cutmix").chosen == "cutmix"
    assert MixOptions(score="itc").guided
    assert not MixOptions(enabled=False).guided


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (MixOptions, {"every": 0}, "mix.every is 0"),
        (MixOptions, {"fraction": 0.0}, "mix.fraction is 0; it lies in"),
        (MixOptions, {"weight": -1.0}, "mix.weight is -1"),
        (MixOptions, {"label_smoothing": 2.0}, "label_smoothing is 2"),
        (MixOptions, {"until_epoch": -1}, "until_epoch is -1"),
        (MixOptions, {"region": "mixgen", "labels": "soft"}, "its labels are hard, not soft"),
        (MixOptions, {"region": "mixgen", "fraction": 0.5}, "takes whole batches"),
        (TppOptions, {"regions_batch": 0}, "regions_batch is 0"),
        (TppOptions, {"min_visible": 1.5}, "min_visible is 1.5"),
        (TppOptions, {"max_length": 1}, "max_length is 1"),
        (ItcOptions, {"momentum": 0.0}, "without itc.momentum there is no queue"),
        (ItcOptions, {"alpha": 1.5}, "itc.alpha is 1.5"),
        (LossOptions, {"masked": 0.0}, "losses.masked is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(kind, values, text):
    with pytest.raises(UserError, match=text):
        kind(**values)


def options(tmp_path, **values):
    return Options(pairs=(tmp_path / "pairs.jsonl",), **values)


def test_boxes_that_are_missing_name_what_needs_none(tmp_path):
    with pytest.raises(UserError, match=r"no --regions file: take mix.score attn, itc or random"):
        options(tmp_path)
    for score in ("attn", "itc", "random"):
        options(tmp_path, mix=MixOptions(score=score))
    options(tmp_path, mix=MixOptions(enabled=False))
    options(tmp_path, init="model")  # may bring a predictor


def test_three_steps_are_for_one_device_and_whole_batches(tmp_path):
    given = options(tmp_path, mix=MixOptions(score="itc"))
    separate = MixOptions(score="itc", optim_steps="separate")
    dataclasses.replace(given, mix=separate)
    for change, text in (({"accumulate": 2}, "steps thrice a batch"), ({"devices": 2}, "for one device")):
        with pytest.raises(UserError, match=text):
            dataclasses.replace(given, mix=separate, trainer=dataclasses.replace(given.trainer, **change))


def test_blend_needs_a_momentum_model_and_the_queue_a_size(tmp_path):
    bare = ItcOptions(momentum=0.0, alpha=0.0, queue=0)
    with pytest.raises(UserError, match="blend asks the momentum model"):
        options(tmp_path, mix=MixOptions(score="itc", labels="blend"), itc=bare)
    with pytest.raises(UserError, match=r"itc.queue is 0"):
        options(tmp_path, mix=MixOptions(score="itc", queue=True), itc=bare)


def test_preview_of_one_image_is_refused(tmp_path):
    with pytest.raises(UserError, match="two images at least"):
        PreviewOptions(pairs=(tmp_path / "pairs.jsonl",), n=1)
