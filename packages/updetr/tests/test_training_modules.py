"""The modules that are trained: rates, running means, scores, two processes that learn as one."""

import copy
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.data.batching import RandomBatches
from nonet.data.images import find_images
from nonet.errors import UserError
from nonet.runs import Run, read_metrics
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from updetr.batches import Images
from updetr.box_transforms import Augmentation
from updetr.detections import Detections
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.finetune_data import TrainingImages, collate
from updetr.finetune_run import ApJudge
from updetr.labelled_data import read_labelled
from updetr.losses import SetLoss
from updetr.module import FinetuneModule, rate_factor
from updetr.pretext_data import PretextData
from updetr.pretrain_module import PretrainModule
from updetr.query_patches import PatchDetector
from updetr.train_options import RateOptions
from updetr.training import fit, held_out, length, suitable

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def test_rates_rise_hold_and_fall_to_a_tenth():
    rates = RateOptions(warmup=2, drop=0.5)
    assert [rate_factor(step, rates, 8) for step in range(8)] == pytest.approx([0.5, 1, 1, 1] + [0.1] * 4)
    assert rate_factor(7, RateOptions(drop=1), 8) == 1


def small_module(**more):
    torch.manual_seed(0)
    config = DetectorConfig(
        backbone="resnet-tiny", width=16, heads=2, encoder_layers=1, decoder_layers=1, hidden=16, queries=4,
        patches=1, dropout=0.0, labels=("a", "b"),
    )  # fmt: skip
    detector = Detector(config)
    detector.backbone.freeze(more.pop("frozen", 1))
    rates = more.pop("rates", RateOptions(backbone_lr=1e-5))
    return FinetuneModule(detector, SetLoss(classes=2), rates, steps=10, **more)


def test_every_weight_decays_and_the_backbone_has_a_rate_of_its_own():
    module = small_module()
    optimizer = module.configure_optimizers()["optimizer"]
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    for name, weight in module.model.named_parameters():
        if not weight.requires_grad:
            assert id(weight) not in rates
        else:
            assert rates[id(weight)] == (1e-5 if name.startswith("backbone.") else 1e-4, 1e-4), name
    assert optimizer.param_groups[0]["lr"] == 1e-4  # the one that is logged
    whole = small_module(frozen=None, rates=RateOptions()).configure_optimizers()["optimizer"]
    assert len(whole.param_groups) == 1


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match="warmup 10 leaves nothing of 10 steps"):
        small_module(rates=RateOptions(warmup=10))


def test_lengths_precision_and_what_is_held_out():
    said = []
    bf16 = TrainerOptions(precision="bf16", accelerator="cpu", accumulate=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert suitable(bf16, said.append).precision == "fp32"
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert suitable(bf16, said.append).precision == "bf16"
    assert len(said) == 1
    assert "bf16" in said[0]
    assert length(bf16, 3, RandomBatches(40, 8, 0)).steps == 8  # 15 batches, two a step
    assert length(bf16, 0, RandomBatches(40, 8, 0)).steps == bf16.steps
    train, kept = held_out(50, 8, 0)
    assert len(kept) == 5
    assert sorted([*train, *kept]) == list(range(50))
    assert held_out(50, 0, 0) == (list(range(50)), [])


def labelled_batch(count, folder):
    labelled = read_labelled(write_rectangles(folder, count))
    plain = Augmentation(scales=(48,), longest=64, crop=0, flip=0)
    data = TrainingImages(labelled, plain, seed=0)
    return labelled, data


def run_steps(module, data, folder, steps, collate=collate, **trainer):
    folder.mkdir(exist_ok=True)
    run = Run(folder, "updetr", "finetune", writes=os.environ.get("RANK", "0") == "0")
    options = TrainerOptions(steps=steps, log_every=1, accelerator="cpu", checkpoint_every=0, **trainer)
    batches = RandomBatches(len(data), 4, 0)
    fit(module, StepData(data, batches, collate), run, options, state={}, label="test")
    return [line for line in read_metrics(folder) if "train/loss" in line]


def test_the_running_mean_follows_the_weights_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    _, data = labelled_batch(4, tmp_path / "pictures")
    module = small_module(ema=0.5)
    mean, seen = copy.deepcopy(module.model.class_embed.weight.detach()), []
    step = FinetuneModule.optimizer_step

    def optimizer_step(self, *arguments, **more):
        step(self, *arguments, **more)
        seen.append(self.model.class_embed.weight.detach().clone())

    monkeypatch.setattr(FinetuneModule, "optimizer_step", optimizer_step)
    run_steps(module, data, tmp_path / "run", 3)
    for number, weight in enumerate(seen, 1):
        decay = min(0.5, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * weight
    torch.testing.assert_close(module.average.class_embed.weight, mean)
    assert module.best_model is module.average
    assert not torch.equal(mean, seen[-1])


def test_the_running_mean_has_the_running_statistics_of_batch_norms(tmp_path, monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    _, data = labelled_batch(4, tmp_path / "pictures")
    plain = small_module()
    plain.model.normed = torch.nn.BatchNorm1d(3)  # as RT-DETR has them behind its backbone
    module = FinetuneModule(plain.model, plain.loss, plain.rates, steps=plain.steps, ema=0.5)

    def before(model, _):
        model.normed(torch.ones(2, 3))

    module.model.register_forward_pre_hook(before)
    run_steps(module, data, tmp_path / "run", 3)
    assert module.average.normed.num_batches_tracked == 3
    torch.testing.assert_close(module.average.normed.running_mean, torch.full((3,), 1 - 0.9**3))


def test_the_judge_gives_full_marks_to_the_truth(tmp_path):
    labelled, _ = labelled_batch(3, tmp_path / "pictures")
    found = [
        Detections(image.id, *map(torch.from_numpy, (image.boxes, np.ones(len(image.labels)), image.labels)))
        for image in labelled.images
    ]
    assert ApJudge(labelled)(found) == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})


def learn(folder, processes):
    """Three steps on eight pictures; the losses, and what the detector says then."""
    torch.set_num_threads(1)
    os.environ["NONET_PROGRESS"] = "0"
    data = TrainingImages(
        read_labelled(f"coco:{folder}/pictures.json,{folder}/pictures"),
        Augmentation(scales=(48,), longest=64, crop=0, flip=0.5), seed=0,
    )  # fmt: skip
    module = small_module()
    lines = run_steps(
        module, data, Path(folder) / f"run-{processes}", 3, devices=processes,
        strategy="ddp" if processes > 1 else "auto", clip=0.1,
    )  # fmt: skip
    pixels = torch.linspace(-1, 1, 3 * 48 * 64).view(1, 3, 48, 64)
    with torch.no_grad():
        outputs = module.model.eval()(Images(pixels, torch.ones(1, 48, 64, dtype=torch.bool)))
    return [line["train/loss"] for line in lines], outputs.boxes.tolist(), outputs.logits.tolist()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    write_rectangles(tmp_path / "pictures", 8)
    alone = learn(str(tmp_path), 1)
    first, second = two_processes(learn, str(tmp_path), 2)
    assert first[1] == second[1]
    assert first[0] == pytest.approx(alone[0], rel=1e-5)
    for mine, theirs in zip(alone[1:], first[1:], strict=True):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), atol=1e-5, rtol=1e-4)


def learn_patches(folder, processes):
    """Three steps on the patches of eight pictures; the losses, and the weights of the patches' head then."""
    torch.set_num_threads(1)
    os.environ["NONET_PROGRESS"] = "0"
    torch.manual_seed(0)
    config = DetectorConfig(
        backbone="resnet-tiny", width=16, heads=2, encoder_layers=1, decoder_layers=1, hidden=16, queries=8,
        patches=4, dropout=0.0,
    )  # fmt: skip
    detector = Detector(config)
    detector.backbone.freeze()
    images = find_images(Path(folder) / "pictures")
    data = PretextData(images, seed=0, num_patches=4, patch_size=32, scales=(48,), longest=64)
    module = PretrainModule(
        PatchDetector(detector), SetLoss(classes=1, group=2), RateOptions(), steps=3, seed=0, patch_size=32,
        masked=0.5, shuffle=True,
    )  # fmt: skip
    lines = run_steps(
        module, data, Path(folder) / f"patches-{processes}", 3, data.collate, devices=processes,
        strategy="ddp" if processes > 1 else "auto", clip=0.1,
    )  # fmt: skip
    return [line["train/loss"] for line in lines], module.model.patch2query.weight.tolist()


@pytest.mark.slow
def test_two_processes_learn_of_patches_what_one_learns(tmp_path):
    write_rectangles(tmp_path / "pictures", 8)
    alone = learn_patches(str(tmp_path), 1)
    first, second = two_processes(learn_patches, str(tmp_path), 2)
    assert first[1] == second[1]
    assert first[0] == pytest.approx(alone[0], rel=1e-5)
    torch.testing.assert_close(torch.tensor(alone[1]), torch.tensor(first[1]), atol=1e-5, rtol=1e-4)
