"""What is said of scores that were not numbers (ours)."""

import lightning as L

from nonet.runs import Run
from timix.text_aware_mix import TextAwareMix


class ScoreNotes(L.Callback):  # type: ignore[misc]
    """Says at the end how many scores of patches were NaN or infinite, and counted as 0.

    Args:
        run: says it.
        mixer: counts them.
    """

    def __init__(self, run: Run, mixer: TextAwareMix) -> None:
        self.run, self.mixer = run, mixer

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say it.

        Raises:
            RunFailed: they are more than 1 %.
        """
        found = self.mixer.look()
        if found:
            self.run.say(f"warning: {found:,} patch scores were NaN or infinite, and counted as 0")
