"""What is to be said about image files during a run: which were left out, and why (ours)."""

from typing import Any, NamedTuple

import lightning as L
import torch

from nonet.errors import RunFailed
from nonet.files import write_json
from nonet.runs import Run

SAID = 20  # files that are named while the run goes on
LIST = "unusable.json"
"""in a run's folder, every file that was left out"""


class Note(NamedTuple):
    """What is to be said about a file.

    Attributes:
        file: its path.
        text: the reason, or how it was read.
        skipped: whether it was left out.
    """

    file: str
    text: str
    skipped: bool


class FileNotes(L.Callback):  # type: ignore[misc]
    """Says a batch's `notes`, counts the files that were left out, and ends a run of hardly usable images.

    Args:
        run: where to; `unusable.json` in its folder lists what was left out.
        total: files in the data set.
    """

    def __init__(self, run: Run, total: int) -> None:
        self.run, self.total = run, total
        self.skipped: dict[str, str] = {}
        self._said: set[tuple[str, str]] = set()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the notes of a batch.

        Raises:
            RunFailed: over half of the files cannot be used.
        """
        for note in batch.get("notes", ()):
            if note.skipped:
                self.skipped.setdefault(note.file, note.text)
            if (note.file, note.text) in self._said:
                continue
            self._said.add((note.file, note.text))
            if len(self._said) <= SAID:
                self.run.say(f"{note.file}: {note.text}{'; left out' if note.skipped else ''}")
            elif len(self._said) == SAID + 1:
                self.run.say(f"more files like these; {LIST} will list those that are left out")
        if len(self.skipped) > self.total / 2:
            self._write(self.skipped)
            raise RunFailed(
                f"{len(self.skipped)} of {self.total} images cannot be used; "
                f"{self.run.folder / LIST} lists them"
            )

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the list."""
        found: dict[str, str] = {}
        for mine in gathered([self.skipped]):
            found |= mine
        if found:
            self._write(found)
            self.run.say(f"{len(found)} of {self.total} images were left out: {self.run.folder / LIST}")

    def _write(self, found: dict[str, str]) -> None:
        if self.run.writes:
            write_json(self.run.folder / LIST, dict(sorted(found.items())))


def gathered(mine: list[Any]) -> list[Any]:
    """The entries of all processes, those of the first one first; all have to call it."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(mine)
    every: list[list[Any]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(every, list(mine))
    return [entry for part in every for entry in part]
