"""Which image files were left out during a training, said and listed as it goes on (ours)."""

from typing import Any

import lightning as L

from nonet.runs import Run
from updetr.pretext_files import SkippedImages

LIST = "skipped.txt"
"""in a run's folder, the files that were left out"""


class FileNotes(L.Callback):  # type: ignore[misc]
    """Hands the `notes` of each batch on; a run of which over half of the images are unusable ends.

    Args:
        run: says them, and has the list in its folder.
        total: images of the data set.
    """

    def __init__(self, run: Run, total: int) -> None:
        self.skipped = SkippedImages(total, run.say, run.folder / LIST if run.writes else None)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a batch's notes.

        Raises:
            RunFailed: over half of the images cannot be used.
        """
        self.skipped.add(batch["notes"])
