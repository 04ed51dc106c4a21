import dataclasses
import itertools
import json
import math
import os
import signal

import lightning as L
import pytest
import torch
from torch import nn

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.errors import RunFailed, UserError
from nonet.runs import Run, read_metrics
from nonet.testing import devices
from nonet.training.checkpoints import StateOfRun, read_checkpoint, read_weights
from nonet.training.data import StepData
from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.strategies import choose_accelerator, choose_precision, device_count
from nonet.training.trainer import build_trainer

OPTIONS = TrainerOptions(steps=6, validate_every=2, checkpoint_every=2, log_every=1, accelerator="cpu")


class Numbers:
    """Item i is the number i."""

    def __init__(self, count=12):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, pair):
        return float(pair[1])


def collate(items):
    return {"x": torch.tensor(items)[:, None], "ids": [f"number-{item:g}" for item in items]}


class Line(L.LightningModule):
    """y = 2 x; the loss is poisoned where `poison` is in the batch."""

    def __init__(self, poison=None, lr=1e-3):
        super().__init__()
        self.model, self.poison, self.lr = nn.Linear(1, 1), poison, lr
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append(sorted(batch["x"].flatten().tolist()))
        loss = self.loss(batch)
        if self.poison in batch["ids"]:
            loss = loss * math.nan
        self.log("train/loss", loss.detach(), batch_size=1)
        return loss

    def validation_step(self, batch, _):
        self.log("val/loss", self.loss(batch), batch_size=len(batch["x"]))

    def loss(self, batch):
        return nn.functional.mse_loss(self.model(batch["x"]), 2 * batch["x"])

    def configure_optimizers(self):
        return build_optimizer(self, OptimizerOptions(lr=self.lr), steps=6)


def data(count=12, batch=4, seed=0, validate=True, **options):
    val = (Numbers(5), OrderedBatches(5, 2)) if validate else ()
    return StepData(Numbers(count), RandomBatches(count, batch, seed), collate, *val, **options)


@pytest.fixture
def run(tmp_path):
    with Run.create("nonet", "train", OPTIONS, folder=tmp_path / "run") as run:
        yield run


def fit(run, module=None, options=OPTIONS, resume=False, monitor="val/loss", data=data, **more):
    torch.manual_seed(0)
    trainer = build_trainer(options, run, monitor=monitor, **more)
    module = module or Line()
    last = run.checkpoints / "last.ckpt"
    trainer.fit(module, datamodule=data(), ckpt_path=last if resume else None)
    return trainer, module


def losses(run):
    return [row["train/loss"] for row in read_metrics(run.folder) if "train/loss" in row]


def test_every_example_is_seen_once_an_epoch_and_metrics_are_one_row_a_step(run):
    trainer, module = fit(run)
    for epoch in (module.seen[:3], module.seen[3:]):
        assert sorted(item for batch in epoch for item in batch) == [float(i) for i in range(12)]
    rows = read_metrics(run.folder)
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "val/loss" in row] == [2, 4, 6]
    assert all(row["lr"] == 1e-3 and row["steps_per_second"] > 0 for row in rows if "train/loss" in row)
    assert "step 6: val/loss " in (run.folder / "log.txt").read_text()
    assert trainer.global_step == 6


def test_best_has_the_least_validated_loss_and_weights_load_into_a_plain_model(run):
    trainer, module = fit(run, Line(lr=0.5))  # too fast: it overshoots
    losses = {row["step"]: row["val/loss"] for row in read_metrics(run.folder) if "val/loss" in row}
    assert trainer.checkpoints.best_step == min(losses, key=losses.get)
    assert trainer.checkpoints.best == min(losses.values())
    model = nn.Linear(1, 1)
    model.load_state_dict(read_weights(trainer.checkpoints.best_path))
    x = torch.arange(5.0)[:, None]
    again = nn.functional.mse_loss(model(x), 2 * x).item()
    assert again == pytest.approx(trainer.checkpoints.best, rel=1e-5)
    last = read_weights(trainer.checkpoints.last_path)
    assert all(torch.equal(last[name], value) for name, value in module.model.state_dict().items())


def test_the_greatest_is_best_where_that_is_wanted(run):
    trainer, _ = fit(run, mode="max")
    losses = {row["step"]: row["val/loss"] for row in read_metrics(run.folder) if "val/loss" in row}
    assert trainer.checkpoints.best_step == max(losses, key=losses.get)


def test_without_validation_data_the_last_checkpoint_counts(run):
    trainer, _ = fit(run, data=lambda: data(validate=False))
    assert trainer.checkpoints.best_path == trainer.checkpoints.last_path
    assert not any("val/loss" in row for row in read_metrics(run.folder))


@pytest.mark.parametrize(("every", "steps"), [(0, [6]), (4, [4, 6]), (100, [6])])
def test_the_end_is_always_validated_and_saved(run, every, steps):
    fit(run, options=dataclasses.replace(OPTIONS, validate_every=every, checkpoint_every=every))
    assert [row["step"] for row in read_metrics(run.folder) if "val/loss" in row] == steps
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 6


def test_accumulated_batches_make_the_step_of_their_union(run, tmp_path):
    _, one = fit(run, options=dataclasses.replace(OPTIONS, accumulate=2), data=lambda: data(batch=6))
    with Run.create("nonet", "train", OPTIONS, folder=tmp_path / "other") as other:
        _, whole = fit(other, data=lambda: data(batch=12))
    assert len(one.seen) == 12
    torch.testing.assert_close(one.model.weight, whole.model.weight)
    assert losses(run) == pytest.approx(losses(other), rel=1e-5)


def test_clipping_bounds_the_gradient(run):
    norms = []

    class Norms(L.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            if module.model.weight.grad is not None:
                norms.append(float(nn.utils.get_total_norm(p.grad for p in module.parameters())))

    fit(run, options=dataclasses.replace(OPTIONS, clip=0.5, validate_every=0), callbacks=[Norms()])
    assert norms == pytest.approx([0.5] * 5, rel=1e-4)


@pytest.mark.parametrize("log_every", [1, 5])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_its_examples(run, log_every):
    batches = enumerate(RandomBatches(12, 4, 0).epoch(0))
    step, batch = next((number, sorted(items.tolist())) for number, items in batches if 7 in items)
    options = dataclasses.replace(OPTIONS, log_every=log_every, checkpoint_every=1)
    with pytest.raises(
        RunFailed, match=rf"step {step + 1}: the loss is nan; its examples are in .*nonfinite.json"
    ):
        fit(run, Line(poison="number-7"), options=options)
    found = json.loads((run.folder / "nonfinite.json").read_text())
    assert sorted(found["ids"]) == sorted(f"number-{x}" for x in batch)
    assert sorted(index for _, index in found["indices"]) == batch
    assert (found["step"], found["micro_batch"], found["rank"], found["loss"]) == (step + 1, 0, 0, "nan")
    last = run.checkpoints / "last.ckpt"
    if step:
        checkpoint = read_checkpoint(last)
        assert checkpoint["global_step"] <= step
        assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    else:
        assert not last.exists()


class Watched(L.Callback):
    """Keeps the weight, and what AdamW holds of it, after every step."""

    def __init__(self):
        self.states = []

    def on_train_batch_end(self, trainer, module, *_):
        held = trainer.optimizers[0].state[module.model.weight]
        numbers = [float(held[name]) for name in ("step", "exp_avg", "exp_avg_sq")] if held else []
        self.states.append([float(module.model.weight.detach()), *numbers])


@pytest.mark.parametrize(("accumulate", "log_every"), [(1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_a_step_may_be_skipped_as_if_its_examples_were_not_there(run, accumulate, log_every, cause):
    """12 examples in batches of 4: number 7 is in one of the three batches of each pass."""
    batches = [sorted(each.tolist()) for epoch in (0, 1) for each in RandomBatches(12, 4, 0).epoch(epoch)]

    class Broken(Line):
        def on_after_backward(self):
            if cause == "gradient" and 7.0 in self.seen[-1]:
                self.model.bias.grad.fill_(math.inf)

    options = dataclasses.replace(
        OPTIONS, log_every=log_every, accumulate=accumulate, steps=6 // accumulate, checkpoint_every=1
    )
    watched, module = Watched(), Broken(poison="number-7" if cause == "loss" else None, lr=0.1)
    start = float(module.model.weight.detach())
    trainer, module = fit(run, module, options=options, skip=3, callbacks=[watched])
    assert trainer.global_step == 6 // accumulate
    rows = [row for row in read_metrics(run.folder) if "lr" in row]
    bad = [7 in batch for batch in batches]
    if accumulate == 3:  # each step has number 7
        assert watched.states == [[start]] * 6
        assert [row["skipped_steps"] for row in rows] == [1, 2]
        assert not any("train/loss" in row for row in rows)
        return
    states = [None, *watched.states]
    for at, (before, after) in enumerate(itertools.pairwise(states)):
        assert all(map(math.isfinite, after))
        if before is not None:
            assert (before == after) == bad[at], (
                "weight, moments and their count stay in a skipped step alone"
            )
    counts = list(itertools.accumulate(bad))
    if log_every == 1:
        assert [row.get("skipped_steps", 0) for row in rows] == counts
        assert ["train/loss" not in row for row in rows] == bad
    else:
        assert [row.get("skipped_steps", 0) for row in rows] == counts[1::2]
    assert all(math.isfinite(row["train/loss"]) for row in rows if "train/loss" in row)
    told = json.loads((run.folder / "nonfinite.json").read_text())
    assert sorted(told["ids"]) == sorted(f"number-{x}" for x in batches[max(i for i in range(6) if bad[i])])
    said = [line for line in (run.folder / "log.txt").read_text().splitlines() if "skipped" in line]
    assert [f"({n} so far)" in line for n, line in enumerate(said, 1)] == [True, True]
    assert ("the gradient is not finite" in said[0]) == (cause == "gradient")


def test_many_skipped_steps_in_succession_end_the_run_in_one_line(run):
    class Lost(Line):
        def training_step(self, batch, number):
            loss = super().training_step(batch, number)
            return loss * math.nan if self.trainer.global_step in (0, 2, 3) else loss

    with pytest.raises(RunFailed) as caught:
        fit(run, Lost(), options=dataclasses.replace(OPTIONS, checkpoint_every=1), skip=2)
    said = str(caught.value)
    assert said.startswith("step 4: the loss is nan, and 2 steps in succession were skipped; its examples")
    assert "\n" not in said
    checkpoint = read_checkpoint(run.checkpoints / "last.ckpt")
    assert checkpoint["global_step"] == 3
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("every", [0, 1])
def test_a_lost_run_names_the_checkpoint_that_it_has_and_no_other(run, every, skip):
    class Lost(Line):
        def training_step(self, batch, number):
            loss = super().training_step(batch, number)
            return loss * math.nan if self.trainer.global_step == 2 else loss

    options = dataclasses.replace(OPTIONS, checkpoint_every=every, validate_every=0)
    with pytest.raises(RunFailed) as caught:
        fit(run, Lost(), options=options, skip=skip)
    last = run.checkpoints / "last.ckpt"
    assert last.exists() == bool(every)
    assert ("there is no checkpoint yet: lower" in str(caught.value)) == (not every)
    assert (f"; {last} is the last good checkpoint: lower" in str(caught.value)) == bool(every)


def test_a_resumed_run_goes_on_counting_skipped_steps(run):
    class Lost(Line):
        def training_step(self, batch, number):
            loss = super().training_step(batch, number)
            return loss * math.nan if self.trainer.global_step in (1, 3, 4) else loss

    fit(run, Lost(), options=dataclasses.replace(OPTIONS, steps=4), skip=2)
    with pytest.raises(RunFailed, match="step 5: the loss is nan, and 2 steps"):
        fit(run, Lost(), resume=True, skip=2)
    fit(run, Lost(), resume=True, skip=3)
    assert [row.get("skipped_steps", 0) for row in read_metrics(run.folder) if "lr" in row] == [
        0,
        1,
        1,
        2,
        3,
        3,
    ]


def test_weights_that_are_not_finite_are_not_saved(run):
    class Broken(Line):
        def on_after_backward(self):
            if self.trainer.global_step == 2:  # a gradient overflows although its loss does not
                self.model.bias.grad.fill_(math.inf)

    with pytest.raises(RunFailed, match=r"weight model.bias is not finite|the loss is nan"):
        fit(run, Broken(), options=dataclasses.replace(OPTIONS, checkpoint_every=1, validate_every=0))
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 2


def test_checkpoints_load_without_running_code_and_hold_what_the_run_must_share(run):
    fit(run, callbacks=[StateOfRun(tokenizer="a1b2")])
    checkpoint = torch.load(run.checkpoints / "last.ckpt", weights_only=True)
    assert checkpoint["nonet_settings"] == {"seed": 0, "accumulate": 1, "tokenizer": "a1b2"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "seed is 1 here but 0 in the checkpoint: resume with seed 0"),
        ({"accumulate": 2}, "accumulate is 2 here but 1 in the checkpoint"),
        ({"callbacks": [StateOfRun(tokenizer="c3d4")]}, "tokenizer is c3d4 here but a1b2 in the checkpoint"),
        ({"data": lambda: data(batch=3)}, "other data, batch size or seed: batches an epoch is 4 here but 3"),
        ({"data": lambda: data(count=11)}, "other data, batch size or seed: examples is 11 here but 12"),
        ({"data": lambda: data(seed=1)}, "other data, batch size or seed: order of the examples is"),
    ],
)  # fmt: skip
def test_a_run_is_not_resumed_with_other_settings(run, change, says):
    tokenizer = {"callbacks": [StateOfRun(tokenizer="a1b2")]}
    fit(run, options=dataclasses.replace(OPTIONS, steps=3), **tokenizer)
    if change.keys() <= {"seed", "accumulate"}:
        change = {"options": dataclasses.replace(OPTIONS, **change)}
    with pytest.raises(UserError, match=says):
        fit(run, resume=True, **(tokenizer | change))


def test_a_finished_run_can_be_made_longer(run, tmp_path):
    fit(run, options=dataclasses.replace(OPTIONS, steps=4))
    _, longer = fit(run, resume=True)
    with Run.create("nonet", "train", OPTIONS, folder=tmp_path / "other") as other:
        _, straight = fit(other)
    assert torch.equal(longer.model.weight, straight.model.weight)
    assert longer.seen == straight.seen[4:]


def test_resuming_a_finished_run_changes_nothing(run):
    fit(run)
    before, rows = (run.checkpoints / "last.ckpt").read_bytes(), read_metrics(run.folder)
    _, module = fit(run, resume=True)
    assert module.seen == []
    assert ((run.checkpoints / "last.ckpt").read_bytes(), read_metrics(run.folder)) == (before, rows)


def test_the_batches_do_not_depend_on_workers(run, tmp_path):
    _, alone = fit(run)
    with Run.create("nonet", "train", OPTIONS, folder=tmp_path / "other") as other:
        _, helped = fit(other, data=lambda: data(workers=2))
    assert helped.seen == alone.seen
    assert torch.equal(helped.model.weight, alone.model.weight)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 2])
def test_signals_save_and_leave_as_keyboard_interrupt(run, number, workers):
    before = signal.getsignal(number)

    class Ask(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 3:
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        fit(run, callbacks=[Ask()], data=lambda: data(workers=workers))
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 3
    assert signal.getsignal(number) == before


def test_a_number_that_validation_does_not_log_is_named(run):
    with pytest.raises(UserError, match=r"monitor is 'val/rouge', but .* there are: train/loss, val/loss"):
        fit(run, monitor="val/rouge")


@pytest.mark.parametrize("content", [b"", b"not a zip", "half"])
def test_a_damaged_checkpoint_is_refused(run, content):
    fit(run)
    last = run.checkpoints / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(UserError, match=r"last.ckpt: not a checkpoint, or a damaged one"):
        fit(run, resume=True)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"state_dict": {}, "thing": os.system}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match=r"bad.ckpt: not a checkpoint"):
        read_checkpoint(tmp_path / "bad.ckpt")


def test_missing_and_foreign_checkpoints_are_named(run, tmp_path):
    with pytest.raises(UserError, match=r"last.ckpt: no such checkpoint"):
        fit(run, resume=True)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt: not a checkpoint of a run \(no state_dict in it\)"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)
    fit(run)
    with pytest.raises(UserError, match=r"no weights under 'net.'; the first is 'model.weight'"):
        read_weights(run.checkpoints / "last.ckpt", "net.")


def test_half_written_files_of_a_killed_run_are_swept_up(run):
    run.checkpoints.mkdir()
    (run.checkpoints / ".last.ckpt.0a1b2c3d.part").write_bytes(b"half")
    fit(run)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_data_and_trainer_must_agree_on_the_length(run):
    with pytest.raises(ValueError, match="steps is 5 for the data and 6 for the trainer"):
        fit(run, data=lambda: data(steps=5))
    with pytest.raises(ValueError, match="val_dataset and val_batches come together"):
        StepData(Numbers(), RandomBatches(12, 4, 0), collate, Numbers())
    with pytest.raises(ValueError, match="belongs to no trainer"):
        data().indices(0)


@devices
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_undisturbed_one_in_every_precision(tmp_path, device, precision):
    class Noisy(Line):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            layers = [nn.Linear(1, 64), nn.Dropout(0.3), nn.LayerNorm(64), nn.Linear(64, 1)]
            self.model = nn.Sequential(*layers)

    accelerator = {"cpu": "cpu", "cuda": "gpu"}[device]
    options = dataclasses.replace(OPTIONS, accelerator=accelerator, precision=precision, deterministic=True)
    found = {}
    try:
        for name, sessions in {"undisturbed": [6], "resumed": [3, 6]}.items():
            folder = tmp_path / name
            for steps in sessions:
                resume = folder.exists()
                session = dataclasses.replace(options, steps=steps)
                run = Run.resume(folder) if resume else Run.create("nonet", "train", options, folder=folder)
                with run:
                    _, module = fit(run, Noisy(), session, resume)
            found[name] = losses(run), [p.tolist() for p in module.parameters()]
    finally:
        torch.use_deterministic_algorithms(False)
    assert found["resumed"] == found["undisturbed"]
    assert len(set(found["resumed"][0])) == 6


def test_devices_and_precision_follow_from_the_machine(monkeypatch):
    cuda = {"is_available": True, "device_count": 2, "is_bf16_supported": True}
    for name in cuda:
        monkeypatch.setattr(torch.cuda, name, lambda name=name, **_: cuda[name])
    assert choose_accelerator(TrainerOptions()) == "cuda"
    assert choose_precision(TrainerOptions(), "cuda") == "bf16-mixed"
    assert choose_precision(TrainerOptions(), "cpu") == "32-true"
    assert choose_precision(TrainerOptions(precision="fp32"), "cuda") == "32-true"
    assert choose_precision(TrainerOptions(precision="bf16"), "cpu") == "bf16-mixed"
    assert device_count(TrainerOptions(), "cuda") == 2
    with pytest.raises(UserError, match="devices is 3, but this machine has 2 GPUs"):
        device_count(TrainerOptions(devices=3), "cuda")
    cuda |= {"is_available": False, "is_bf16_supported": False}
    assert choose_precision(TrainerOptions(), "cuda") == "32-true"
    with pytest.raises(UserError, match="this GPU does not have it"):
        choose_precision(TrainerOptions(precision="bf16"), "cuda")
    with pytest.raises(UserError, match="torch sees no GPU"):
        choose_accelerator(TrainerOptions(accelerator="gpu"))
