"""Two processes that share each batch learn what one process learns."""

import sys
from pathlib import Path

import pytest
import torch

from nonet.options import build
from nonet.report import Page
from nonet.runs import read_metrics
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.seeds import seed_all
from ponderv2 import pretrain_data, run_pictures
from ponderv2.commands.pretrain import Options
from ponderv2.model_folders import load_model
from ponderv2.pretraining import new_model, pretrain

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import opener, rooms, write_text


def options(folder, devices, text):
    values = {
        "data": ("x:y",), "size": "tiny", "volume": (16, 16, 16), "voxel": 0.4, "keep": 1.0, "views": 2,
        "rays": 24, "batch": 2, "hold_out": 4, "val_scenes": 0, "mask_ratio": 0.3, "out": Path(folder),
        "prompt": "ppt", "supervision": "labels2d", "text": text,
        "rates": {
            "optimizer": "sgd", "lr": 1e-5, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant",
        },
        "trainer": {
            "steps": 2, "log_every": 1, "accelerator": "cpu", "devices": devices, "checkpoint_every": 0,
        },
    }  # fmt: skip
    return build(Options, [(values, "test")])


def learn(folder, devices, text):
    """Two steps of two rooms each, one of each data set, with masks, jitter, labels and prompted norms."""
    run_pictures.run_page = lambda _: Page("a run")
    pretrain_data.open_scenes = opener(rooms("scannet", "s3dis"))
    pretrain(options(folder, devices, text))
    return read_metrics(Path(folder))


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    """The rate is small, so that the second step's gradient is not one of other weights."""
    text = str(write_text(tmp_path / "text.npz"))
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(pretrain_data, "open_scenes", None)
        patch.setattr(run_pictures, "run_page", None)
        alone = learn(tmp_path / "one", 1, text)
    together, _ = two_processes(learn, str(tmp_path / "two"), 2, text)
    assert len(alone) == len(together) == 2
    for one, two in zip(alone, together, strict=True):
        names = [name for name in one if name.startswith("train/")]
        assert "train/point_text" in names
        for name in names:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    seed_all(0)
    begun = dict(new_model(options(tmp_path, 1, text), ("scannet", "s3dis"), 8).named_parameters())
    one, two = (dict(load_model(tmp_path / name).named_parameters()) for name in ("one", "two"))
    for group in ("backbone.", "norm.of.scannet", "norm.of.s3dis", "dense.", "field."):
        names = [name for name in one if group in name]
        steps = torch.cat([(one[name] - begun[name]).flatten() for name in names]).detach()
        apart = torch.cat([(one[name] - two[name]).flatten() for name in names]).detach()
        assert steps.norm() > 0
        assert float(apart.norm() / steps.norm()) < 0.01, group
