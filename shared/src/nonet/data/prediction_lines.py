"""Predictions on their way into a file of JSON lines, which an interrupted run goes on with (ours).

While it is written the file is called OUT.part, and OUT.part.json holds what the predictions depend on.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, TypeVar

from nonet.errors import UserError
from nonet.files import write_json


class Named(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """The id."""


T = TypeVar("T", bound=Named)


class PredictionLines:
    """A file of predictions; what an earlier run has written is kept.

        with PredictionLines(out, settings) as file:
            for row in predict(file.remaining(items)):
                file.write(row)

    When the block ends well the file gets its name; when it is interrupted, the next one with equal settings
    goes on after the last whole line.

    Args:
        path: the file; its folder is made.
        settings: what the predictions depend on; compared as JSON.
        overwrite: replace a file that is there, and begin again where an unfinished one has other settings.
        as_row: what `write` takes, as fields with an `id`; None: it takes them as they are.

    Attributes:
        done: predictions in the file.
        resumed: predictions that were in it at the start.

    Raises:
        UserError: the file is there, or an unfinished one was written with other settings.
    """

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        as_row: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        self.path = path = Path(path)
        self.part = path.with_name(path.name + ".part")
        self.notes = path.with_name(path.name + ".part.json")
        self._as_row = as_row
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
        self._file: IO[str] | None = None
        self._ids: list[str] = []
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists; give another name, or --overwrite to replace it")
        if self.part.exists() and self._continues(overwrite):
            self._ids = _whole_lines(self.part)
        self.done = self.resumed = len(self._ids)

    def remaining(self, items: Iterable[T]) -> Iterator[T]:
        """The items that have no prediction yet.

        Raises:
            UserError: the first ones are not those that the file has.
        """
        found = 0
        for item in items:
            if found >= self.resumed:
                yield item
                continue
            if item.id != self._ids[found]:
                raise UserError(
                    f"{self.part}: prediction {found + 1} is of {self._ids[found]!r}, but the input has "
                    f"{item.id!r} there; remove the .part file, or give --overwrite"
                )
            found += 1
        if found < self.resumed:
            raise UserError(f"{self.part}: {self.resumed:,} predictions, but the input has {found:,} records")

    def __enter__(self) -> "PredictionLines":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.resumed:
            self.part.unlink(missing_ok=True)
        write_json(self.notes, self.settings)
        self._file = open(self.part, "a", encoding="utf-8", newline="\n")
        return self

    def write(self, prediction: Any) -> None:
        """Add a prediction, which has an `id`; the system has it when this returns."""
        if self._file is None:
            raise ValueError("write() outside of the with block")
        row = prediction if self._as_row is None else self._as_row(prediction)
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()
        self.done += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if kind is None:
            os.fsync(self._file.fileno())
        empty = self._file.tell() == 0
        self._file.close()
        self._file = None
        if kind is None:
            os.replace(self.part, self.path)
            self.notes.unlink()
        elif empty:  # nothing to go on with
            self.part.unlink(missing_ok=True)
            self.notes.unlink(missing_ok=True)

    def _continues(self, overwrite: bool) -> bool:
        try:
            before = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before == self.settings:
            return True
        if overwrite:
            return False
        if not isinstance(before, dict):
            raise UserError(
                f"{self.part}: {self.notes.name} is missing or damaged; remove both to begin anew"
            )
        other = next(
            name
            for name in sorted(before.keys() | self.settings.keys())
            if before.get(name) != self.settings.get(name)
        )
        raise UserError(
            f"{self.part} was begun with {other} = {before.get(other)!r}, and now it is "
            f"{self.settings.get(other)!r}; give the same options, or --overwrite to begin again"
        )


def stamp(path: Path) -> list[Any]:
    """Name, size and time of a file, and of each file of a folder: content that changed is another input."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return [str(path), [[name, each.st_size, each.st_mtime_ns] for name, each in stats]]


def _whole_lines(path: Path) -> list[str]:
    """The ids of the whole lines of an unfinished file, which is cut after the last of them."""
    ids, end = [], 0
    with open(path, "rb+") as file:
        for line in file:
            try:
                key = json.loads(line)["id"] if line.endswith(b"\n") else None
            except (ValueError, KeyError, TypeError):
                key = None
            if not isinstance(key, str):
                break
            ids.append(key)
            end += len(line)
        file.truncate(end)
    return ids
