"""Predictions of scenes in files: coloured clouds, arrays, label files, boxes, pictures (ours)."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nonet.errors import RunFailed, UserError
from nonet.files import replacing, write_json, write_text
from nonet.progress import progress
from nonet.training.devices import pick_device
from ponderv2.evaluating import OUTDOOR, refuse_full
from ponderv2.judging import found_boxes, objects_of, points_of
from ponderv2.label_pictures import from_above, label_colors, palette, side_by_side
from ponderv2.model_folders import read_model
from ponderv2.point_files import write_ply_cloud
from ponderv2.prediction_cache import file_name
from ponderv2.reading import open_scenes
from ponderv2.scannet_classes import CLASSES_20, NYU40_20
from ponderv2.scenes import PointCloud, Scene
from ponderv2.scored_scenes import ScoredCollate, ScoredScene, scored_scene, upright
from ponderv2.segmentor import probabilities
from ponderv2.start_model import check_prompt
from ponderv2.task_models import LoadedTask, load_task
from ponderv2.vote_protocol import variants, vote

if TYPE_CHECKING:
    from ponderv2.commands.predict import Options

ENDINGS = {"benchmark": "txt"}
"""of formats whose files do not end in their names"""

# Shapes: N points of a scene's cloud, n objects.


def predict(options: "Options") -> int:
    """Write what a model says of scenes; prints how many and where.

    Returns:
        How many scenes were written.

    Raises:
        UserError: no such model or data, or a folder that is not empty.
        RunFailed: no scene could be read.
    """
    refuse_full(options.out)
    found = read_model(options.model)
    if found.kind == OUTDOOR:
        from ponderv2.street_detections import predict_outdoor

        return int(predict_outdoor(found, options, options.out))
    if options.workers:
        raise UserError("workers read frames of streets; rooms are read in this process: leave it out")
    task = load_task(options.model)
    if task.config.task == "det" and options.write != _usual(options, "write"):
        raise UserError(
            f"write is {', '.join(options.write)}; boxes of rooms are written as SCENE.json: leave it out"
        )
    if task.config.task != "semseg" and options.tta:
        raise UserError(f"tta votes classes of points, and {options.model} is for {task.config.task}")
    if "benchmark" in options.write:
        _benchmark_numbers(task)
    scenes = open_scenes(options.data, **options.reading())
    check_prompt(task.config.backbone, scenes.datasets, task.config.prompt, options.model)
    for dataset in scenes.datasets:
        task.config.names(dataset)  # refuses one that a model of several does not know
    _refuse_doubles(scenes)
    device = pick_device(options.device)
    task.model.to(device)
    unreadable: list[str] = []
    for scene in progress(scenes, label="predicting", unit="scenes"):
        try:
            _predict_scene(options, task, scene, device)
        except UserError as error:
            unreadable.append(str(error))
    for line in unreadable:
        print(f"left out: {line}")
    if len(unreadable) == len(scenes):
        raise RunFailed(f"none of {len(scenes)} scenes could be predicted; the first: {unreadable[0]}")
    written = ["json"] if task.config.task == "det" else [ENDINGS.get(each, each) for each in options.write]
    files = ", ".join(f"SCENE.{each}" for each in dict.fromkeys([*written, *["png"] * options.pictures]))
    print(f"{len(scenes) - len(unreadable)} scenes, each as {files}: {options.out}")
    return len(scenes) - len(unreadable)


def _usual(options: "Options", name: str) -> Any:
    """What an option is where it is not given."""
    return next(field.default for field in fields(options) if field.name == name)


def _refuse_doubles(scenes: Iterable[Scene]) -> None:
    """Refuse scenes whose files would have one name.

    Raises:
        UserError: two have; both are named.
    """
    taken: dict[str, Scene] = {}
    for scene in scenes:
        other = taken.setdefault(file_name(scene.name), scene)
        if other is not scene:
            raise UserError(
                f"{other.dataset} {other.name} and {scene.dataset} {scene.name} would both be written as "
                f"{file_name(scene.name)}: predict them into two folders"
            )


@torch.inference_mode()
def _predict_scene(options: "Options", task: LoadedTask, scene: Scene, device: str) -> None:
    names = task.config.names(scene.dataset)
    place = options.out / file_name(scene.name)
    if task.config.task == "semseg":
        if options.tta:
            over = variants(options.variants)
            result = vote(task.model, task.config, scene, over=over, device=device)  # type: ignore[arg-type]
            shares = result.probabilities / result.probabilities.sum(1, keepdim=True)
        else:
            scored = scored_scene(scene, task.config.voxel)
            batch = ScoredCollate(task.config.channels)([scored])["batch"].to(device)
            shares = probabilities(task.model(batch.batch))[torch.from_numpy(scored.rows)]
        write_classes(place, scene, shares.numpy(), names, options.write, _numbers_of(options, task))
        if options.pictures:
            labels = shares.argmax(1).numpy()
            shown = {names[label]: palette(len(names))[label] for label in np.unique(labels)}
            _draw(place, scene, label_colors(labels, len(names)), "classes", shown)
        return
    scored = scored_scene(scene, task.config.voxel)
    batch = ScoredCollate(task.config.channels)([scored])["batch"].to(device)
    objects = objects_of(task.config, task.model(batch.batch), batch)[0]
    objects = [each for each in objects if each.score > options.score]
    members = [points_of(scored, each) for each in objects]
    labels = [each.label for each in objects]
    scores = [each.score for each in objects]
    boxes = found_boxes(scored, objects).boxes
    if task.config.task == "insseg":
        write_objects(place, scene, members, labels, scores, names, options.write, _numbers_of(options, task))
    else:
        write_boxes(place, boxes, labels, scores, names, scored)
    if options.pictures:
        colors = label_colors(object_numbers(len(scored.cloud), members), max(len(objects), 1))
        marks = boxes if task.config.task == "det" else None
        legend = {
            f"{names[each.label]} {each.score:.2f}": color
            for each, color in zip(objects, palette(len(objects)), strict=True)
        }
        _draw(place, scene, colors, "objects", legend, boxes=marks, cloud=scored.cloud)


def object_numbers(count: int, members: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(N,) the number of the surest object that each point belongs to, -1 for none.

    Args:
        count: N.
        members: the points of each object, the surest first.
    """
    numbers = np.full(count, -1)
    for number in reversed(range(len(members))):
        numbers[members[number]] = number
    return numbers


def write_classes(
    place: Path, scene: Scene, shares: NDArray[np.float32], names: tuple[str, ...],
    formats: Iterable[str], numbers: NDArray[np.int64] | None,
) -> None:  # fmt: skip
    """Write the classes of a scene's points.

    Args:
        place: folder and name without an ending.
        scene: whose cloud is coloured.
        shares: (N, K) probabilities.
        names: of the K classes.
        formats: see the verb's `write`.
        numbers: the benchmark's number of each class.
    """
    labels = shares.argmax(1).astype(np.int64)
    for each in formats:
        if each == "ply":
            colors = label_colors(labels, len(names)).astype(np.float32)
            write_ply_cloud(
                _new(place, ".ply"), replace(scene.cloud(), color=colors, semantic=labels, instance=None)
            )
        elif each == "npz":
            _write_npz(_new(place, ".npz"), semantic=labels, probability=shares.max(1), names=np.array(names))
        elif each == "label":
            with replacing(_new(place, ".label")) as part:
                labels.astype("<u4").tofile(part)
        else:
            shown = labels if numbers is None or each != "benchmark" else numbers[labels]
            write_text(_new(place, ".txt"), "".join(f"{label}\n" for label in shown))


def write_objects(
    place: Path, scene: Scene, members: list[NDArray[np.int64]], labels: list[int], scores: list[float],
    names: tuple[str, ...], formats: Iterable[str], numbers: NDArray[np.int64] | None,
) -> None:  # fmt: skip
    """Write the objects of a scene: as for `write_classes`, with an object's points, class and score.

    ScanNet's files are SCENE.txt, a line for each object, and the masks that it names in predicted_masks.
    """
    cloud = scene.cloud()
    found = object_numbers(len(cloud), members)
    kinds = np.where(found >= 0, np.array([*labels, -1])[found], -1)
    for each in formats:
        if each == "ply":
            colors = label_colors(found, max(len(members), 1)).astype(np.float32)
            write_ply_cloud(_new(place, ".ply"), replace(cloud, color=colors, semantic=kinds, instance=found))
        elif each == "npz":
            _write_npz(
                _new(place, ".npz"), instance=found, semantic=kinds, label=np.array(labels, np.int64),
                score=np.array(scores, np.float64), names=np.array(names),
            )  # fmt: skip
        elif each == "label":
            with replacing(_new(place, ".label")) as part:
                ((found + 1 << 16) | np.maximum(kinds, 0)).astype("<u4").tofile(part)
        else:
            lines = []
            for number, (points, label, score) in enumerate(zip(members, labels, scores, strict=True)):
                mask = np.zeros(len(cloud), np.int64)
                mask[points] = 1
                name = f"predicted_masks/{place.name}_{number:03d}.txt"
                write_text(place.parent / name, "".join(f"{bit}\n" for bit in mask))
                shown = label if numbers is None or each != "benchmark" else numbers[label]
                lines.append(f"{name} {shown} {score:.6f}\n")
            write_text(_new(place, ".txt"), "".join(lines))


def write_boxes(
    place: Path, boxes: NDArray[np.float64], labels: list[int], scores: list[float], names: tuple[str, ...],
    scored: ScoredScene,
) -> None:  # fmt: skip
    """Write boxes as SCENE.json.

    Args:
        place: folder and name without an ending.
        boxes: (n, 6) centres and sizes, in the world of `scored.cloud`.
        labels: their classes.
        scores: their scores.
        names: of the classes.
        scored: knows the way back to the scene's own world, along whose axes a box need not lie.
    """
    rows = [
        {
            "class": names[label],
            "score": round(score, 6),
            "center": box[:3].tolist(),
            "size": box[3:].tolist(),
        }
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]
    to_scene = np.linalg.inv(scored.world).tolist()
    write_json(_new(place, ".json"), {"unit": "metre", "to_scene": to_scene, "boxes": rows})


def _draw(
    place: Path, scene: Scene, colors: NDArray[np.uint8], title: str, legend: dict[str, Any], *,
    boxes: NDArray[np.float64] | None = None, cloud: PointCloud | None = None,
) -> None:  # fmt: skip
    """Write SCENE.png: the scene in its own colours, and in those of what was found."""
    own = upright(scene).cloud if cloud is None else cloud
    plain = np.full((len(own), 3), 150, np.uint8) if own.color is None else own.color.astype(np.uint8)
    marks = None if boxes is None else palette(len(boxes))
    images = [
        from_above(own.coord, plain, boxes=boxes, box_colors=marks),
        from_above(own.coord, colors, boxes=boxes, box_colors=marks),
    ]
    sheet = side_by_side(images, [scene.name, title], legend)
    with replacing(_new(place, ".png")) as part:
        sheet.save(part, format="PNG")


def _numbers_of(options: "Options", task: LoadedTask) -> NDArray[np.int64] | None:
    return _benchmark_numbers(task) if "benchmark" in options.write else None


def _benchmark_numbers(task: LoadedTask) -> NDArray[np.int64]:
    """The number of each class in ScanNet's benchmark.

    Raises:
        UserError: the model's classes are not ScanNet's 20.
    """
    if tuple(CLASSES_20) not in task.config.classes.values():
        raise UserError("write benchmark: the model's classes are not ScanNet's 20: write txt instead")
    return np.array(NYU40_20, np.int64)


def _new(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _write_npz(path: Path, **arrays: Any) -> None:
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
