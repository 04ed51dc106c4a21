"""What a detector finds on streets: scored, written as files, drawn from above (ours)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nonet.data.batching import OrderedBatches, Pair, StepSampler, loader
from nonet.errors import UserError
from nonet.files import replacing, write_json
from nonet.progress import progress
from nonet.training.devices import pick_device
from ponderv2.boxes3d import Boxes3D
from ponderv2.driving_judge import DrivingJudge
from ponderv2.model_folders import ModelFolder
from ponderv2.outdoor_batches import OutdoorDataset, OutdoorItem, collate_outdoor
from ponderv2.outdoor_building import open_streets
from ponderv2.outdoor_detection import OutdoorDetector
from ponderv2.outdoor_folders import load_outdoor_detector
from ponderv2.outdoor_refusals import EVALUATION, PREDICTION, refuse_for_streets
from ponderv2.outdoor_task import judged_boxes_of, labelled_streets, only_classes, true_boxes_of
from ponderv2.prediction_cache import file_name
from ponderv2.scenes import SceneList
from ponderv2.street_pictures import draw_street
from ponderv2.task_scores import Judge


def evaluate_outdoor(folder: ModelFolder, options: Any) -> Judge:
    """What a detector reaches on labelled frames.

    Args:
        folder: of the detector.
        options: of `evaluate`: `data`, `device`, `workers`.

    Raises:
        UserError: data that cannot be read, or of other classes than the model's; an option for rooms.
    """
    refuse_for_streets(options, EVALUATION)
    model = load_outdoor_detector(folder.path)
    scenes = labelled_streets(options.data)
    dataset, classes = only_classes(scenes)
    if classes != model.config.classes:
        raise UserError(
            f"{folder.path}: finds {', '.join(model.config.classes)}; the classes of {dataset} are "
            f"{', '.join(classes)}"
        )
    judge = DrivingJudge({dataset: classes})
    every = detections(model, scenes, options.device, workers=options.workers)
    for scene, found in zip(scenes, every, strict=True):
        truth = judged_boxes_of(scene)
        assert truth is not None
        judge.add(dataset, truth, found)
    return judge


def predict_outdoor(folder: ModelFolder, options: Any, out: Path) -> int:
    """Write the boxes of frames as FRAME.json, and pictures from above as FRAME.png; prints how many.

    Args:
        folder: of the detector.
        options: of `predict`: `data`, `device`, `workers`, `score` (the least of a box), `pictures`.
        out: where to.

    Returns:
        How many frames were written.

    Raises:
        UserError: data that cannot be read, or an option that is for rooms.
    """
    refuse_for_streets(options, PREDICTION)
    if options.workers < 0:
        raise UserError(f"workers is {options.workers}; it is 0 or more")
    model = load_outdoor_detector(folder.path)
    scenes = open_streets(options.data)
    classes, outdoor = model.config.classes, model.config.outdoor
    every = detections(model, scenes, options.device, workers=options.workers)
    for scene, boxes in zip(scenes, every, strict=True):
        found = boxes[boxes.score > options.score]
        place = out / file_name(scene.name)
        write_json(place.with_name(f"{place.name}.json"), street_record(scene, found, classes))
        if options.pictures:
            truth = true_boxes_of(scene)
            picture = draw_street(scene.cloud().coord, found, classes, outdoor.low, outdoor.high, truth=truth)
            with replacing(place.with_name(f"{place.name}.png")) as path:
                picture.save(path, format="PNG")
    written = "FRAME.json, FRAME.png" if options.pictures else "FRAME.json"
    print(f"{len(scenes)} frames, each as {written}: {out}")
    return len(scenes)


def detections(
    model: OutdoorDetector, scenes: SceneList, device: str, *, workers: int = 0
) -> Iterator[Boxes3D]:
    """Yields the boxes of each frame, in the frame's own world, best first: those where boxes were drawn.

    Args:
        model: is put on the device, in evaluation mode.
        scenes: frames, with boxes or without.
        device: where to compute; `auto` for the first GPU.
        workers: processes that read; 0: this one.
    """
    where = pick_device(device)
    model.eval().to(where)
    config = model.config
    dataset = OutdoorDataset(scenes, config.outdoor, config.modality, seed=0, rays=False, masks=False)
    order = StepSampler(OrderedBatches(len(dataset), 1), steps=len(dataset))
    items = loader(_Told(dataset), order, _single, workers=workers)
    for item in progress(items, label="detecting", unit="frames"):
        if isinstance(item, UserError):
            raise item
        batch = collate_outdoor([item]).to(where)
        with torch.inference_mode():
            (found,) = model.detect(model(batch))
        yield item.judged(found)


class _Told:
    """Items, or why one cannot be read: a process that reads would wrap its error in many lines."""

    def __init__(self, dataset: OutdoorDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, pair: Pair) -> OutdoorItem | UserError:
        try:
            return self.dataset[pair]
        except UserError as error:
            return error


def _single(items: list[OutdoorItem | UserError]) -> OutdoorItem | UserError:
    return items[0]


def street_record(scene: Any, found: Boxes3D, classes: Sequence[str]) -> dict[str, Any]:
    """A frame's boxes as plain values: metres, radians and m/s in the frame of the LiDAR."""
    return {
        "frame": scene.name,
        "dataset": scene.dataset,
        "boxes": [
            {
                "class": classes[int(found.label[row])],
                "score": round(float(found.score[row]), 6),
                "center": found.center[row].round(4).tolist(),
                "size": found.size[row].round(4).tolist(),
                "yaw": round(float(found.yaw[row]), 5),
                "velocity": found.velocity[row].round(4).tolist(),
            }
            for row in range(len(found))
        ],
    }
