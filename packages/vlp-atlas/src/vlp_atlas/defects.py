"""What is wrong in the catalogue's files, and where (ours)."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nonet.errors import UserError

__all__ = ["Defect", "Place", "Rejected"]


class Place(NamedTuple):
    """A place in a file; line and column count from 1, and 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in self if part)


class Defect(NamedTuple):
    """Something wrong.

    Attributes:
        file: as it was named.
        line: counted from 1; 0 is the whole file.
        rule: `yaml`, `schema`, `reference`, `unfilled`, `contradiction`, `L1` to `L17`, or `stale`.
        message: what, and what to do.
        column: counted from 1; 0 is the whole line.
    """

    file: str
    line: int
    rule: str
    message: str
    column: int = 0

    @classmethod
    def at(cls, place: Place, rule: str, message: str) -> "Defect":
        """A defect at a place."""
        return cls(place.file, place.line, rule, message, place.column)

    def __str__(self) -> str:
        return f"{Place(self.file, self.line, self.column)}: {self.rule}: {self.message}"


class Rejected(UserError):
    """Files that cannot be read; `defects` has all that is wrong with them, and the text too, a line each."""

    def __init__(self, defects: Iterable[Defect]) -> None:
        self.defects = sorted(set(defects))
        super().__init__("\n".join(map(str, self.defects)))


def shown(path: Path) -> str:
    """A path as messages name it: from the current folder where it lies inside it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
