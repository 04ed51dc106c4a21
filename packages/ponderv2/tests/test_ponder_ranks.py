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
from ponderv2 import pretrain_data, run_pictures
from ponderv2.commands.pretrain import Options
from ponderv2.model_folders import load_model
from ponderv2.pretraining import pretrain

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import opener, rooms, write_text


def learn(folder, devices, text):
    """Three steps of two rooms each, of data sets in turns, with masks, jitter, labels, prompted norms."""
    run_pictures.run_page = lambda _: Page("a run")
    pretrain_data.open_scenes = opener(rooms("scannet", "s3dis"))
    values = {
        "data": ("x:y",), "size": "tiny", "volume": (16, 16, 16), "voxel": 0.4, "keep": 1.0, "views": 2,
        "rays": 24, "batch": 2, "hold_out": 4, "val_scenes": 0, "mask_ratio": 0.3, "out": Path(folder),
        "prompt": "ppt", "supervision": "labels2d", "text": text,
        "rates": {"optimizer": "sgd", "lr": 1e-3, "schedule": "constant"},
        "trainer": {
            "steps": 3, "log_every": 1, "accelerator": "cpu", "devices": devices, "checkpoint_every": 0,
        },
    }  # fmt: skip
    pretrain(build(Options, [(values, "test")]))
    return read_metrics(Path(folder))


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    text = str(write_text(tmp_path / "text.npz"))
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(pretrain_data, "open_scenes", None)
        patch.setattr(run_pictures, "run_page", None)
        alone = learn(tmp_path / "one", 1, text)
    together, _ = two_processes(learn, str(tmp_path / "two"), 2, text)
    assert len(alone) == len(together) == 3
    for one, two in zip(alone, together, strict=True):
        names = [name for name in one if name.startswith("train/")]
        assert "train/point_text" in names
        for name in names:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), name
    one, two = (load_model(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=1e-4, msg=name)
    moved = one["backbone.stem.norm.of.scannet.weight"]
    assert float((moved - 1).abs().max()) > 1e-3  # they learnt more than they differ by
