"""Streets on the command line: pretrain, finetune det, evaluate and predict, and their mistakes."""

import json
import shutil
import socket
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nonet.data.batching import loader
from nonet.testing import call_cli, data_folder, plain_pages
from ponderv2 import kitti, outdoor_pretraining, street_detections
from ponderv2.boxes3d import make_boxes
from ponderv2.commands import finetune_det
from ponderv2.driving_judge import DrivingJudge
from ponderv2.nuscenes import CLASSES, open_nuscenes
from ponderv2.outdoor_config import OutdoorConfig, OutdoorDetectorConfig, sized
from ponderv2.outdoor_detection import build_outdoor_detector
from ponderv2.outdoor_folders import load_outdoor, load_outdoor_detector, save_outdoor
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.outdoor_task import OutdoorDetTask
from ponderv2.rate_options import RateOptions
from ponderv2.rate_schedules import rate_factor

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


@contextmanager
def network_forbidden():
    """Every connection fails a test."""

    def refused(*_):
        raise AssertionError("a connection was opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        yield


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
        (("--data", "nuscenes:{street}", "--frame-step", "2"), "frame_step is for rooms: leave it out"),
        (("--data", "nuscenes:{street}", "--lr-file", "list.txt"), "lr_file is for rooms: leave it out"),
        (("--data", "nuscenes:{street}", "--hold-out", "5"), "hold_out is for rooms"),
        (
            ("--data", "nuscenes:{street}", "--coordinates", "legacy"),
            "coordinates is for rooms: leave it out",
        ),
        (("--data", "nuscenes:{street}", "--losses.color", "3"), "losses is for rooms: leave it out"),
        (("--data", "nuscenes:{street}", "--max-points", "9"), "max_points is for rooms: leave it out"),
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
        (("--crop", "9"), "crop is for rooms: leave it out on streets"),
        (("--prompt", "scannet"), "prompt is for rooms: leave it out on streets"),
        (("--boxes", "masks"), "boxes is for rooms: leave it out on streets"),
        (("--groups.least", "5"), "groups is for rooms: leave it out on streets"),
        (("--augment", "gentle"), "augment gentle is for rooms"),
        (("--rates.lr", "0.01"), "rates: sgd is for rooms"),
        (("--outdoor.image-rate", "0.5"), "outdoor.image_rate is for pretrain; here backbone_rate"),
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


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A detector with initial weights, which finds boxes all the same."""
    torch.manual_seed(0)
    outdoor = OutdoorOptions(
        low=(-20.0, -20.0, -3.0), high=(20.0, 20.0, 3.0), voxel=(1.0, 1.0, 0.5), cells=(20, 20, 3)
    )
    config = OutdoorDetectorConfig(
        **sized("lidar", "tiny", outdoor), head="queries", classes=CLASSES, queries=12, layers=1, width=16
    )
    folder = tmp_path_factory.mktemp("untrained") / "model"
    return save_outdoor(folder, build_outdoor_detector(config).eval())


@pytest.mark.parametrize(
    ("verb", "words", "text"),
    [
        ("evaluate", ("--tta",), "tta is for rooms: leave it out on streets"),
        ("evaluate", ("--variants", "one"), "variants is for rooms: leave it out on streets"),
        ("evaluate", ("--rule", "points"), "rule is for rooms: leave it out on streets"),
        ("evaluate", ("--batch", "2"), "batch is for rooms: leave it out on streets"),
        ("evaluate", ("--frame-step", "2"), "frame_step is for rooms: leave it out on streets"),
        ("evaluate", ("--normals", "estimate"), "normals is for rooms: leave it out on streets"),
        ("predict", ("--write", "ply"), "write is for rooms: leave it out on streets"),
        ("predict", ("--tta",), "tta is for rooms: leave it out on streets"),
        ("predict", ("--depth-scale", "1000"), "depth_scale is for rooms: leave it out on streets"),
        ("predict", ("--workers", "-1"), "workers is -1; it is 0 or more"),
    ],
)
def test_what_streets_do_not_look_at_is_refused(street, untrained, tmp_path, verb, words, text):
    data = ("--data",) if verb == "evaluate" else ()
    said = call_cli("ponderv2", verb, *data, f"nuscenes:{street}", "--model", str(untrained), *words, "--out",
                    str(tmp_path / "out"), "--device", "cpu")  # fmt: skip
    assert said.returncode == 2
    assert text in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_readers_in_other_processes_are_asked_and_find_the_same(street, untrained, monkeypatch):
    model, asked = load_outdoor_detector(untrained), []

    def watched(*args, workers, **named):
        asked.append(workers)
        return loader(*args, workers=workers, **named)

    monkeypatch.setattr(street_detections, "loader", watched)
    scenes = open_nuscenes(street)
    alone = list(street_detections.detections(model, scenes, "cpu"))
    helped = list(street_detections.detections(model, scenes, "cpu", workers=1))
    assert asked == [0, 1]
    assert len(alone) == len(helped) == 2
    for one, other in zip(alone, helped, strict=True):
        assert len(one) > 0
        assert np.array_equal(one.center, other.center)
        assert np.array_equal(one.score, other.score)
    assert not np.array_equal(alone[0].center, alone[1].center)


@pytest.fixture(scope="module")
def half_seen(tmp_path_factory):
    """A frame of KITTI with a car more, 15 m behind the camera, where KITTI has none."""
    source, folder = data_folder("kitti-3frames", "training"), tmp_path_factory.mktemp("kitti")
    for part, ending in (("velodyne", "bin"), ("image_2", "png"), ("calib", "txt"), ("label_2", "txt")):
        (folder / "training" / part).mkdir(parents=True)
        shutil.copyfile(source / part / f"000001.{ending}", folder / "training" / part / f"000001.{ending}")
    with (folder / "training" / "label_2" / "000001.txt").open("a") as file:
        file.write("Car 0 0 0 0 0 0 0 1.5 1.6 4.0 0 1.6 -15 0\n")
    return folder


def test_kitti_is_scored_where_its_boxes_were_drawn(half_seen, tmp_path):
    torch.manual_seed(0)
    outdoor = OutdoorOptions(
        low=(-20.0, -20.0, -3.0), high=(20.0, 20.0, 3.0), voxel=(1.0, 1.0, 0.5), cells=(20, 20, 3)
    )
    config = OutdoorDetectorConfig(
        **sized("lidar", "tiny", outdoor),
        head="queries",
        classes=kitti.CLASSES,
        queries=300,
        layers=1,
        width=16,
    )
    folder = save_outdoor(tmp_path / "model", build_outdoor_detector(config).eval())
    scenes = kitti.open_kitti(half_seen)
    (found,) = street_detections.detections(load_outdoor_detector(folder), scenes, "cpu")
    assert 5 < len(found) < 150  # of 300; the camera sees a quarter
    assert scenes[0].judged(found.center).all()
    said = call_cli("ponderv2", "evaluate", "--data", f"kitti:{half_seen}", "--model", str(folder), "--out",
                    str(tmp_path / "out"), "--device", "cpu")  # fmt: skip
    assert said.returncode == 0, said.stderr
    rows = json.loads((tmp_path / "out" / "scores.json").read_text())["classes"]["kitti"]
    assert {row["class"]: row["boxes"] for row in rows if row["boxes"]} == {
        "Car": 1,
        "Cyclist": 1,
        "Truck": 1,
    }
    titles = ["class", "boxes", "AP", "ATE cm", "ASE %", "AOE deg"]  # KITTI has no velocities
    assert all(list(row) == titles for row in rows)
    absent = [row for row in rows if not row["boxes"]]
    assert absent
    assert all(row[title] is None for row in absent for title in titles[2:])
    assert all(row["AP"] is not None for row in rows if row["boxes"])


def test_classes_of_nuscenes_have_their_velocities_and_those_that_are_absent_no_numbers():
    """One car, found where it is and 2 m/s too fast, beside a class that nothing is of."""
    truth = make_boxes([[5.0, 0, 0]], [[4.0, 2, 2]], [0.0], [0], velocity=[[1.0, 0]])
    judge = DrivingJudge({"nuscenes": ("car", "bus")})
    judge.add("nuscenes", truth, replace(truth, velocity=np.array([[3.0, 0]]), score=np.array([0.9])))
    car, bus = judge.rows("nuscenes")
    assert car == {
        "class": "car", "boxes": 1, "AP": 100.0, "ATE cm": 0.0, "ASE %": 0.0, "AOE deg": 0.0,
        "AVE cm/s": 200.0,
    }  # fmt: skip
    assert bus == {"class": "bus", "boxes": 0} | dict.fromkeys(list(car)[2:])
    assert judge.of_dataset("nuscenes")["map"] == pytest.approx(0.5)  # as nuScenes has it


def test_validation_of_kitti_leaves_out_what_is_found_behind_the_camera(half_seen):
    options = finetune_det.Options(
        data=(f"kitti:{half_seen}",), val=(f"kitti:{half_seen}",), modality="lidar", size="tiny"
    )
    task, found = OutdoorDetTask(options, lambda said: None), kitti.open_kitti(half_seen)[0].boxes()
    assert len(found) == 4
    assert "3 boxes" in task.told()
    feed, judge = task.judging(), task.judge()
    task.model = SimpleNamespace(detect=lambda outputs: outputs)
    task.score(
        [replace(found, velocity=np.zeros((4, 2)))], feed.collate([feed.dataset[(0, 0)]])["batch"], judge
    )
    ((truth, counted),) = judge.frames["kitti"]
    assert len(truth.label) == len(counted.label) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_cannot_be_read_is_one_line_in_any_process(untrained, tmp_path, workers):
    write_nuscenes(tmp_path, 1)
    (tmp_path / "samples" / "LIDAR_TOP" / "0000.pcd.bin").write_bytes(b"abc")
    said = call_cli("ponderv2", "predict", f"nuscenes:{tmp_path}", "--model", str(untrained), "--workers",
                    str(workers), "--out", str(tmp_path / "found"), "--device", "cpu")  # fmt: skip
    assert said.returncode == 2
    assert "0000.pcd.bin: 3 bytes are not points of 5" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_streets_learn_by_adamw_unless_rates_are_given():
    usual = finetune_det.Options(data=("nuscenes:x",), modality="lidar").rates
    rates = [usual.lr * rate_factor(step, usual, 1000) for step in (0, 399, 999)]
    assert rates == pytest.approx([2e-5, 2e-4, 2e-9], rel=1e-6)
    assert (usual.optimizer, usual.weight_decay) == ("adamw", 0.01)
    given = RateOptions(optimizer="adamw", lr=1e-3)
    assert finetune_det.Options(data=("nuscenes:x",), modality="camera", rates=given).rates == given
    rooms = finetune_det.Options(data=("scannet:x",)).rates
    assert (rooms.optimizer, rooms.lr, rooms.schedule) == ("sgd", 0.1, "poly")


def test_a_detector_learns_from_every_so_many_th_frame(tmp_path):
    write_nuscenes(tmp_path, 5)
    options = finetune_det.Options(
        data=(f"nuscenes:{tmp_path}",), val=(f"nuscenes:{tmp_path}",), modality="lidar", size="tiny",
        frame_step=2,
    )  # fmt: skip
    task = OutdoorDetTask(options, lambda said: None)
    assert [scene.name for scene in task.train] == ["frame0", "frame2", "frame4"]
    assert len(task.val) == 5  # scores are of all frames
    assert task.told().startswith("3 frames of nuscenes, 12 boxes")
    assert task.settings()["frame_step"] == 2


@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_presets_of_detection_are_for_streets(modality, street, tmp_path):
    folder = Path(sys.modules["ponderv2"].__file__).parent / "presets" / "finetune-det"
    preset = yaml.safe_load((folder / f"outdoor-{modality}.yaml").read_text())
    assert (preset["modality"], preset["head"]) == (modality, "queries")
    rates = RateOptions(**preset["rates"])
    peak = {"lidar": 3999, "camera": 499}[modality]
    assert rates.optimizer == "adamw"
    assert rates.lr * rate_factor(peak, rates, 10_000) == pytest.approx(2e-4)
    if modality == "lidar":
        assert rates.lr * rate_factor(0, rates, 10_000) == pytest.approx(2e-5)
    said = call_cli("ponderv2", "finetune", "det", "--preset", f"outdoor-{modality}", "--data",
                    f"nuscenes:{street}", "--init", "absent", "--out", str(tmp_path / "run"))  # fmt: skip
    assert said.returncode == 2  # all of the preset was taken; what is wrong is the model
    assert "absent" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_presets_have_the_published_rates():
    """UniPAD's cyclic rate: from 2e-5 up to ten times that at 40 % of the steps and down to 2e-9."""
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


def test_a_warm_up_that_takes_all_steps_is_refused_before_a_model_is_built(street, tmp_path, monkeypatch):
    """Preset outdoor-camera would download its images' weights first."""

    def built(*_):
        raise AssertionError("a model was built")

    monkeypatch.setattr(outdoor_pretraining, "build_outdoor", built)
    words = ("--data", f"nuscenes:{street}", "--epochs", "0", "--trainer.steps", "4")
    said = call_cli("ponderv2", "pretrain", "--preset", "outdoor-camera", *words, "--out", tmp_path / "run")
    assert said.returncode == 2
    assert "rates.warmup 500 leaves nothing of 4 steps" in said.stderr
    assert not (tmp_path / "run").exists()


def test_cameras_are_pre_trained_without_a_download(street, tmp_path):
    short = ("--trainer.steps", "1", "--rates.warmup", "0")
    words = ("--data", f"nuscenes:{street}", *short, "--out", tmp_path / "run")
    with plain_pages(), network_forbidden():
        said = call_cli("ponderv2", "pretrain", "--preset", "outdoor-camera-tiny", *words)
    assert said.returncode == 0, said.stderr
    model = load_outdoor(tmp_path / "run" / "model")
    assert (model.street.modality, model.street.outdoor.image_weights) == ("camera", None)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(lines[-1]["train/loss"])
