"""A run that is killed or interrupted at any moment and resumed equals an undisturbed one, bit for bit.

The file is a program, too: it forks one process for each session of a run, so that torch is imported once.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STEPS, ACCUMULATE, VALIDATE, SAVE = 17, 2, 7, 5

# (name, what happens, then resumed); "kill" is SIGKILL, "twice" two signals in a row
SCENARIOS = {
    "undisturbed": None,
    "killed before the first step": ("kill", "batch_start", 0, 0),
    "killed between the batches of a step": ("kill", "batch_start", 12, 1),
    "killed after a step": ("kill", "batch_end", 9, 1),
    "killed in validation": ("kill", "validation", 14, 1),
    "killed after best was saved": ("kill", "validated", 14, 0),
    "killed while saving": ("kill", "saving", 10, 0),
    "killed in the validation at the end": ("kill", "validation", 17, 1),
    "terminated": ("term", "batch_start", 11, 1),
    "interrupted in validation": ("int", "validation", 7, 1),
    "interrupted in the validation at the end": ("int", "validation", 17, 0),
    "interrupted twice": ("twice", "batch_end", 12, 0),
}
KILLED, INTERRUPTED = 128 + signal.SIGKILL, 130


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """What every scenario came to, for both optimisers."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-W", "error::UserWarning", __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "sessions.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "undisturbed"])
def test_a_resumed_run_equals_an_undisturbed_one(sessions, scenario, optimizer):
    undisturbed, resumed = sessions[f"undisturbed {optimizer}"], sessions[f"{scenario} {optimizer}"]
    assert undisturbed["exits"] == [0]
    assert resumed["exits"] == [KILLED if SCENARIOS[scenario][0] == "kill" else INTERRUPTED, 0]
    assert len(undisturbed["metrics"]) == STEPS + 3
    assert resumed["metrics"] == undisturbed["metrics"]
    assert resumed["last"] == undisturbed["last"]
    assert resumed["best"] == undisturbed["best"]
    assert resumed["files"] == undisturbed["files"] == ["best.ckpt", "last.ckpt"]


@pytest.mark.slow
def test_what_the_undisturbed_run_did(sessions):
    run = sessions["undisturbed adamw"]
    rows = [row for row in run["metrics"] if "train/loss" in row]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["step"] for row in run["metrics"] if "val/loss" in row] == [7, 14, 17]
    assert rows[0]["lr"] == 0.02 / 4  # the first of four steps of warm-up
    assert len({row["train/loss"] for row in rows}) == STEPS
    assert run["last"] != sessions["undisturbed adafactor"]["last"]


@pytest.mark.slow
def test_an_interrupted_run_loses_no_step(sessions):
    assert sessions["terminated adamw"]["first session ended at"] == 12
    assert sessions["interrupted in validation adamw"]["first session ended at"] == 7
    assert sessions["interrupted twice adamw"]["first session ended at"] == 10


@pytest.mark.slow
def test_rows_that_average_over_steps_are_the_same_after_resuming(sessions):
    undisturbed, resumed = (sessions[f"{name} averaged"] for name in ("undisturbed", "killed after a step"))
    assert [row["step"] for row in undisturbed["metrics"]] == [3, 6, 7, 9, 12, 14, 15, 17, 17]
    assert resumed["metrics"] == undisturbed["metrics"]


def train(folder: Path, optimizer: str, log_every: int, event: tuple | None) -> None:
    """One session of a run."""
    import lightning as L
    import torch

    import nonet.training.checkpoints as checkpoints
    from nonet.data.batching import OrderedBatches, RandomBatches
    from nonet.runs import Run
    from nonet.training.data import StepData
    from nonet.training.optimizers import build_optimizer
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from nonet.training.seeds import seed_all
    from nonet.training.trainer import build_trainer

    kind, place, at, micro_batch = event or ("", "", -1, 0)

    def happen() -> None:
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(2 if kind == "twice" else 1):
            os.kill(os.getpid(), signal.SIGTERM if kind == "term" else signal.SIGINT)

    class Trouble(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if place == "batch_start" and (trainer.global_step, batch_idx % ACCUMULATE) == (at, micro_batch):
                happen()

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if place == "batch_end" and (trainer.global_step, batch_idx % ACCUMULATE) == (at, micro_batch):
                happen()

        def on_validation_batch_start(self, trainer, module, batch, batch_idx):
            if place == "validation" and (trainer.global_step, batch_idx) == (at, micro_batch):
                happen()

    if place == "saving":
        save = checkpoints.torch.save

        def half(checkpoint, path):
            if checkpoint["global_step"] == at:
                Path(path).write_bytes(b"half of a checkpoint")
                happen()
            save(checkpoint, path)

        checkpoints.torch.save = half
    if place == "validated":
        write = checkpoints.Checkpoints._write

        def then(self, trainer, path):
            write(self, trainer, path)
            if trainer.global_step == at and path.name == "best.ckpt":
                happen()

        checkpoints.Checkpoints._write = then

    class Sums:
        def __len__(self):
            return 30

        def __getitem__(self, pair):
            epoch, index = pair
            x = torch.randn(8, generator=torch.Generator().manual_seed(100 * epoch + index))
            return x, x.sum()

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            layers = [
                torch.nn.Linear(8, 16),
                torch.nn.Dropout(0.2),
                torch.nn.LayerNorm(16),
                torch.nn.Linear(16, 1),
            ]
            self.model = torch.nn.Sequential(*layers)

        def training_step(self, batch, _):
            loss = self.loss(batch)
            self.log("train/loss", loss.detach())
            return loss

        def on_train_batch_end(self, *_):  # like weights that a model keeps at zero
            with torch.no_grad():
                self.model[0].weight[0].zero_()

        def validation_step(self, batch, _):
            self.log("val/loss", self.loss(batch), batch_size=len(batch[0]))

        def loss(self, batch):
            return torch.nn.functional.mse_loss(self.model(batch[0])[:, 0], batch[1])

        def configure_optimizers(self):
            options = OptimizerOptions(optimizer, lr=0.02, weight_decay=0.1, warmup=4, schedule="cosine")
            return build_optimizer(self, options, steps=STEPS)

    torch.set_num_threads(1)
    options = TrainerOptions(
        steps=STEPS, accumulate=ACCUMULATE, clip=1.0, seed=3, validate_every=VALIDATE, checkpoint_every=SAVE,
        log_every=log_every,
    )  # fmt: skip
    seed_all(options.seed)
    resumed = folder.exists()
    run = Run.resume(folder) if resumed else Run.create("nonet", "train", options, seed=3, folder=folder)
    with run:
        trainer = build_trainer(options, run, monitor="val/loss", callbacks=[Trouble()])
        data = StepData(
            Sums(), RandomBatches(30, 4, 3), torch.utils.data.default_collate, Sums(), OrderedBatches(30, 12),
            steps=STEPS, accumulate=ACCUMULATE,
        )  # fmt: skip
        last = trainer.checkpoints.last_path
        trainer.fit(Module(), datamodule=data, ckpt_path=last if last.exists() else None)


def forked(folder: Path, *arguments: object) -> int:
    """Run a session in a process of its own; its exit status as a shell gives it."""
    child = os.fork()
    if not child:
        status = 1
        try:
            train(folder, *arguments)
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            sys.stderr.flush()
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def outcome(folder: Path, exits: list[int], ended: int) -> dict:
    """What a run left behind."""
    from nonet.runs import read_metrics
    from nonet.training.checkpoints import read_checkpoint

    def digest(name: str) -> str:
        import torch

        checkpoint, found = read_checkpoint(folder / "checkpoints" / name), hashlib.sha256()

        def add(value):
            if isinstance(value, torch.Tensor):
                found.update(value.numpy().tobytes())
            elif isinstance(value, dict):
                for key in value:
                    found.update(str(key).encode())
                    add(value[key])
            elif isinstance(value, list | tuple):
                for each in value:
                    add(each)
            else:
                found.update(repr(value).encode())

        add(
            {
                key: checkpoint[key]
                for key in ("global_step", "state_dict", "optimizer_states", "lr_schedulers")
            }
        )
        add(checkpoint["callbacks"]["Checkpoints"]["best"])
        return found.hexdigest()

    rows = [{k: v for k, v in row.items() if "second" not in k} for row in read_metrics(folder)]
    unique = [row for number, row in enumerate(rows) if row not in rows[:number]]
    files = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return {
        "exits": exits, "metrics": unique, "last": digest("last.ckpt"), "best": digest("best.ckpt"),
        "files": files, "first session ended at": ended,
    }  # fmt: skip


def main(root: Path) -> None:
    import nonet.training.data
    import nonet.training.optimizers
    import nonet.training.trainer  # noqa: F401
    from nonet.training.checkpoints import read_checkpoint

    jobs = [(name, kind, 1) for name in SCENARIOS for kind in ("adamw", "adafactor")]
    jobs += [(name, "averaged", 3) for name in ("undisturbed", "killed after a step")]
    found = {}
    for number, (name, kind, log_every) in enumerate(jobs):
        folder = root / str(number)
        optimizer = "adamw" if kind == "averaged" else kind
        exits = [forked(folder, optimizer, log_every, SCENARIOS[name])]
        last = folder / "checkpoints" / "last.ckpt"
        ended = read_checkpoint(last)["global_step"] if last.exists() else -1
        if exits != [0]:
            exits.append(forked(folder, optimizer, log_every, None))
        found[f"{name} {kind}"] = outcome(folder, exits, ended)
    (root / "sessions.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
