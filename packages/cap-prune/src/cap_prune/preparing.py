"""What a training begins with: task, model, tokenizer, examples, checked before there is a run (ours)."""

import sys
from functools import partial
from typing import Any, Literal, NamedTuple

from cap_prune.encoding import read_task, resolve_task
from cap_prune.evaluating import evaluate
from cap_prune.examples import Examples, collate
from cap_prune.loading import load_model
from cap_prune.tasks import Task
from cap_prune.train_options import TaskOptions
from cap_prune.training import own_device
from nonet.errors import UserError
from nonet.training.seeds import seed_all
from nonet.training.strategies import choose_accelerator, choose_precision

EVALUATION_BATCH = 64


class Prepared(NamedTuple):
    """The parts of a run."""

    task: Task
    model: Any
    """with a head for the task, fresh unless the folder had it; on the CPU"""
    tokenizer: Any
    train: Examples
    dev: Examples
    device: str
    """where what is no training is computed"""

    @property
    def collate(self) -> Any:
        """Rows of `train` to a batch."""
        return partial(collate, pad_id=self.tokenizer.pad_token_id)

    def evaluate(self, model: Any) -> dict[str, float]:
        """The task's measures of a model on the dev side; it is on the CPU afterwards."""
        model.to(self.device)
        found = evaluate(
            model, self.task, self.dev, pad_id=self.tokenizer.pad_token_id, batch=EVALUATION_BATCH
        )
        model.to("cpu")
        return {name: float(value) for name, value in found.items()}


def prepare(options: TaskOptions) -> Prepared:
    """Load and read what the options name. The initial weights of a fresh head follow from the seed.

    Raises:
        UserError: devices, model, task or data that cannot be used, or a side without labels.
    """
    accelerator = choose_accelerator(options.trainer)
    choose_precision(options.trainer, accelerator)
    for data in (options.data, options.dev or options.data):
        if not data.exists():
            raise UserError(f"{data}: no such file or folder")
    if options.dev is None and options.data.is_file():
        raise UserError(f"{options.data}: is one file; name another to score on with --dev")
    task = resolve_task(options.task, options.data)
    seed_all(options.trainer.seed)
    model, tokenizer = load_model(options.model, task, new_head=True, say=_say)
    model.float()
    sides = {}
    for side, data, size, seed in (
        ("train", options.data, options.train_size, options.subset_seed),
        ("dev", options.dev or options.data, options.dev_size, None),
    ):
        found = read_task(
            task, data, side, tokenizer, max_length=options.max_length, stride=options.stride, size=size,
            seed=seed, config=model.config, say=_say,
        )  # fmt: skip
        if not len(found):
            raise UserError(f"{data}: the {side} side has no examples")
        sides[side] = found
    return Prepared(task, model, tokenizer, sides["train"], sides["dev"], own_device(accelerator))


def aligned(wanted: Literal["auto", "cls", "mean-pooling"]) -> Literal["cls", "mean-pooling"]:
    """The vector that stands for an example; `auto` is the mean, which encoders of every kind have."""
    return "mean-pooling" if wanted == "auto" else wanted


def mark(model: Any, options: TaskOptions, task: Task, align: str) -> None:
    """Put into a model's config what those who use it later need not ask for."""
    model.config.cap_task = {
        "task": task.name, "max_length": options.max_length, "stride": options.stride, "align": align,
    }  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr)
