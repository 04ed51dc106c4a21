"""The verb `eval`: the measures of a task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score a model on a task, with the measures of GLUE or SQuAD."""

    model: str
    """folder of a model or of a level of a run, or a hub name"""
    data: Path
    """the task's folder in GLUE's layout; a file of SQuAD, CSV, TSV or JSON lines; or a folder that datasets
    saved"""
    task: str | None = None
    """sst2, mrpc, rte, cola, stsb, qnli, qqp, mnli, wnli, squad, classify or regress; none: as trained"""
    side: Literal["train", "dev", "test"] = "dev"
    """part of the data; of mnli the mismatched part is scored, too; a single file has no parts"""
    max_length: int | None = None
    """tokens of an example at most; none: as trained, else 128, and 384 for squad"""
    stride: int | None = None
    """tokens that neighbouring windows of squad share; none: as trained, else 128"""
    size: int | None = None
    """score the first so many examples alone; none: all"""
    batch: int = 64
    """examples at a time; it does not change the scores"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    out: Path | None = None
    """file for the scores as JSON; none: only print"""

    def __post_init__(self) -> None:
        for name in ("max_length", "size", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is 1 or more")
        if self.stride is not None and self.stride < 0:
            raise UserError(f"stride is {self.stride}; it is 0 or more")


def run(options: Options) -> int:
    """Print a line a measure; MNLI's mismatched side comes second."""
    from cap_prune.encoding import check_tokenizer, read_task
    from cap_prune.evaluating import evaluate
    from cap_prune.glue_files import sides_of
    from cap_prune.loading import load_model
    from cap_prune.tasks import trained_length, trained_stride, trained_task
    from nonet.files import write_json
    from nonet.training.devices import pick_device

    if not options.data.exists():
        raise UserError(f"{options.data}: no such file or folder")
    device = pick_device(options.device)
    model, tokenizer = load_model(options.model)
    task = trained_task(model.config, options.task)
    length = trained_length(model.config, task, options.max_length)
    stride = trained_stride(model.config, options.stride)
    check_tokenizer(tokenizer, length, model.config)
    model.to(device)
    scores = {}
    sides = sides_of(task, options.side) if options.data.is_dir() else [options.side]
    for side in sides:
        examples = read_task(
            task, options.data, side, tokenizer, max_length=length, stride=stride,
            size=options.size, config=model.config,
        )  # fmt: skip
        found = evaluate(model, task, examples, pad_id=tokenizer.pad_token_id, batch=options.batch)
        count = len(examples.questions.ids) if examples.questions else len(examples)
        scores[side] = {"examples": count, **found}
        for name, value in found.items():
            print(f"{task.name} {side:<5} {name:<12} {value:.4f}  ({count:,} examples)")
    if options.out is not None:
        write_json(options.out, {"model": options.model, "task": task.name, "scores": scores})
    return 0
