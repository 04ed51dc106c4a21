"""Two processes equal one on the same batches; the file is also the program that they run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.strategies import RunningMeans, global_mean

STEPS, OPTIMIZERS = 8, ("adamw", "adafactor")


def token_losses(model, tokens):
    return nn.functional.cross_entropy(model(tokens), tokens.argmax(1), reduction="sum")


def shares(counts):
    """Tokens of both processes: as many rows as `counts` says."""
    rows = torch.randn(sum(counts), 5, generator=torch.Generator().manual_seed(1)).double()
    return rows.split(list(counts))


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5)).double()


def one_share(counts):
    """What one of two processes gets: its loss, and the gradients after DDP has averaged them."""
    rank = torch.distributed.get_rank()
    model = nn.parallel.DistributedDataParallel(make_model())
    mine = shares(counts)[rank]
    loss = global_mean(token_losses(model, mine), len(mine))
    loss.backward()
    return loss.item(), [p.grad.tolist() for p in model.parameters()]


def both_shares(*cases):
    means = RunningMeans("a", "b", "c")  # rank 0 adds 6/3 and 1/1 to a, rank 1 adds 8/4; b is rank 1's alone
    rank = torch.distributed.get_rank()
    for name, total, count in ([("a", 6, 3), ("a", 1, 1)], [("a", 8, 4), ("b", 5, 2)])[rank]:
        means.add(name, torch.tensor(float(total)), count)
    return [one_share(counts) for counts in cases], means.take(), means.take()


@pytest.mark.slow
def test_means_over_tokens_of_two_processes_equal_one_process():
    cases = [(3, 11), (0, 4)]
    first, second = two_processes(both_shares, *cases)
    assert first[1:] == second[1:] == ({"a": 15 / 8, "b": 5 / 2}, {})
    for counts, *found in zip(cases, first[0], second[0], strict=True):
        model, tokens = make_model(), torch.cat(shares(counts))
        loss = token_losses(model, tokens) / len(tokens)
        loss.backward()
        assert sum(value for value, _ in found) / 2 == pytest.approx(loss.item(), rel=1e-6)
        for _, gradients in found:
            for mine, parameter in zip(gradients, model.parameters(), strict=True):
                torch.testing.assert_close(torch.tensor(mine).double(), parameter.grad, rtol=1e-6, atol=1e-9)


def test_in_one_process_it_is_sum_over_count_and_0_without_tokens():
    total = torch.tensor(6.0, requires_grad=True)
    assert global_mean(total, 4).item() == 1.5
    assert global_mean(total, torch.tensor(4)).dtype == torch.float32
    nothing = global_mean(total * 0, 0)
    nothing.backward()
    assert (nothing.item(), total.grad.item()) == (0.0, 0.0)


def fit(folder, strategy, devices, steps, optimizer, resume=False, event=""):
    """Train on examples with unequal numbers of tokens, up to `steps`."""
    import lightning as L

    from nonet.data.batching import OrderedBatches, RandomBatches
    from nonet.runs import Run
    from nonet.training.data import StepData
    from nonet.training.optimizers import build_optimizer
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from nonet.training.seeds import seed_all
    from nonet.training.trainer import build_trainer, shard, sharded

    class Rows:
        def __len__(self):
            return 21

        def __getitem__(self, pair):
            generator = torch.Generator().manual_seed(pair[1])
            return torch.randn(1 + pair[1] % 5, 5, generator=generator)

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
            self.model, self.means = Model(nn.Linear(5, 8), blocks, nn.Linear(8, 5)), RunningMeans("val/loss")

        def configure_model(self):
            if self.device_mesh is not None and not sharded(self.model):
                shard(self.model, self.device_mesh)

        def training_step(self, batch, _):
            if event == "nonfinite" and self.trainer.global_rank == 1 and self.trainer.global_step == 5:
                batch = batch * torch.nan
            loss = global_mean(token_losses(self.model, batch), len(batch))
            self.log("train/loss", loss.detach())
            return loss

        def validation_step(self, batch, _):
            self.means.add("val/loss", token_losses(self.model, batch), len(batch))

        def on_validation_epoch_end(self):
            self.log_dict(self.means.take())

        def configure_optimizers(self):
            return build_optimizer(self, OptimizerOptions(optimizer, lr=0.02, weight_decay=0.1), steps=STEPS)

    class Signal(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if event == "signal" and trainer.global_rank == 1 and trainer.global_step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    torch.set_num_threads(1)
    options = TrainerOptions(
        steps=steps, accumulate=2, clip=1.0, validate_every=3, checkpoint_every=3, log_every=1,
        accelerator="cpu", devices=devices, strategy=strategy,
    )  # fmt: skip
    seed_all(0)
    with Run.resume(folder) if resume else Run.create("nonet", "train", options, folder=folder) as run:
        trainer = build_trainer(options, run, monitor="val/loss", callbacks=[Signal()])
        # 21 in batches of at most 4: 3 or 4 each; validation ends with one example for two processes
        data = StepData(Rows(), RandomBatches(21, 4, 0), torch.cat, Rows(), OrderedBatches(21, 4))
        data.val_batches._batches = np.split(np.arange(21), range(4, 21, 4))
        last = trainer.checkpoints.last_path
        trainer.fit(Module(), datamodule=data, ckpt_path=last if resume else None)
        return trainer.checkpoints.best_step


class Model(nn.Module):
    def __init__(self, first, blocks, last):
        super().__init__()
        self.first, self.blocks, self.last = first, blocks, last

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x).tanh()
        return self.last(x)


def left(folder):
    """Metrics and weights that a run left."""
    from nonet.runs import read_metrics
    from nonet.training.checkpoints import read_weights

    rows = read_metrics(folder)
    losses = {name: [row[name] for row in rows if name in row] for name in ("train/loss", "val/loss")}
    return losses, read_weights(folder / "checkpoints" / "last.ckpt")


def fit_twice(folder, strategy):
    """With each optimiser: five steps, then the rest after resuming."""
    for optimizer in OPTIMIZERS:
        fit(folder / optimizer, strategy, 2, 5, optimizer)
        fit(folder / optimizer, strategy, 2, STEPS, optimizer, resume=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns in one go."""
    folder = tmp_path_factory.mktemp("alone")
    with one_thread():
        for optimizer in OPTIMIZERS:
            fit(folder / optimizer, "auto", 1, STEPS, optimizer)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_devices_learn_what_one_learns_also_when_resumed(tmp_path, strategy, alone):
    two_processes(fit_twice, tmp_path, strategy)
    for optimizer in OPTIMIZERS:
        (losses, weights), (wanted, expected) = left(tmp_path / optimizer), left(alone / optimizer)
        assert losses["train/loss"] == pytest.approx(wanted["train/loss"], rel=1e-5)
        assert len(losses["train/loss"]) == STEPS
        assert losses["val/loss"][0] == pytest.approx(wanted["val/loss"][0], rel=1e-5)
        assert losses["val/loss"][-1] == pytest.approx(wanted["val/loss"][-1], rel=1e-5)
        for name, value in expected.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)


def launched(folder, event):
    """Run this file as a user's script: Lightning starts the second process."""
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK")}
    environment |= {"OMP_NUM_THREADS": "1", "NONET_PROGRESS": "0", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [sys.executable, __file__, folder, event],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_of_two_devices_ends_both(tmp_path):
    done = launched(tmp_path / "run", "nonfinite")
    assert "RunFailed: step 6: the loss is nan" in done.stderr
    assert done.returncode == 1
    found = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert (found["step"], found["micro_batch"], found["rank"]) == (6, 0, 1)
    assert 1 <= len(found["indices"]) <= 2


@pytest.mark.slow
def test_a_signal_to_one_of_two_devices_ends_both_after_the_step(tmp_path):
    done = launched(tmp_path / "run", "signal")
    assert done.returncode == 130, done.stderr
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["global_step"], checkpoint["processes"]) == (5, 2)


def main(folder, event):
    try:
        fit(Path(folder), "ddp", 2, STEPS, "adamw", event=event)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
