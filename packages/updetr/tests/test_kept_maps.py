"""Maps of a frozen backbone that are kept in memory: the same numbers, and not computed twice."""

import sys
from pathlib import Path

import pytest
import torch

from nonet.errors import UserError
from nonet.runs import read_metrics
from nonet.testing import call_cli, one_thread
from updetr.backbones import build_backbone
from updetr.batches import Images, padded
from updetr.box_transforms import Augmentation
from updetr.finetune_data import TrainingImages
from updetr.kept_maps import KeptMaps
from updetr.labelled_data import read_labelled

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import SMALL, write_rectangles


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


class Counted:
    """A backbone that remembers the sizes it was asked for."""

    def __init__(self):
        torch.manual_seed(0)
        self.backbone, self.asked = build_backbone("resnet-tiny").freeze().eval(), []

    def __call__(self, pixels):
        self.asked.append(tuple(pixels.shape))
        return self.backbone(pixels)


def batch_of(*sizes):
    pixels, mask = padded([torch.randn(3, *size) for size in sizes])
    return Images(pixels, mask)


def test_a_map_is_that_of_the_picture_alone_and_is_computed_once():
    backbone = Counted()
    kept, images = KeptMaps(backbone, 1), batch_of((48, 80), (64, 64))
    maps, mask = kept(images, ["a", "b"])
    assert backbone.asked == [(1, 3, 48, 80), (1, 3, 64, 64)]
    assert maps.shape[2:] == mask.shape[1:] == (4, 5)
    for row, (height, width) in enumerate([(48, 80), (64, 64)]):
        alone = backbone.backbone(images.pixels[row : row + 1, :, :height, :width])[-1][0]
        high, wide = alone.shape[1:]
        assert mask[row].sum() == high * wide
        assert torch.equal(maps[row, :, :high, :wide], alone)
        assert (maps[row][:, ~mask[row]] == 0).all()
    again, _ = kept(images, ["a", "b"])
    assert torch.equal(again, maps)
    assert len(backbone.asked) == 2
    assert not maps.requires_grad


def test_what_does_not_fit_is_computed_again():
    backbone = Counted()
    kept, images = KeptMaps(backbone, 0), batch_of((32, 32))
    one, two = kept(images, ["a"])[0], kept(images, ["a"])[0]
    assert torch.equal(one, two)
    assert len(backbone.asked) == 2


def test_pictures_with_one_key_have_the_same_pixels(tmp_path):
    labelled = read_labelled(write_rectangles(tmp_path / "pictures", 3))
    augment = Augmentation(scales=(32, 48), longest=96, crop=0, flip=0.5, flip_vertical=0.5)
    data, seen = TrainingImages(labelled, augment, seed=0), {}
    for epoch in range(40):
        for index in range(3):
            item = data[epoch, index]
            assert torch.equal(seen.setdefault(item["key"], item["pixels"]), item["pixels"])
    assert len(seen) == 3 * 2 * 4  # images, scales, mirrored twice


def test_training_with_kept_maps_learns_what_training_without_learns(tmp_path):
    source = write_rectangles(tmp_path / "pictures", 6)  # all of one size: no padding
    losses = []
    for name, more in (("plain", ()), ("kept", ("--keep-features", "8"))):
        done = call_cli(
            "updetr", "finetune", "--data", source, "--val", source, *SMALL, "--batch", "3", "--epochs", "0",
            "--scales", "48", "--longest", "96", "--crop", "0", "--flip-vertical", "0.5",
            "--rates.backbone-lr", "0", "--trainer.steps", "5", "--trainer.log-every", "1",
            "--trainer.validate-every", "5", "--trainer.accelerator", "cpu", "--out", tmp_path / name, *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = read_metrics(tmp_path / name)
        losses.append([line[key] for line in lines for key in ("train/loss", "val/loss") if key in line])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_maps_are_kept_of_frozen_backbones_and_whole_images_alone():
    from updetr.commands.finetune import Options
    from updetr.train_options import RateOptions

    frozen = RateOptions(backbone_lr=0)
    assert Options(data="voc:x", keep_features=1, crop=0, rates=frozen).keep_features == 1
    for more in ({"crop": 0}, {"rates": frozen}):
        with pytest.raises(UserError, match=r"keep_features .* set rates.backbone_lr and crop to 0"):
            Options(data="voc:x", keep_features=1, **more)
    with pytest.raises(UserError, match="keep_features is -1"):
        Options(data="voc:x", keep_features=-1)
