"""Texts or pairs with their labels, as all readers of files give them, and faults of rows (ours)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cap_prune.tasks import Task
from nonet.errors import UserError

HIDDEN = -1
"""the label of GLUE's test sets as `datasets` writes it"""


@dataclass(frozen=True)
class Texts:
    """Examples before they are tokenised.

    Attributes:
        first: the texts.
        second: the other texts of pairs; None where there are none.
        labels: numbers of classes, or values of a regression; None where the file hides them.
        skipped: broken rows that were left out, which only QQP's files allow.
    """

    first: list[str]
    second: list[str] | None
    labels: list[int] | list[float] | None
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.first)

    def take(self, numbers: Sequence[int]) -> "Texts":
        """Only these, in this order."""
        return Texts(
            [self.first[number] for number in numbers],
            None if self.second is None else [self.second[number] for number in numbers],
            None if self.labels is None else [self.labels[number] for number in numbers],  # type: ignore[arg-type]
            self.skipped,
        )


class Faults:
    """Bad rows of a file: all are counted, the first one is named."""

    def __init__(self) -> None:
        self.first, self.count = "", 0

    def add(self, where: str, what: str) -> None:
        """Note a row; `where` is `file:line`."""
        self.first = self.first or f"{where}: {what}"
        self.count += 1

    def stop(self) -> None:
        """Nothing, if all rows were sound.

        Raises:
            UserError: the first fault, and how many rows have one.
        """
        if self.count:
            rows = "1 bad row" if self.count == 1 else f"{self.count:,} bad rows"
            raise UserError(f"{self.first}; {rows} in all")


def label_number(task: Task, value: object) -> int | float:
    """A label as files write it, by name or by number, as its number (a regression: its value).

    Raises:
        ValueError: what is wrong with it; -1, the hidden label, is among these.
    """
    import math

    if task.kind == "regression":
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{task.label} is {value!r}, no number")
        return number
    text = str(value).strip()
    if text in task.labels:
        return task.labels.index(text)
    if text == str(HIDDEN):
        raise ValueError(
            f"label is {HIDDEN}: the labels of this file are hidden, as those of GLUE's test sets"
        )
    if text.isdecimal() and int(text) < len(task.labels):
        return int(text)
    raise ValueError(f"label is {value!r}; labels of {task.name} are {', '.join(task.labels)}")


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: no such file, or bytes that are not UTF-8; the text names their line and how many are bad.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(not_utf8(path, data)) from None


def not_utf8(path: Path, data: bytes) -> str:
    """What to say of bytes that are not UTF-8."""
    bad = [number for number, line in enumerate(data.split(b"\n"), 1) if not _decodes(line)]
    rows = "1 such line" if len(bad) == 1 else f"{len(bad):,} such lines"
    return f"{path}:{bad[0]}: not UTF-8 ({rows}); convert it: iconv -f LATIN1 -t UTF-8 IN > OUT"


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
