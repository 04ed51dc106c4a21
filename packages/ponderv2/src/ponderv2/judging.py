"""From what a model says of voxels to what is scored: classes, objects and boxes of points (ours)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.instance_segmentation import FoundInstance
from ponderv2.object_boxes import ObjectBoxes, extent, gathered_boxes, true_boxes
from ponderv2.point_group import FoundObject, find_objects
from ponderv2.scored_scenes import ScoredBatch, ScoredScene
from ponderv2.task_config import TaskConfig
from ponderv2.task_scores import POINTS, VOXELS, BoxJudge, InstanceJudge, Judge, SemanticJudge


def new_judge(config: TaskConfig, rule: str | None = None) -> Judge:
    """A judge that has seen nothing yet.

    Args:
        config: of the model; its classes are counted.
        rule: how labels of points are found; the usual one of the task by default.
    """
    if config.task == "semseg":
        return SemanticJudge(config.classes, rule or VOXELS)
    ignored = {dataset: config.ignored(dataset) for dataset in config.classes}
    if config.task == "insseg":
        return InstanceJudge(config.classes, ignored, rule or POINTS)
    return BoxJudge(config.classes, ignored, rule or POINTS)


def judge_outputs(config: TaskConfig, outputs: Any, scored: ScoredBatch, judge: Any) -> None:
    """Count the scenes of a batch.

    Args:
        config: of the model.
        outputs: what the model said of the batch's voxels.
        scored: the batch, and the truth of its scenes.
        judge: of `new_judge`; counts.

    Raises:
        UserError: a scene has no labels.
    """
    dataset = own_name(config, scored.batch.dataset)
    if config.task == "semseg":
        if scored.batch.semantic is None:
            raise UserError(f"{', '.join(scored.batch.names)}: no labels to compare with")
        found, true = outputs.argmax(1).cpu().numpy(), scored.batch.semantic.cpu().numpy()
        starts = scored.starts()
        for name, begin, end in zip(scored.batch.names, starts, starts[1:], strict=False):
            judge.add(dataset, found[begin:end], true[begin:end], name)
        return
    for scene, objects in zip(scored.scenes, objects_of(config, outputs, scored), strict=True):
        cloud = scene.cloud
        if cloud.semantic is None or cloud.instance is None:
            raise UserError(f"scene {scene.item.sample.name}: no labels of objects to compare with")
        if config.task == "insseg":
            judge.add(dataset, cloud.semantic, cloud.instance, found_instances(scene, objects))
        else:
            true_ones = true_boxes(cloud, config.ignored(dataset))
            judge.add(dataset, true_ones.boxes, true_ones.labels, *found_boxes(scene, objects))


def own_name(config: TaskConfig, dataset: str) -> str:
    """The data set's name as the model knows it: its only one, whatever the batch's is called."""
    return next(iter(config.classes)) if len(config.classes) == 1 else dataset


def objects_of(config: TaskConfig, outputs: Any, scored: ScoredBatch) -> list[list[FoundObject]]:
    """The objects of each scene of a batch, best first."""
    return find_objects(
        outputs, scored.batch, voxel=config.voxel, groups=config.groups,
        ignored=config.ignored(scored.batch.dataset),
    )  # fmt: skip


def points_of(scene: ScoredScene, object_: FoundObject) -> NDArray[np.int64]:
    """The numbers of the points in an object's voxels, ascending."""
    within = np.zeros(len(scene.item.sample.cloud), bool)
    within[object_.voxels] = True
    return np.flatnonzero(within[scene.rows])


def found_instances(scene: ScoredScene, objects: list[FoundObject]) -> list[FoundInstance]:
    """Objects of voxels as objects of points."""
    return [FoundInstance(points_of(scene, each), each.label, each.score) for each in objects]


def found_boxes(scene: ScoredScene, objects: list[FoundObject]) -> ObjectBoxes:
    """The boxes around the points of objects, where these are and not where they were shifted to."""
    boxes = [extent(scene.cloud.coord[points_of(scene, each)]) for each in objects]
    return gathered_boxes(boxes, [each.label for each in objects], [each.score for each in objects])
