"""Which image files were left out during a training, said and listed as it goes on (ours)."""

from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L

from nonet.files import write_text
from nonet.runs import Run
from updetr.image_rows import Note
from updetr.pretext_files import SHOWN, SkippedImages

LIST = "skipped.txt"
"""in a run's folder, the files that were left out"""


class FileNotes(L.Callback):  # type: ignore[misc]
    """Hands the `notes` of each batch on; a run of which over half of the images are unusable ends.

    Args:
        run: says them, and has the list in its folder.
        total: images of the data set.
        held: images that are validated on, where these are a data set of their own; None: they are a part of
            the one that is trained on.
        before: files that were left out already, beside `total`.
    """

    def __init__(self, run: Run, total: int, held: int | None = None, *, before: int = 0) -> None:
        self.run = run
        self.trained = SkippedImages(total + before, run.say, before=before)
        self.held = self.trained if held is None else SkippedImages(held, run.say)
        self._scored: list[str] = []
        kept = run.folder / LIST  # of the sessions before this one
        self._before = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a batch's notes.

        Raises:
            RunFailed: over half of the images cannot be used.
        """
        self._take(self.trained, batch["notes"])

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch's notes.

        Raises:
            RunFailed: over half of the images cannot be used.
        """
        self._take(self.held, batch["notes"])

    def scored(self, unreadable: Sequence[str]) -> None:
        """Take what the scoring at the end could not read, as far as no validation has said it before.

        Args:
            unreadable: lines `FILE: what is wrong`.
        """
        known = self._lines()
        fresh = [line for line in unreadable if line not in known]
        for line in fresh[:SHOWN]:
            self.run.say(f"{line} (left out)")
        if len(fresh) > SHOWN:
            self.run.say("more files are left out")
        if fresh:
            self._scored += fresh
            self._write()

    def _take(self, account: SkippedImages, notes: Iterable[Note]) -> None:
        before = len(account.files)
        try:
            account.add(notes)
        finally:  # the list is there, too, where too many files end the run
            if len(account.files) > before:
                self._write()

    def _lines(self) -> list[str]:
        """What was left out, each file once."""
        files = self.trained.files | self.held.files
        return [f"{name}: {text}" for name, text in files.items()] + self._scored

    def _write(self) -> None:
        if self.run.writes:
            lines = dict.fromkeys([*self._before, *self._lines()])
            write_text(self.run.folder / LIST, "".join(f"{line}\n" for line in lines))
