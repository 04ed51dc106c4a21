"""What a task has by default, and what a fine-tuned model keeps of it; loads no torch.

The numbers are those of the configurations released with mPLUG (Li et al. 2022) and TiMix (Jiang et al.
2024), which share them; NLVR2's are ALBEF's (Li et al. 2021), as the others have no code for it.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from nonet.errors import UserError
from nonet.options import build

TaskName = Literal["retrieval", "vqa", "caption", "nlvr2", "grounding"]

SETTINGS = "task.json"
"""in the folder of a fine-tuned model"""


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What a fine-tuned model keeps beside its weights, `task.json`."""

    task: TaskName
    """what it was fine-tuned for"""
    max_length: int
    """word pieces of a caption, question or statement, with both ends"""
    beams: int = 5
    """sequences that are searched at once where the model writes"""
    shortest: int = 1
    """word pieces of what it writes, at least"""
    longest: int = 10
    """word pieces of what it writes, at most"""
    length_penalty: float = 0.6
    """exponent p: log-probabilities are divided by ((5 + word pieces) / 6)^p"""
    look: Literal["image", "fused"] = "fused"
    """what a caption is written from: the image's tokens alone, or fused with an empty text, as in
    pre-training"""

    def __post_init__(self) -> None:
        if self.max_length < 3 or self.beams < 1:
            raise UserError(f"max_length is {self.max_length} (from 3) and beams {self.beams} (from 1)")
        if not 0 <= self.shortest <= self.longest:
            raise UserError(f"shortest is {self.shortest} and longest {self.longest} word pieces")

    def as_json(self) -> str:
        """The text of `task.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class TaskDefaults:
    """How a task is fine-tuned.

    Attributes:
        image: height and width of an image, pixels.
        batch: examples a batch.
        lr: of all but the vision tower.
        lr_visual: of the vision tower.
        epochs: passes over the examples.
        settings: of the task.
    """

    image: int
    batch: int
    lr: float
    lr_visual: float
    epochs: float
    settings: TaskSettings


DEFAULTS: dict[TaskName, TaskDefaults] = {
    "retrieval": TaskDefaults(336, 128, 1e-5, 2e-6, 8, TaskSettings(task="retrieval", max_length=30)),
    "vqa": TaskDefaults(384, 128, 3e-5, 5e-6, 8, TaskSettings(task="vqa", max_length=50)),
    "caption": TaskDefaults(
        384, 64, 1e-5, 5e-6, 5,
        TaskSettings(task="caption", max_length=25, shortest=8, longest=25, look="image"),
    ),
    "nlvr2": TaskDefaults(384, 128, 2e-5, 2e-5, 10, TaskSettings(task="nlvr2", max_length=40)),
    "grounding": TaskDefaults(336, 32, 2e-5, 5e-6, 120, TaskSettings(task="grounding", max_length=40)),
}  # fmt: skip


def read_settings(folder: Path, task: TaskName) -> TaskSettings | None:
    """What a model's folder says about its task; None if it was fine-tuned for none.

    Args:
        folder: of the model.
        task: that it is to be used for.

    Raises:
        UserError: it was fine-tuned for another task, or the file is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("task") not in get_args(TaskName):
        raise UserError(f"{path}: does not say which of {', '.join(get_args(TaskName))} the model is for")
    if values["task"] != task and task != "retrieval":
        raise UserError(f"{folder}: was fine-tuned for {values['task']}, not for {task}")
    if values["task"] != task:
        return None
    return build(TaskSettings, [(values, str(path))])
