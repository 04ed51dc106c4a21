"""The teacher: its outputs, computed once instead of in every step, and whether it fits (ours).

A teacher in evaluation mode says the same about an example each time, so that the distillation of
Hinton et al. 2015 needs its logits alone. They are kept in a file whose name follows from its weights and the
examples.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from cap_prune.contrast import Term
from cap_prune.representations import outputs
from nonet.errors import UserError
from nonet.files import replacing

# Shapes: N training examples, B examples of a batch, L pieces, C labels.


class TeacherLogits:
    """The teacher's logits for every training example.

    Args:
        tensors: one (N, C) of a classifier, or two (N, L) of starts and ends, L of the longest example.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def rows(self, index_B: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Those of some examples, float32, cut to the shapes and moved to the device of the student's.

        Raises:
            ValueError: the student gives other shapes.
        """
        if like[0].device != self.tensors[0].device:
            self.tensors = tuple(each.to(like[0].device) for each in self.tensors)
        found = tuple(
            each.index_select(0, index_B)[:, : mine.shape[1]]
            for each, mine in zip(self.tensors, like, strict=True)
        )
        if found[0].shape != like[0].shape:
            raise ValueError(
                f"the teacher has logits {tuple(found[0].shape)}, the student {tuple(like[0].shape)}"
            )
        return found


def distil(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    temperature: float,
    *,
    mask: Tensor | None = None,
    regression: bool = False,
) -> Term:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), summed over examples, and their number.

    Args:
        student: (B, C), or (B, L) each for starts and ends, of which the mean is taken.
        teacher: likewise.
        temperature: T, positive.
        mask: (B, L) of the pieces that are no padding, for starts and ends.
        regression: (B, 1) are predictions, not logits: squared error instead, as a softmax over one output
            would teach nothing.
    """
    count = torch.full((), float(len(student[0])), device=student[0].device)
    if regression:
        return F.mse_loss(student[0].float(), teacher[0].float(), reduction="sum"), count
    parts = []
    for mine, theirs in zip(student, teacher, strict=True):
        mine, theirs = (each.float() / temperature for each in (mine, theirs))
        if mask is not None:
            lowest = torch.finfo(torch.float32).min
            mine, theirs = (each.masked_fill(mask == 0, lowest) for each in (mine, theirs))
        parts.append(F.kl_div(mine.log_softmax(-1), theirs.softmax(-1), reduction="sum"))
    return torch.stack(parts).mean() * temperature**2, count


def teacher_logits(
    teacher: Any,
    batches: Iterable[Mapping[str, Tensor]],
    count: int,
    *,
    folder: Path | None = None,
    key: str = "",
    say: Callable[[str], None] = print,
) -> TeacherLogits:
    """What the teacher says about every training example, in evaluation mode.

    Args:
        teacher: a model with head.
        batches: with `index` beside the teacher's inputs, on its device; all examples are among them.
        count: of the examples.
        folder: where to keep the logits and look for them; None: nowhere.
        key: what tells these examples from others, such as `data_key`.
        say: is told about a kept file that cannot be read.

    Raises:
        ValueError: examples are missing.
    """
    file = folder and folder / f"teacher-{_key(teacher, key, count)}.safetensors"
    if file and file.exists():
        try:
            kept = load_file(file)
            return TeacherLogits([kept[str(number)] for number in range(len(kept))])
        except Exception as error:
            say(f"{file}: damaged, the teacher's logits are computed again ({error})")
    found = _compute(teacher, batches, count)
    if file:
        with replacing(file) as part:
            save_file({str(number): each.contiguous() for number, each in enumerate(found)}, part)
    return TeacherLogits(found)


def _compute(teacher: Any, batches: Iterable[Mapping[str, Tensor]], count: int) -> list[Tensor]:
    training = teacher.training
    teacher.eval()
    rows: list[list[Tensor]] = []
    indices: list[Tensor] = []
    try:
        for batch in batches:
            with torch.no_grad():
                rows.append([each.float().cpu() for each in outputs(teacher, batch, "cls").logits])
            indices.append(batch["index"].cpu())
    finally:
        teacher.train(training)
    places = torch.cat(indices) if indices else torch.zeros(0, dtype=torch.long)
    if len(places.unique()) != count:
        raise ValueError(f"the teacher saw {len(places.unique())} of {count} examples")
    found = []
    for side in range(len(rows[0])):
        table = torch.zeros(count, max(each[side].shape[1] for each in rows))
        for index_B, each in zip(indices, rows, strict=True):
            table[index_B, : each[side].shape[1]] = each[side]
        found.append(table)
    return found


def data_key(ids: Iterable[Any], types: Iterable[Any] | None = None) -> str:
    """What tells tokenised examples from others: a hash over all pieces (and their types) and lengths."""
    digest = hashlib.sha256()
    for side in (ids, types or ()):
        for each in side:
            digest.update(len(each).to_bytes(8, "little") + each.tobytes())
    return digest.hexdigest()[:16]


def _key(teacher: Any, data: str, count: int) -> str:
    digest = hashlib.sha256(f"{type(teacher).__name__} {count} {data}".encode())
    for name, value in teacher.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def check_score(accuracy: float, labels: Sequence[int], *, force: bool = False) -> str | None:
    """Refuse a classifier that is hardly better on the dev set than always saying the most frequent label.

    Args:
        accuracy: of the teacher, in 0..1.
        labels: true ones of the dev set, not negative.
        force: go on.

    Returns:
        What is to be said: with `force`, what is wrong; without labels, that nothing was checked. Else None.

    Raises:
        UserError: at most one point better.
    """
    if not len(labels):
        return "the teacher was not checked: the dev set has no labels"
    counts: dict[int, int] = {}
    for label in labels:
        counts[int(label)] = counts.get(int(label), 0) + 1
    majority = max(counts.values()) / sum(counts.values())
    if accuracy > majority + 0.01:
        return None
    text = (
        f"the teacher's accuracy is {100 * accuracy:.1f} %, the most frequent label's {100 * majority:.1f} %"
    )
    if force:
        return text
    raise UserError(f"{text}: train the teacher longer, check its labels, or --force to go on")


def check_widths(teacher: int, student: int) -> None:
    """Refuse a contrast between vectors of different widths.

    Raises:
        UserError: the hidden sizes differ.
    """
    if teacher != student:
        raise UserError(
            f"the teacher's hidden size is {teacher}, the student's {student}; the contrast with the teacher "
            "(fic) needs equal ones: --loss.no-fic, or a teacher of the student's width"
        )
