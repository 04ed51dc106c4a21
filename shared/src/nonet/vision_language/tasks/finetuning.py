"""From the options of `finetune` to a run's folder with a fine-tuned model (ours)."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import torch

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.errors import RunFailed
from nonet.files import write_json
from nonet.options import dump
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.model_card import ModelCard, Score
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.strategies import choose_accelerator, device_count
from nonet.training.trainer import build_trainer
from nonet.vision_language.pair_data import UnreadableImages
from nonet.vision_language.pair_folders import pair_folder, save_pair_model, tensors_of
from nonet.vision_language.pair_optimizer import PairRates
from nonet.vision_language.tasks.starting import Equip, start_task
from nonet.vision_language.tasks.task import Task, TrainingItems, reading_of, said
from nonet.vision_language.tasks.task_module import TaskModule
from nonet.vision_language.tasks.task_options import FinetuneOptions
from nonet.vision_language.tasks.task_settings import SETTINGS
from nonet.vision_language.training_stages import TRAINING, as_json, read_stages

SCORES = "scores.json"
"""in a run's folder, what the weights that were kept reach on the validation data"""

LIMIT = 0.01  # share of images that may be unreadable


def finetune_task(package: str, options: FinetuneOptions, *, equip: Equip | None = None) -> Run:
    """Fine-tune a model on a task, from its last checkpoint on where `resume` names a run.

    Args:
        package: import name of the package that asks.
        options: of its verb.
        equip: adds what the package has of its own to the task.

    Returns:
        The run; `model` in its folder has the weights of the best validation, or the last ones.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, too many images cannot be read, or memory does not suffice.
    """
    resumed = folder_of(options.resume)
    notes: list[str] = []
    seed_all(options.trainer.seed)
    task = start_task(options, notes.append, equip)
    train = task.read(options.train, options.images, options.split, truth=True)
    notes += said(train)
    val: Any = None
    if options.val:
        val = task.read(options.val, options.images, options.val_split, truth=True)
        task.refuse_shared(train, val, "validation")
    size = options.filled("batch")
    if size > len(train):
        notes.append(f"batch is {size}, but there are {len(train)} examples: {len(train)} are taken")
        size = len(train)
    batches = RandomBatches(len(train), size, options.trainer.seed)
    trainer, per_epoch = _length(options, batches)
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create(package, "finetune", options, seed=trainer.seed, folder=options.out)
    )
    with run:
        for note in notes:
            run.say(note)
        learns = sum(weight.numel() for weight in task.parameters() if weight.requires_grad)
        run.say(f"{options.task}: {len(train):,} examples, {trainer.steps:,} steps, {learns:,} weights learn")
        reading = reading_of(task.model.config, scale=options.scale, careful_flip=options.careful_flip)
        module = TaskModule(
            task, _rates(options, trainer.steps), steps=trainer.steps, steps_per_epoch=per_epoch,
            seed=trainer.seed, watch=UnreadableImages(len(train), LIMIT, run.say), validation=val,
            reading=reading, batch=size, workers=trainer.workers,
        )  # fmt: skip
        held: tuple[Any, ...] = ()
        if val is not None:
            count = device_count(trainer, choose_accelerator(trainer)) * trainer.nodes
            held = (_Signals(count), OrderedBatches(count, count))
        data = StepData(
            TrainingItems(task, train, reading, trainer.seed), batches, task.collate, *held,
            val_collate=list, workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        best = _fit(module, data, run, trainer, options, validated=val is not None)
        if run.writes:
            _finish(task, best, run, options, val, module, overwrite=resumed is not None)
    return run


class _Signals:
    """One item for each process, that says when to validate."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, visit: Any) -> int:
        return 0


def _length(options: FinetuneOptions, batches: RandomBatches) -> tuple[TrainerOptions, int]:
    """The options with steps and intervals, and optimiser steps of an epoch."""
    trainer = options.trainer
    per_epoch = max(1, batches.steps(0) // trainer.accumulate)
    epochs = options.filled("epochs")
    if epochs:
        steps = max(1, round(epochs * batches.steps(0) / trainer.accumulate))
        trainer = dataclasses.replace(trainer, steps=steps)
    if options.val and not trainer.validate_every and options.validate_epochs:
        every = max(1, round(options.validate_epochs * batches.steps(0) / trainer.accumulate))
        trainer = dataclasses.replace(trainer, validate_every=min(every, trainer.steps))
    return trainer, per_epoch


def _rates(options: FinetuneOptions, steps: int) -> PairRates:
    return PairRates(
        lr=options.filled("lr"), lr_visual=options.filled("lr_visual"), weight_decay=options.weight_decay,
        warmup=min(round(options.warmup * steps), steps - 1), warmup_unit=1, fall="step",
    )  # fmt: skip


def _fit(
    module: TaskModule, data: StepData, run: Run, trainer: TrainerOptions, options: FinetuneOptions, *,
    validated: bool,
) -> Path:  # fmt: skip
    state = StateOfRun(task=options.task, steps=trainer.steps, lr=options.filled("lr"))
    engine = build_trainer(
        trainer, run, monitor=f"val/{module.task.monitor}" if validated else None, mode="max",
        callbacks=[state],
    )  # fmt: skip
    last = run.checkpoints / "last.ckpt"
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # the momentum model is
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"the device's memory does not suffice: lower batch (and raise trainer.accumulate) or image; "
            f"{last_good(run)}"
        ) from error
    return engine.checkpoints.best_path


def _finish(
    task: Task, best: Path, run: Run, options: FinetuneOptions, val: Any,
    module: TaskModule, *, overwrite: bool,
) -> None:  # fmt: skip
    """Load the weights that were kept, score them, save the model."""
    task.load_state_dict(read_weights(best, prefix="task."))
    scores: dict[str, float] = {}
    if val is not None:
        task.to(module.device)
        scores = task.evaluate(val, module.reading, batch=module.batch, workers=module.workers).scores
        write_json(run.folder / SCORES, {"task": options.task, "scores": scores})
    card = ModelCard(
        title=run.folder.name,
        what=f"An image-text model, fine-tuned on {options.task} from `{options.model}`.",
        library="nonet", tags=(options.task,), base=options.model, data=", ".join(options.train),
        options=dump(options),
        scores=[Score(name, value, data=", ".join(options.val)) for name, value in scores.items()],
        limits=["Knows only what its training data show; scores are of the validation data that chose it."],
    ).text()  # fmt: skip
    task.cpu().eval()
    heads = {name: head for name, head in [*task.heads.items(), *task.parts.items()] if tensors_of(head)}
    stages = [*read_stages(pair_folder(options.model), options.model), _stage(run, options, module)]
    files = {SETTINGS: task.settings.as_json(), TRAINING: as_json(stages), **task.files}
    save_pair_model(
        task.model, task.tokenizer, run.model, card, extras=heads, files=files, overwrite=overwrite
    )
    for name, value in scores.items():
        run.say(f"{name} {value:.2f}")


def _stage(run: Run, options: FinetuneOptions, module: TaskModule) -> dict[str, Any]:
    """What this fine-tuning took."""
    lines = read_metrics(run.folder)
    names = {name.removeprefix("train/") for line in lines for name in line if name.startswith("train/")}
    steps, seconds = lines[-1]["step"], float(lines[-1]["seconds"])
    batches = module.trainer.datamodule.train_batches
    batch = batches.count / batches.steps(0) * options.trainer.accumulate
    return {
        "verb": f"finetune {options.task}", "losses": sorted(names - {"loss"}), "steps": steps,
        "examples": round(steps * batch),
        "device_hours": round(seconds / 3600 * module.trainer.world_size, 5),
    }  # fmt: skip
