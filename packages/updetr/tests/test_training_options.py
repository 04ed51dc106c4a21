"""What the options of training refuse, each with a line that says what to do."""

from pathlib import Path

import pytest

from nonet.errors import UserError
from updetr.commands.finetune import Options as Finetune
from updetr.commands.pretrain import Options as Pretrain
from updetr.train_options import LossOptions, RateOptions, SizeOptions


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_patches": 8}, "patches may be 1, 2, 4, 5, 10"),
        ({"query_mask": 1.0}, r"query_mask is 1; it lies in \[0, 1\)"),
        ({"targets": "file"}, "come together"),
        ({"scales": ()}, "scales are empty"),
        ({"scales": (480,), "longest": 400}, "longest is 400 pixels, below"),
        ({"batch": 0}, "batch is 0"),
        ({"ema": 1.0}, "ema is 1"),
        ({"cache_features": Path("x"), "rates": RateOptions(backbone_lr=1e-5)}, "for a frozen backbone"),
        ({"size": SizeOptions(width=30)}, "width is 30; it is divisible by"),
    ],
)
def test_pretraining_refuses(change, text):
    with pytest.raises(UserError, match=text):
        Pretrain(images=Path("photos"), **change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fraction": 0.5, "shots": 3}, "exclude each other"),
        ({"fraction": 1.5}, r"fraction is 1\.5"),
        ({"shots": 0}, "shots is 0"),
        ({"shots_exact": True}, "give shots, too, or leave it out"),
        ({"crop": 2.0}, "crop is 2"),
        ({"crop_sides": (10, 5)}, "a least side up to the greatest"),
        ({"val_scale": 2000}, "val_scale is 2000 pixels, above longest"),
    ],
)
def test_finetuning_refuses(change, text):
    with pytest.raises(UserError, match=text):
        Finetune(data="voc:x", **change)


def test_weights_and_rates_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"loss\.overlap is -1"):
        LossOptions(overlap=-1)
    with pytest.raises(UserError, match=r"loss\.no_object is 0; it is positive"):
        LossOptions(no_object=0)
    with pytest.raises(UserError, match=r"rates\.lr is 0"):
        RateOptions(lr=0)
    with pytest.raises(UserError, match=r"rates\.drop is 0"):
        RateOptions(drop=0)


def test_images_are_scored_at_the_greatest_scale_unless_another_is_named():
    assert Finetune(data="voc:x").scored_scale == 800
    assert Finetune(data="voc:x", val_scale=640).scored_scale == 640
