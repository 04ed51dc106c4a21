"""What a fine-tuned model is: `config.json` of its folder, as plain data, so that help loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nonet.errors import UserError
from ponderv2.finetune_options import GroupOptions
from ponderv2.model_config import SpUNetConfig, from_dict

Task = Literal["semseg", "insseg", "det"]
TASKS: tuple[Task, ...] = ("semseg", "insseg", "det")
DEFAULT_CHANNELS = ("color", "normal")
DEFAULT_VOXEL = 0.02


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A backbone, its head, and what they were trained on."""

    task: Task
    """semseg: classes of points; insseg: objects; det: boxes"""
    backbone: SpUNetConfig = field(default_factory=SpUNetConfig)
    """of the sparse U-Net"""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """each data set's name to the names of its classes, in the order of their numbers"""
    channels: tuple[str, ...] = DEFAULT_CHANNELS
    """what the backbone takes of a point"""
    voxel: float = DEFAULT_VOXEL
    """side of a voxel, metres"""
    head: Literal["linear", "text"] = "linear"
    """of semseg"""
    text_width: int = 0
    """head text: numbers of a class's vector"""
    prompt: str | None = None
    """the data set whose norms the backbone uses for all others"""
    stuff: tuple[str, ...] = ()
    """insseg, det: classes that are no objects"""
    groups: GroupOptions = field(default_factory=GroupOptions)
    """insseg, det: how voxels become objects"""
    boxes: Literal["votes", "masks"] = "votes"
    """det: what offsets lead to: the middle of a box, or the mean of an object's voxels"""

    def names(self, dataset: str) -> tuple[str, ...]:
        """The class names of a data set; of the only one, where there is one and it is called otherwise.

        Raises:
            UserError: the model knows several data sets, and not this one.
        """
        if dataset in self.classes:
            return self.classes[dataset]
        if len(self.classes) == 1:
            return next(iter(self.classes.values()))
        raise UserError(
            f"the model was trained on {', '.join(self.classes)}; which of them is {dataset} to be like?"
        )

    def ignored(self, dataset: str) -> tuple[int, ...]:
        """The numbers of the classes that are no objects."""
        return tuple(number for number, name in enumerate(self.names(dataset)) if name in self.stuff)


def read_task_config(values: Mapping[str, Any], where: str) -> TaskConfig:
    """A configuration from `config.json`.

    Raises:
        UserError: it is not that of a fine-tuned model.
    """
    if values.get("task") not in TASKS:
        raise UserError(
            f"{where}: is no fine-tuned model (its task is {values.get('task', 'absent')!r}, not one of "
            f"{', '.join(TASKS)}): fine-tune it first"
        )
    found: TaskConfig = from_dict(TaskConfig, values, where)
    return found
