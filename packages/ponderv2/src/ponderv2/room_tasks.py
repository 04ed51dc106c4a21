"""The tasks in rooms: what they read, what they build, what they learn from and are judged by (ours)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nonet.data.batching import Batches
from nonet.errors import UserError
from ponderv2.batch_ratios import ratios_for, read_ratios
from ponderv2.batches import Collate, SceneDataset
from ponderv2.class_text import read_class_text
from ponderv2.judging import judge_outputs, new_judge
from ponderv2.labelled_scenes import LabelledScenes, read_labelled
from ponderv2.mixed_batches import MixedBatches, MixedScenes, OrderedMixed
from ponderv2.scored_scenes import ScoredBatch, ScoredCollate, ScoredScenes, TrainCollate
from ponderv2.start_model import Start, read_start
from ponderv2.task_augmentation import task_transforms
from ponderv2.task_config import Task, TaskConfig
from ponderv2.task_models import TaskModel, build_task_model, save_task, start_backbone
from ponderv2.task_scores import Judge

Say = Callable[[str], None]


class Feed(NamedTuple):
    """Examples, the batches they come in, and what makes a batch of them."""

    dataset: Any
    batches: Batches
    collate: Callable[[list[Any]], Any]


class RoomTask:
    """A task on voxels of rooms; everything is read and checked before there is a run folder.

    Args:
        options: of a verb; those of `StartOptions` and `LearnOptions` at least.
        task: which.
        say: takes remarks.

    Raises:
        UserError: what cannot work.
    """

    def __init__(self, options: Any, task: Task, say: Say) -> None:
        self.options = options
        objects = task != "semseg"
        self.train = self._read(options.data, objects, lr_file=options.lr_file, la_file=options.la_file)
        self.val: LabelledScenes | None = None
        if options.val:
            self.val = self._read(options.val, objects, classes=self.train.classes)
        for side in (self.train, self.val):
            for remark in () if side is None else side.remarks:
                say(remark)
        self._warn_of_overlap(say)
        start: Start = read_start(options, tuple(self.train.classes), say)
        self.origin = start.origin
        self.text = self._read_text()
        self.config = TaskConfig(
            task=task, backbone=start.backbone, classes=self.train.classes, channels=start.channels,
            voxel=start.voxel, prompt=options.prompt, head=getattr(options, "head", "linear")
            if task == "semseg" else "linear",
            text_width=0 if self.text is None else next(iter(self.text.values())).shape[1],
            stuff=tuple(getattr(options, "stuff", ())), boxes=getattr(options, "boxes", "votes"),
            **({"groups": options.groups} if objects else {}),
        )  # fmt: skip
        if objects and len(self.train.classes) > 1:
            raise UserError(f"{task} learns from one data set, not from {', '.join(self.train.classes)}")

    @property
    def unused(self) -> bool:
        """Whether a step leaves weights out: norms and heads of the other data sets."""
        return len(self.config.backbone.datasets) > 1 or len(self.config.classes) > 1

    def build(self, say: Say) -> TaskModel:
        """The model to begin with; its weights depend on torch's seed.

        Raises:
            UserError: a model to start from that does not fit.
        """
        lovasz = getattr(self.options, "lovasz", 0.0)
        model = build_task_model(self.config, text=self.text, lovasz=lovasz)
        start_backbone(model, self.options.init, allow_partial=self.options.allow_partial, say=say)
        return model

    def learning(self, seed: int) -> Feed:
        """What is learned from."""
        options = self.options
        transforms = task_transforms(options.augment, self.config.voxel, options.crop)
        parts = [SceneDataset(part, transforms, seed=seed) for part in self.train.parts()]
        counts = [len(part) for part in parts]
        ratios = ratios_for(list(self.train.classes), read_ratios(getattr(options, "ratios", ())))
        batches = MixedBatches(
            counts, min(options.batch, max(counts)), seed, ratios, accumulate=options.trainer.accumulate
        )
        collate = Collate(self.config.channels, mix=getattr(options, "mix3d", 0.0))
        return Feed(MixedScenes(parts), batches, TrainCollate(collate))

    def judging(self) -> Feed | None:
        """What is validated on, each scene once; None: nothing."""
        if self.val is None:
            return None
        parts = self.val.parts()
        scenes = [scene for part in parts for scene in part]
        batches = OrderedMixed([len(part) for part in parts], 1)
        return Feed(ScoredScenes(scenes, self.config.voxel), batches, ScoredCollate(self.config.channels))

    def judge(self) -> Judge:
        """A judge that has seen nothing."""
        return new_judge(self.config)

    def score(self, outputs: Any, scored: ScoredBatch, judge: Judge) -> None:
        """Count the scenes of a batch."""
        judge_outputs(self.config, outputs, scored, judge)

    def told(self) -> str:
        """What is learned from, and in voxels of what size, in a line."""
        parts = []
        for (dataset, names), part in zip(self.train.classes.items(), self.train.parts(), strict=True):
            points = int(self.train.counts[dataset].sum())
            parts.append(f"{len(part):,} scenes of {dataset}, {points:,} points of {len(names)} classes")
        return "; ".join([*parts, f"voxels of {self.config.voxel:g} m, {self.origin}"])

    def settings(self) -> dict[str, Any]:
        """Plain values that a run that goes on must share."""
        backbone = self.config.backbone
        sizes = " ".join(
            map(str, (backbone.in_channels, backbone.stem, *backbone.channels, *backbone.blocks))
        )
        return {
            "augment": self.options.augment, "voxel": self.config.voxel, "backbone": sizes,
            "channels": " ".join(self.config.channels), "head": self.config.head,
        }  # fmt: skip

    def save(self, folder: Path, model: Any, facts: dict[str, Any], *, overwrite: bool) -> None:
        """Write the model's folder."""
        save_task(folder, model, self.config, facts, overwrite=overwrite)

    def _read(self, data: tuple[str, ...], objects: bool, **more: Any) -> LabelledScenes:
        return read_labelled(data, objects=objects, **self.options.reading(), **more)

    def _read_text(self) -> dict[str, Any] | None:
        source = getattr(self.options, "text", None)
        if source is None:
            return None
        return {
            dataset: read_class_text(names, source, reduce=self.options.clip_reduce)
            for dataset, names in self.train.classes.items()
        }

    def _warn_of_overlap(self, say: Say) -> None:
        if self.val is None:
            return
        own = {(scene.dataset, scene.name) for scene in self.train.scenes}
        shared = [scene.name for scene in self.val.scenes if (scene.dataset, scene.name) in own]
        if shared:
            say(
                f"warning: {len(shared)} scenes of the validation have the name of one to train on, such as "
                f"{shared[0]}: where they are the same, scores are too good"
            )
