"""The teacher: loaded, checked against task and student, asked once about every example (ours)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cap_prune.distillation import (
    TeacherLogits,
    check_score,
    check_widths,
    data_key,
    teacher_logits,
)
from cap_prune.encoding import read_task
from cap_prune.evaluating import check_head, plain_batches
from cap_prune.examples import Examples
from cap_prune.loading import load_model
from cap_prune.preparing import Prepared
from cap_prune.representations import Align, encode
from cap_prune.train_options import TaskOptions
from nonet.errors import UserError

BATCH = 128


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned model and the examples in its own tokens.

    Attributes:
        name: as the user gave it.
        model: on the CPU, in evaluation mode.
        examples: of the training side, in the order of the student's.
        pad_id: its tokenizer's.
        remarks: what is wrong with it and was allowed by `force`.
    """

    name: str
    model: Any
    examples: Examples
    pad_id: int
    remarks: tuple[str, ...]

    def logits(self, device: str, folder: Path | None, say: Callable[[str], None]) -> TeacherLogits:
        """Its logits for every training example, from a file in `folder` if they are there."""
        self.model.to(device)
        key = data_key(self.examples.ids, self.examples.types)
        return teacher_logits(
            self.model, self._batches(device), len(self.examples), folder=folder, key=key, say=say
        )

    def encoded(self, device: str, align: Align) -> Iterable[Any]:
        """Its vectors of every training example, for a bank."""
        self.model.to(device)
        return encode(self.model, self._batches(device), align)

    def _batches(self, device: str) -> Any:
        return plain_batches(self.examples, self.pad_id, batch=BATCH, device=device)


def load_teacher(name: str, options: TaskOptions, parts: Prepared, *, fic: bool, force: bool) -> Teacher:
    """Load a teacher and refuse one that would teach wrong things.

    Its logits are in the order of the task's labels, as `load_model` puts them, so that places are enough for
    those that are kept.

    Args:
        name: folder or hub name.
        options: task, data, lengths.
        parts: the student's.
        fic: whether the student is contrasted with it.
        force: go on with a teacher that learnt nothing.

    Raises:
        UserError: another head, other labels, another width with `fic`, hardly better than the most frequent
            label on the dev side, or windows of other tokens (SQuAD).
    """
    model, tokenizer = load_model(name, parts.task)
    model.float()
    check_head(model, parts.task)
    if fic:
        check_widths(model.config.hidden_size, parts.model.config.hidden_size)
    train, dev = parts.train, parts.dev
    if not _same_tokens(tokenizer, parts.tokenizer):
        if parts.task.kind == "qa":
            raise UserError(
                f"{name}: its tokenizer is not the student's, so that its answers are in other windows; "
                "take a teacher and a student of one vocabulary"
            )
        train = _read(options, parts, tokenizer, model.config, "train")
        dev = _read(options, parts, tokenizer, model.config, "dev")
    remarks = []
    if parts.task.kind == "classification":
        own = parts._replace(tokenizer=tokenizer, dev=dev)
        accuracy = own.evaluate(model)["accuracy"]
        remarks.append(check_score(accuracy, [] if dev.labels is None else dev.labels.tolist(), force=force))
    return Teacher(name, model, train, tokenizer.pad_token_id, tuple(text for text in remarks if text))


def _read(options: TaskOptions, parts: Prepared, tokenizer: Any, config: Any, side: str) -> Examples:
    """The same examples in the teacher's tokens."""
    data = options.dev or options.data if side == "dev" else options.data
    return read_task(
        parts.task, data, side, tokenizer, max_length=options.max_length, stride=options.stride,
        size=options.train_size if side == "train" else options.dev_size,
        seed=options.subset_seed if side == "train" else None, config=config, say=lambda _: None,
    )  # fmt: skip


def _same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers cut alike: their fast parts, written out, are equal."""
    import json

    sides = []
    for each in (one, other):
        if not hasattr(each, "backend_tokenizer"):
            return type(one) is type(other) and one.get_vocab() == other.get_vocab()
        plain = json.loads(each.backend_tokenizer.to_str())
        sides.append({name: value for name, value in plain.items() if name not in ("truncation", "padding")})
    return sides[0] == sides[1]
