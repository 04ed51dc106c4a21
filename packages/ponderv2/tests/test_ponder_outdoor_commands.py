"""Streets on the command line: pretrain, finetune det, evaluate and predict, and their mistakes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from nonet.testing import call_cli, plain_pages
from ponderv2.outdoor_config import OutdoorConfig
from ponderv2.outdoor_folders import load_outdoor

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))

from made_up_streets import write_nuscenes

OUTDOOR = (
    "--outdoor.low", "-20", "-20", "-3", "--outdoor.high", "20", "20", "3",
    "--outdoor.voxel", "1", "1", "0.5", "--outdoor.cells", "20", "20", "3",
    "--outdoor.rays", "24", "--outdoor.ray-near", "2",
    "--outdoor.samples", "12", "--outdoor.fine-samples", "4", "--outdoor.mask-block", "4",
    "--outdoor.image-backbone", "convnext_atto", "--outdoor.pyramid-width", "8", "--outdoor.depth-bins", "20",
    "--outdoor.image-scale", "1",
)  # fmt: skip
LENGTH = (
    "--size", "tiny", "--batch", "2", "--trainer.steps", "2", "--trainer.accelerator", "cpu",
    "--trainer.log-every", "1", "--trainer.validate-every", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    write_nuscenes(folder)
    return folder


@pytest.fixture(scope="module", params=["lidar", "camera"])
def pretrained(request, street, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / request.param
    with plain_pages():
        said = call_cli(
            "ponderv2", "pretrain", "--data", f"nuscenes:{street}", "--modality", request.param, *OUTDOOR,
            *LENGTH, "--out", str(run),
        )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return request.param, run


@pytest.fixture(scope="module")
def detector(pretrained, street, tmp_path_factory):
    modality, init = pretrained
    run = tmp_path_factory.mktemp("runs") / "det"
    head = {"lidar": "queries", "camera": "centre"}[modality]
    with plain_pages():
        said = call_cli(
            "ponderv2", "finetune", "det", "--data", f"nuscenes:{street}", "--val", f"nuscenes:{street}",
            "--modality", modality, "--init", str(init), "--head", head, *LENGTH, "--out", str(run),
        )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return modality, run


@pytest.mark.slow
def test_pretraining_writes_a_model_that_loads(pretrained):
    modality, run = pretrained
    model = load_outdoor(run / "model")
    assert isinstance(model.street, OutdoorConfig)
    assert model.street.modality == modality
    assert model.street.outdoor.cells == (20, 20, 3)
    assert model.street.outdoor.image_weights is None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train/depth", "train/color", "train/loss"} <= set(lines[0])
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["kind"] == "outdoor"


@pytest.mark.slow
def test_a_detector_is_scored_and_predicts(detector, street, tmp_path):
    _, run = detector
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores["scores"]) == {"nds", "map"}
    assert set(scores["errors"]["nuscenes"]) == {"mATE", "mASE", "mAOE", "mAVE", "mAAE"}
    said = call_cli("ponderv2", "evaluate", "--model", str(run), "--data", f"nuscenes:{street}", "--out",
                    str(tmp_path / "scores"), "--device", "cpu")  # fmt: skip
    assert said.returncode == 0, said.stderr
    again = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert again["scores"] == scores["scores"]
    said = call_cli("ponderv2", "predict", f"nuscenes:{street}", "--model", str(run), "--out",
                    str(tmp_path / "found"), "--device", "cpu")  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "frame0.json", "frame0.png", "frame1.json", "frame1.png",
    ]  # fmt: skip
    record = json.loads((tmp_path / "found" / "frame1.json").read_text())
    assert record["frame"] == "frame1"
    found = [box["score"] for box in record["boxes"]]
    assert found == sorted(found, reverse=True)
    for box in record["boxes"]:
        assert len(box["center"]) == len(box["size"]) == 3
        assert min(box["size"]) > 0
        assert -np.pi <= box["yaw"] <= np.pi
    picture = np.array(Image.open(tmp_path / "found" / "frame1.png"))
    assert picture.shape == (800, 800, 3)
    assert (picture == 235).all(2).sum() > 50  # outlines of true boxes


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--data", "tabletop:x"), "streets are nuscenes:PATH"),
        (("--data", "nuscenes:absent"), "nuscenes:absent: absent is no file or folder here"),
        (("--data", "nuscenes:{street}:test"), "0 files are the info pickle of the split test"),
        (("--data", "nuscenes:{street}", "--prompt", "ppt", "--supervision", "none"), "is for rooms"),
        (("--data", "nuscenes:{street}", "--outdoor.mask-ratio", "2"), r"mask_ratio is 2; it lies in"),
    ],
)
def test_mistakes_of_pretraining_are_one_line(street, tmp_path, words, text):
    words = [word.format(street=street) for word in words]
    said = call_cli("ponderv2", "pretrain", "--modality", "lidar", *words, "--out", str(tmp_path / "run"))
    assert said.returncode == 2
    assert text in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--voxel", "0.1"), "channels and voxel are for rooms"),
        (("--val", "kitti:{kitti}"), "nothing"),
        (("--init", "absent"), "absent"),
    ],
)
def test_mistakes_of_detection_are_one_line(street, tmp_path, words, text):
    (tmp_path / "velodyne").mkdir()
    words = [word.format(kitti=tmp_path) for word in words]
    said = call_cli(
        "ponderv2", "finetune", "det", "--modality", "lidar", "--data", f"nuscenes:{street}", *words, "--out",
        str(tmp_path / "run"),
    )  # fmt: skip
    assert said.returncode == 2
    assert text.replace("nothing", "none of 0 frames has a sweep") in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_presets_have_the_published_rates():
    """UniPAD's cyclic rate: from 2e-5 up to ten times that at 40 % of the steps and down to 2e-9."""
    from ponderv2.rate_options import RateOptions
    from ponderv2.rate_schedules import rate_factor

    folder = Path(sys.modules["ponderv2"].__file__).parent / "presets" / "pretrain"

    def preset(name):
        return yaml.safe_load((folder / f"{name}.yaml").read_text())

    unipad = RateOptions(**preset("outdoor-lidar-unipad")["rates"])
    rates = [unipad.lr * rate_factor(step, unipad, 1000) for step in (0, 399, 999)]
    assert rates == pytest.approx([2e-5, 2e-4, 2e-9], rel=1e-6)
    ponder = RateOptions(**preset("outdoor-lidar")["rates"])
    rates = [ponder.lr * rate_factor(step, ponder, 1000) for step in (0, 399, 999)]
    assert rates == pytest.approx([2e-5, 2e-4, 2e-7], rel=1e-6)
    assert preset("outdoor-lidar")["batch"] * preset("outdoor-lidar")["trainer"]["accumulate"] == 16
    camera = RateOptions(**preset("outdoor-camera")["rates"])
    rates = [camera.lr * rate_factor(step, camera, 10_000) for step in (0, 499, 5250)]
    assert rates == pytest.approx([2e-4 / 500, 2e-4, 1e-4], rel=1e-3)
    for name, epochs in (("outdoor-lidar", 24), ("outdoor-lidar-unipad", 12), ("outdoor-camera", 12)):
        assert preset(name)["epochs"] == epochs
        assert preset(name)["rates"]["weight_decay"] == 0.01
