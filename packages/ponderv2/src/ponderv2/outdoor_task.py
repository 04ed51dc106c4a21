"""Detection on streets: what it reads, builds, learns from and is judged by (ours)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.data.batching import RandomBatches
from nonet.errors import UserError
from ponderv2.boxes3d import Boxes3D
from ponderv2.driving_judge import DrivingJudge
from ponderv2.mixed_batches import OrderedMixed
from ponderv2.model_folders import load_backbone, read_model
from ponderv2.outdoor_batches import DETECTION, OutdoorBatch, OutdoorDataset, OutdoorItem, collate_outdoor
from ponderv2.outdoor_building import open_streets
from ponderv2.outdoor_config import OutdoorConfig, OutdoorDetectorConfig, read_config, sized
from ponderv2.outdoor_detection import OutdoorDetector, build_outdoor_detector
from ponderv2.outdoor_folders import OUTDOOR, save_outdoor
from ponderv2.outdoor_frames import OutdoorScene
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.room_tasks import Feed
from ponderv2.scenes import Scene, SceneList

Say = Callable[[str], None]


class ScoredStreets(NamedTuple):
    """Frames to score.

    Attributes:
        batch: as the model sees them.
        scenes: their items.
    """

    batch: OutdoorBatch
    scenes: tuple[OutdoorItem, ...]

    def to(self, device: Any) -> "ScoredStreets":
        """The batch on a device."""
        return self._replace(batch=self.batch.to(device))


class OutdoorDetTask:
    """Detection on streets; everything is read and checked before there is a run folder.

    Args:
        options: of `finetune det` with a modality.
        say: takes remarks.

    Raises:
        UserError: what cannot work.
    """

    def __init__(self, options: Any, say: Say) -> None:
        self.options = options
        self.model: OutdoorDetector | None = None
        self.unused = False
        if options.channels or options.voxel is not None:
            raise UserError(
                "channels and voxel are for rooms; streets have outdoor.voxel and take all channels"
            )
        self.train = labelled_streets(options.data, step=options.frame_step)
        self.val = labelled_streets(options.val) if options.val else None
        self.dataset, classes = only_classes(self.train)
        if self.val is not None and self.val.classes != self.train.classes:
            raise UserError(
                f"val is of {', '.join(self.val.classes)}; train and validate on the same classes"
            )
        for side in (self.train, self.val):
            for reason, number in () if side is None else side.skipped.items():
                say(f"left out: {number:,} frames for {reason}")
        self.config = OutdoorDetectorConfig(**start_parts(options, say), head=options.head, classes=classes)

    def build(self, say: Say) -> OutdoorDetector:
        """The model to begin with; its weights depend on torch's seed.

        Raises:
            UserError: a model to start from that does not fit.
        """
        model = self.model = build_outdoor_detector(self.config)
        if self.options.init is None:
            say("from scratch: the backbone has random weights")
        else:
            load_backbone(
                model.features.backbone,  # type: ignore[arg-type]
                self.options.init,
                allow_partial=self.options.allow_partial,
                say=say,
            )
        return model

    def learning(self, seed: int) -> Feed:
        """What is learned from."""
        transforms = () if self.options.augment == "none" else DETECTION
        dataset = self._dataset(self.train, seed, transforms)
        batches = RandomBatches(len(dataset), min(self.options.batch, len(dataset)), seed)
        return Feed(dataset, batches, _learned)

    def judging(self) -> Feed | None:
        """What is validated on, each frame once; None: nothing."""
        if self.val is None:
            return None
        return Feed(self._dataset(self.val, 0, ()), OrderedMixed([len(self.val)], 1), _scored)

    def judge(self) -> DrivingJudge:
        """A judge that has seen nothing."""
        return DrivingJudge({self.dataset: self.config.classes})

    def score(self, outputs: Any, scored: ScoredStreets, judge: Any) -> None:
        """Count the frames of a batch."""
        assert self.model is not None
        found = self.model.detect(outputs)
        for item, truth, boxes in zip(scored.scenes, scored.batch.true_boxes(), found, strict=True):
            judge.add(self.dataset, truth, item.judged(boxes))

    def told(self) -> str:
        """What is learned from, in a line."""
        boxes = sum(len(judged_boxes_of(scene) or ()) for scene in self.train)
        frames, classes = len(self.train), len(self.config.classes)
        return f"{frames:,} frames of {self.dataset}, {boxes:,} boxes of {classes} classes"

    def settings(self) -> dict[str, Any]:
        """Plain values that a run that goes on must share."""
        return {
            "augment": self.options.augment, "modality": self.config.modality, "head": self.config.head,
            "frame_step": self.options.frame_step,
        }  # fmt: skip

    def save(self, folder: Path, model: Any, facts: dict[str, Any], *, overwrite: bool) -> None:
        """Write the model's folder."""
        save_outdoor(folder, model, facts, overwrite=overwrite)

    def _dataset(self, scenes: SceneList, seed: int, transforms: Sequence[Any]) -> OutdoorDataset:
        return OutdoorDataset(
            scenes, self.config.outdoor, self.config.modality, seed=seed, rays=False, masks=False,
            transforms=transforms,
        )  # fmt: skip


def start_parts(options: Any, say: Say) -> dict[str, Any]:
    """The modality, backbone and sizes of the detector to build: those of the model to start from, if any.

    Args:
        options: `init`, `modality`, `outdoor`, `size`.
        say: takes a remark if the model's sizes take the place of given ones.

    Raises:
        UserError: no such model, or one of another modality or of rooms.
    """
    init = options.init
    if init is None or Path(init).is_file():
        return sized(options.modality, options.size, options.outdoor)
    found = read_model(init)
    if found.kind != OUTDOOR:
        raise UserError(f"{init}: a model of kind {found.kind}; start from one of `pretrain --modality`")
    config: OutdoorConfig = read_config(OutdoorConfig, found.config, f"{found.path}/config.json")
    if config.modality != options.modality:
        raise UserError(f"{init}: its backbone sees by {config.modality}, not by {options.modality}")
    if options.outdoor not in (OutdoorOptions(), config.outdoor):
        say(f"outdoor.* is that of {init}, and not what was given")
    return {"modality": config.modality, "backbone": config.backbone, "outdoor": config.outdoor}


def labelled_streets(sources: Sequence[str], *, step: int = 1) -> SceneList:
    """Frames that all have boxes.

    Args:
        sources: see `open_streets`.
        step: the first one and every so-many-th after it, of all frames one after the other. UniPAD's
            ablation learns from every second frame (cameras) or every fifth (LiDAR).

    Raises:
        UserError: data that cannot be read, or a frame without boxes.
    """
    scenes = open_streets(sources)[::step]
    bare = [scene.name for scene in scenes if true_boxes_of(scene) is None]
    if bare:
        raise UserError(
            f"{', '.join(sources)}: {len(bare)} of {len(scenes)} frames have no boxes, such as {bare[0]}: "
            "detection is learned and scored from boxes"
        )
    return scenes


def true_boxes_of(scene: Scene) -> Boxes3D | None:
    """The boxes of a frame as they were drawn; None where nobody drew any, or it is no street."""
    return scene.boxes() if isinstance(scene, OutdoorScene) else None


def judged_boxes_of(scene: Scene) -> Boxes3D | None:
    """Those of them that a detector learns from and is scored by."""
    return scene.judged_boxes() if isinstance(scene, OutdoorScene) else None


def only_classes(scenes: SceneList) -> tuple[str, tuple[str, ...]]:
    """The data set of the frames and its classes.

    Raises:
        UserError: there are several data sets.
    """
    if len(scenes.classes) != 1:
        raise UserError(f"detection learns from one data set, not from {', '.join(scenes.classes)}")
    return next(iter(scenes.classes.items()))


def _learned(items: Sequence[OutdoorItem]) -> dict[str, Any]:
    batch = collate_outdoor(items)
    return {"ids": list(batch.names), "batch": batch}


def _scored(items: Sequence[OutdoorItem]) -> dict[str, Any]:
    batch = collate_outdoor(items)
    return {"ids": list(batch.names), "batch": ScoredStreets(batch, tuple(items))}
