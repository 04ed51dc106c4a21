"""A gradient that is not finite although the loss is ends a run before weights move."""

import json
import math

import lightning as L
import pytest
import torch
from torch import nn

from nonet.data.batching import OrderedBatches
from nonet.errors import RunFailed
from nonet.runs import Run
from nonet.training.checkpoints import read_checkpoint
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.trainer import build_trainer
from ponderv2.loss_guard import LossGuard

OPTIONS = TrainerOptions(
    steps=6, accumulate=2, validate_every=0, checkpoint_every=6, log_every=6, accelerator="cpu", devices=1
)


class Rows:
    """Item i is a row of two numbers."""

    def __len__(self):
        return 8

    def __getitem__(self, pair):
        return torch.tensor([float(pair[1]), math.sin(pair[1])])


class Broken(L.LightningModule):
    """From the second batch of step 3 on a term is 0, and its gradient is not a number."""

    def __init__(self):
        super().__init__()
        self.norm, self.scale, self.slope = nn.BatchNorm1d(2), nn.Parameter(torch.ones(2)), nn.Linear(2, 1)
        self.terms, self.states, self.losses = {}, [], []

    def training_step(self, rows, number):
        if number % 2 == 0:
            self.states.append({name: value.clone() for name, value in self.state_dict().items()})
        found = self.slope(self.norm(rows)).square().mean()
        length = (self.scale * 0).square().sum().sqrt() if number >= 5 else self.scale.sum()
        self.terms = {"found": found.detach(), "length": length.detach()}
        self.losses.append(float((found + length).detach()))
        return found + length

    def suspects(self):
        return ("attic",)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_gradient_that_is_not_finite_ends_the_run_with_the_state_before_it(tmp_path):
    module = Broken()
    with Run.create("ponderv2", "pretrain", OPTIONS, folder=tmp_path / "run") as run:
        engine = build_trainer(OPTIONS, run, callbacks=[LossGuard(run)])
        data = StepData(Rows(), OrderedBatches(8, 4), torch.stack)
        with pytest.raises(RunFailed, match="step 3: gradient of scale is not finite, at scene attic"):
            engine.fit(module, datamodule=data)
    assert len(module.losses) == 6
    assert all(math.isfinite(loss) for loss in module.losses)
    note = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert note == {"step": 3, "gradient of": ["scale"], "scenes": ["attic"]}
    kept = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert kept["global_step"] == 2
    before = module.states[2]
    assert not torch.equal(before["norm.running_mean"], module.states[1]["norm.running_mean"])
    assert not torch.equal(before["scale"], module.states[1]["scale"])
    for name, value in before.items():
        assert torch.equal(kept["state_dict"][name], value), name
