"""Training of image-text models: resumed runs, ramps, further losses, parts without a loss."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_pairs"))
from tiny_pairs import every_third, pairs
from two_ranks import plain_model

from nonet.data.batching import RandomBatches
from nonet.errors import UserError
from nonet.runs import Run, read_metrics
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.trainer import build_trainer
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_module import Moment, PairModule
from nonet.vision_language.pair_optimizer import PairRates

# The twin is in evaluation mode, as it should be; Lightning remarks on it.
pytestmark = pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")

RATES = PairRates(lr=1e-2, lr_visual=1e-2, warmup=0)


class Numbers:
    """Data whose items are the numbers of pairs."""

    def __len__(self):
        return 12

    def __getitem__(self, visit):
        return visit[1]


def collate(numbers):
    every = pairs(12)
    return {
        name: value[torch.tensor(numbers)] if isinstance(value, torch.Tensor) else [value[i] for i in numbers]
        for name, value in every.items()
    }


def module(kind=PairModule, *, names=("itc", "itm", "mlm", "prefix"), twin=True, queue=True):
    model = plain_model(0)
    losses = PairLosses(every_third, weights=dict.fromkeys(names, 1.0))
    return kind(
        model, losses, RATES, steps=6, steps_per_epoch=3,
        twin=Twin(model, 0.9, skip=losses.skipped_by_twin(model)) if twin else None,
        queue=FeatureQueue(7, 16) if queue else None,
    )  # fmt: skip


def fit(made, folder, steps, ckpt=None):
    folder.mkdir()
    run = Run(folder, "nonet", "pretrain", writes=True)
    options = TrainerOptions(steps=steps, validate_every=0, log_every=1, accelerator="cpu", devices=1)
    data = StepData(Numbers(), RandomBatches(12, 4, 0), collate)
    build_trainer(options, run).fit(made, datamodule=data, ckpt_path=ckpt)
    return made


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole = fit(module(), tmp_path / "whole", 4)
    fit(module(), tmp_path / "half", 2)
    resumed = fit(module(), tmp_path / "rest", 4, tmp_path / "half" / "checkpoints" / "last.ckpt")
    mine, theirs = resumed.state_dict(), whole.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        same = torch.equal(mine[name], value) if isinstance(value, torch.Tensor) else mine[name] == value
        assert same, name
    assert len(resumed.queue) == 7
    assert not torch.equal(whole.twin.model.fusion.layers[0].cross_attention.key.weight,
                           whole.model.fusion.layers[0].cross_attention.key.weight)  # fmt: skip
    lines = read_metrics(tmp_path / "whole")
    assert [round(line["train/alpha"], 4) for line in lines] == [0.0, 0.1333, 0.2667, 0.4]
    for name in ("itc", "itm", "mlm", "prefix", "itc_accuracy", "itm_accuracy", "tau", "loss"):
        assert f"train/{name}" in lines[0]
    parts = sum(lines[2][f"train/{name}"] for name in ("itc", "itm", "mlm", "prefix"))
    assert lines[2]["train/loss"] == pytest.approx(parts, rel=1e-5)


class Doubling(PairModule):
    """Has one loss more."""

    def extra_terms(self, batch, found, moment):
        total, count = found.terms["itc"]
        found.logged["seen"] = (count.float() * 3, count)
        return {"again": (2 * total, count)}


@pytest.mark.slow
def test_a_further_loss_is_added_and_logged(tmp_path):
    fit(module(Doubling, names=("itc",), queue=False), tmp_path / "run", 1)
    line = read_metrics(tmp_path / "run")[0]
    assert line["train/again"] == pytest.approx(2 * line["train/itc"])
    assert line["train/loss"] == pytest.approx(3 * line["train/itc"])
    assert line["train/seen"] == 3


def test_parts_without_a_loss_are_frozen_but_words_that_texts_share():
    made = module(names=("itc",))
    still = {name.split(".")[0] for name, weight in made.model.named_parameters() if not weight.requires_grad}
    assert still == {"fusion", "itm_head", "mlm_head", "decoder"}
    assert made.model.text.embeddings.words.weight.requires_grad


def test_the_ramp_ends_with_the_first_epoch():
    assert [Moment(0, 0, epochs).first_epoch for epochs in (0, 0.5, 1, 2.5)] == [0, 0.5, 1, 1]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="without one it is left out"):
        module(twin=False)
    with pytest.raises(UserError, match="alpha is 2; it lies in"):
        PairModule(plain_model(0), PairLosses(every_third), RATES, steps=6, steps_per_epoch=3, alpha=2.0)
