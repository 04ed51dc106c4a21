"""From the options of `finetune` and `probe` to a run folder with a model, its scores and its page (ours)."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from nonet.data.batching import Batches
from nonet.errors import RunFailed
from nonet.files import write_json
from nonet.options import dump
from nonet.report import Page
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import (
    StateOfRun,
    read_weights,
    refuse_other_run,
)
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.strategies import choose_accelerator
from nonet.training.trainer import build_trainer
from ponderv2.batch_shares import check_shares
from ponderv2.finetune_module import FinetuneModule
from ponderv2.loss_guard import LossGuard
from ponderv2.mixed_batches import batches_of_pass
from ponderv2.run_settings import run_settings
from ponderv2.scored_scenes import ScoredBatch
from ponderv2.sync_norm import synced
from ponderv2.task_scores import Judge

Say = Callable[[str], None]

SCORES = "scores.json"
"""in a run's folder, what the weights that were kept reach on the validation data"""


class TaskRun(Protocol):
    """What a task gives to be trained; see `room_tasks.RoomTask`."""

    unused: bool
    """whether a step may leave weights out, such as the norms of another data set"""

    def build(self, say: Say) -> Any:
        """The model to begin with."""

    def learning(self, seed: int) -> Any:
        """What is learned from: dataset, batches, collate."""

    def judging(self) -> Any:
        """What is validated on, likewise; None: nothing."""

    def judge(self) -> Judge:
        """A judge that has seen nothing."""

    def score(self, outputs: Any, scored: ScoredBatch, judge: Judge) -> None:
        """Count the scenes of a batch."""

    def told(self) -> str:
        """What is learned from, in a line."""

    def settings(self) -> dict[str, Any]:
        """Plain values that a run that goes on must share."""

    def save(self, folder: Path, model: Any, facts: dict[str, Any], *, overwrite: bool) -> None:
        """Write the model's folder."""


def finetune(verb: str, options: Any, make_task: Callable[[Say], Any]) -> Path:
    """Train, keep the weights that the options ask for, score them, save model and page; prints the folder.

    Args:
        verb: for the run's record.
        options: of the verb.
        make_task: reads and checks everything; takes where remarks go.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    task: TaskRun = make_task(notes.append)
    feed, held = task.learning(options.trainer.seed), task.judging()
    check_shares(feed.batches, options.trainer)
    trainer = run_length(options, feed.batches)
    options.rates.check_length(trainer.steps)
    seed_all(options.trainer.seed)
    model = task.build(notes.append)
    module = FinetuneModule(
        model, options.rates, steps=trainer.steps, backbone_rate=options.backbone_rate,
        judge=task.judge, score=task.score,
    )  # fmt: skip
    module.configure_optimizers()  # what it refuses is refused before there is a folder
    state = run_settings(options, trainer, task.settings())
    refuse_other_run(resumed, state)
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("ponderv2", verb, options, seed=trainer.seed, folder=options.out)
    )
    with run:
        for note in notes:
            run.say(note)
        learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        run.say(f"{task.told()}; {trainer.steps:,} steps; {learned:,} weights learn")
        synced(model)
        data = StepData(
            feed.dataset, feed.batches, feed.collate, *(() if held is None else (held.dataset, held.batches)),
            val_collate=None if held is None else held.collate, workers=trainer.workers,
            steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        last = fit(module, data, run, trainer, options, task, state)
        if run.writes:
            model.to("cpu").load_state_dict(read_weights(last, prefix="model."))
            _finish(options, run, task, module, held, overwrite=resumed is not None)
    return run.folder


def run_length(options: Any, batches: Batches) -> TrainerOptions:
    """The options with steps and validations counted in steps where they were given in passes."""
    trainer: TrainerOptions = options.trainer
    each = batches_of_pass(batches) / trainer.accumulate
    if options.epochs:
        trainer = replace(trainer, steps=max(1, round(options.epochs * each)))
    if options.validate_epochs:
        trainer = replace(trainer, validate_every=max(1, round(options.validate_epochs * each)))
    return replace(trainer, validate_every=min(trainer.validate_every, trainer.steps))


def fit(
    module: FinetuneModule, data: StepData, run: Run, trainer: TrainerOptions, options: Any, task: TaskRun,
    state: dict[str, Any],
) -> Path:  # fmt: skip
    """Train in the run's folder, from its last checkpoint on if there is one; gives the one to keep.

    Raises:
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    monitor = f"val/{task.judge().monitor}" if options.keep == "best" else None
    engine = build_trainer(
        trainer, run, monitor=monitor, mode="max", callbacks=[StateOfRun(**state), LossGuard(run)],
        unused=task.unused,
    )  # fmt: skip
    last = run.checkpoints / "last.ckpt"
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # a frozen backbone is
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            "the device's memory does not suffice: lower batch (and raise trainer.accumulate) or crop; "
            f"{last_good(run)}"
        ) from error
    return engine.checkpoints.best_path if monitor else last


def _finish(
    options: Any, run: Run, task: TaskRun, module: FinetuneModule, held: Any, *, overwrite: bool
) -> None:
    """Score the weights that were kept, save the model, draw the page."""
    page, model = run_page(run.folder), module.model
    facts: dict[str, Any] = {
        "verb": run.verb, "data": ", ".join(options.data), "val": ", ".join(options.val),
        "init": options.init, "options": dump(options),
    }  # fmt: skip
    if held is not None:
        judge = module.judged if options.keep == "last" else None  # the last step was validated already
        if judge is None:
            judge = score_feed(model, held, task, device=choose_accelerator(options.trainer))
        record = judge.record()
        write_json(run.folder / SCORES, record)
        facts["scores"] = record["scores"]
        add_scores(page, judge)
        run.say(f"validation on {judge.rule}:\n{judge.text()}")
    task.save(run.model, model.cpu().eval(), facts, overwrite=overwrite)
    page.save(run.folder / "report.html")
    print(run.folder)


@torch.inference_mode()
def score_feed(model: Any, feed: Any, task: Any, *, device: str = "cpu") -> Judge:
    """What a model reaches on all scenes of a feed, each of them once.

    Args:
        model: is put on the device, in evaluation mode, and stays there.
        feed: of `judging`.
        task: judges.
        device: where to compute.
    """
    judge: Judge = task.judge()
    model.eval().to(device)
    for items in feed.batches.epoch(0):
        batch = feed.collate([feed.dataset[(0, int(item))] for item in items])
        scored: ScoredBatch = batch["batch"].to(device)
        task.score(model(scored.batch), scored, judge)
    return judge


def add_scores(page: Page, judge: Judge) -> None:
    """Tables of a judge's numbers, on a page."""
    record = judge.record()
    shown = [{"number": name, "x 100": value} for name, value in record["scores"].items()]
    page.table(shown, f"Scores on {judge.rule}")
    for dataset, rows in record["classes"].items():
        page.table(rows, f"{dataset}, by class, x 100")
