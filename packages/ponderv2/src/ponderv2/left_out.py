"""Frames and scenes that a training leaves out: named as they are met, counted at its end (ours).

Whoever reads a frame may be a data loader's worker, whose notes stay in its process: batches bring them.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L

from nonet.files import write_text
from nonet.runs import Run
from ponderv2.all_processes import gathered

SHOWN = 5
"""frames, and scenes, that are named one by one; `LIST` has all"""
LIST = "left_out.txt"
"""in a run's folder, every frame and scene that was left out, a line each"""


class LeftOut(L.Callback):  # type: ignore[misc]
    """Hands on the `remarks` and the `dropped` scenes of each batch.

    The first process says the first ones of its own; at the end it counts and lists those of all.

    Args:
        run: says them, and has the list in its folder.
        known: frames that were left out, and said, before training.
    """

    def __init__(self, run: Run, known: Iterable[str] = ()) -> None:
        self.run = run
        self.frames = dict.fromkeys(known)
        self.scenes: Counter[str] = Counter()
        self._said = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a batch's notes; what was said before is not said again."""
        self._add(batch.remarks)
        for name in batch.dropped:
            self.scenes[name] += 1
            if self.scenes[name] == 1:
                text = f"scene {name}: over max_points together with the others of a batch"
                self._say(text, len(self.scenes), "scenes")

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Take the notes of validated scenes, likewise."""
        self._add(batch.remarks)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Count and list what all processes left out."""
        frames, scenes = dict[str, None](), Counter[str]()
        for lines, names in gathered((list(self.frames), self.scenes)):
            frames |= dict.fromkeys(lines)
            scenes.update(names)
        if not self.run.writes or not (frames or scenes):
            return
        path = self._list(frames, scenes)
        if frames:
            self.run.say(f"left out: {len(frames):,} frames that cannot be used ({path})")
        if scenes:
            self.run.say(
                f"left out: {len(scenes):,} scenes over max_points, {scenes.total():,} times in all: "
                + ", ".join(f"{name} {times:,}" for name, times in scenes.most_common(SHOWN))
                + (f" and {len(scenes) - SHOWN:,} more" if len(scenes) > SHOWN else "")
                + f" ({path})"
            )

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """List what the first process left out before the run broke off; the others may not answer."""
        if self.run.writes and (self.frames or self.scenes):
            with suppress(OSError):  # a full disk, say, is what is told
                self._list(self.frames, self.scenes)

    def _list(self, frames: Iterable[str], scenes: Iterable[str]) -> Path:
        """Add lines to those of the run's folder."""
        path = self.run.folder / LIST
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        listed = [*frames, *(f"scene {name}: over max_points" for name in scenes)]
        write_text(path, "".join(f"{line}\n" for line in dict.fromkeys([*before, *listed])))
        return path

    def _add(self, remarks: Iterable[str]) -> None:
        for line in remarks:
            if line not in self.frames:
                self.frames[line] = None
                self._said += 1
                self._say(line, self._said, "frames")

    def _say(self, line: str, number: int, kind: str) -> None:
        if number <= SHOWN:
            self.run.say(f"{line} (left out)")
        elif number == SHOWN + 1:
            self.run.say(f"more {kind} are left out")
