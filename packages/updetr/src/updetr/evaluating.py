"""Scores of a detector on labelled images: COCO's twelve numbers, and VOC's two (ours).

Every query's answer is scored: no threshold, and no suppression of neighbours.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nonet.data.batching import OrderedBatches, StepSampler, loader
from nonet.data.coco_boxes import write_coco_results
from nonet.data.labelled_boxes import LabelledImages
from nonet.errors import UserError
from nonet.files import write_json
from nonet.metrics.detection import NAMES, Backend, CocoScores, coco_scores, percent
from nonet.metrics.detection_voc import VocScores, voc_scores
from nonet.progress import progress
from nonet.report import Page
from nonet.training.devices import pick_device
from updetr.detections import Detections, from_outputs
from updetr.detector import Detector
from updetr.finetune_data import EvaluationImages, collate_readable, images_of
from updetr.labelled_data import nothing_left_out, read_labelled
from updetr.loading import load_model
from updetr.model_folders import read_source
from updetr.query_patches import PatchDetector

if TYPE_CHECKING:
    from updetr.commands.evaluate import Options


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a detector reached.

    Attributes:
        names: of the K classes.
        boxes: (K,) true boxes of each class.
        coco: COCO's numbers.
        voc: VOC's.
        detections: one entry for each image that could be read.
        unreadable: a line for each image that could not; its boxes count as not found.
        unread: true boxes of these, crowd regions left out.
    """

    names: tuple[str, ...]
    boxes: Sequence[int]
    coco: CocoScores
    voc: VocScores
    detections: list[Detections]
    unreadable: list[str]
    unread: int = 0

    def said(self) -> list[str]:
        """Lines on the images that could not be read; none where all could."""
        if not self.unreadable:
            return []
        return [
            *self.unreadable,
            f"{self.unread} boxes of {len(self.unreadable)} images that cannot be read count as not found",
        ]

    def scores(self) -> dict[str, float | None]:
        """The numbers times 100, by name: COCO's twelve, `VOC07` (11 points) and `VOC` (area); None: n/a."""
        eleven, area = self.voc.means()
        found = {**self.coco.values, "VOC07": eleven, "VOC": area}
        return {name: None if np.isnan(value) else round(100 * value, 4) for name, value in found.items()}

    def classes(self) -> list[dict[str, Any]]:
        """A row for each class: name, true boxes, AP, AP50, VOC07, VOC; times 100."""
        columns = (self.coco.class_ap, self.coco.class_ap50, self.voc.eleven, self.voc.area)
        titles = ("AP", "AP50", "VOC07", "VOC")
        return [
            {"class": name, "boxes": int(count)}
            | {title: percent(float(column[k])) for title, column in zip(titles, columns, strict=True)}
            for k, (name, count) in enumerate(zip(self.names, self.boxes, strict=True))
        ]

    def text(self) -> str:
        """The numbers as two tables for a terminal."""
        eleven, area = self.voc.means()
        lines = [f"{name:<8}{percent(self.coco.values[name]):>7}" for name in NAMES]
        lines += [f"{'VOC07':<8}{percent(eleven):>7}", f"{'VOC':<8}{percent(area):>7}", ""]
        wide = max(5, *(len(name) for name in self.names)) + 2
        lines.append(f"{'class':<{wide}}{'boxes':>7}{'AP':>7}{'AP50':>7}{'VOC07':>7}{'VOC':>7}")
        for row in self.classes():
            first, *rest = row.values()
            lines.append(f"{first:<{wide}}" + "".join(f"{value:>7}" for value in rest))
        return "\n".join(lines)


def evaluate(
    detector: Detector,
    labelled: LabelledImages,
    *,
    scale: int,
    longest: int,
    batch: int = 8,
    workers: int = 0,
    device: str = "cpu",
    backend: Backend = "auto",
) -> Evaluation:
    """Score a detector.

    Args:
        detector: its classes are those of the data, in the same order.
        labelled: the data; for the official rule read with `mend=False`.
        scale: shorter side of an image as the detector sees it, pixels.
        longest: longer side at most, pixels.
        batch: images a batch.
        workers: processes that read images; 0: this one.
        device: where to compute; the detector is put there, and stays.
        backend: what counts COCO's numbers.

    Raises:
        UserError: other classes, or no package that counts.
    """
    if detector.config.labels != labelled.names:
        raise UserError(
            f"the detector's classes are {', '.join(detector.config.labels)}, the data's "
            f"{', '.join(labelled.names)}"
        )
    found, unreadable = detect_all(
        detector, labelled, scale=scale, longest=longest, batch=batch, workers=workers, device=device
    )
    classes = len(labelled.names)
    read = {entry.image_id for entry in found}
    return Evaluation(
        labelled.names,
        labelled.boxes_a_class().tolist(),
        coco_scores(labelled.images, found, classes, backend=backend),  # type: ignore[arg-type]
        voc_scores(labelled.images, found, classes),  # type: ignore[arg-type]
        found,
        unreadable,
        sum(int((~image.crowd).sum()) for image in labelled.images if image.id not in read),
    )


@torch.inference_mode()
def detect_all(
    detector: Detector,
    labelled: LabelledImages,
    *,
    scale: int,
    longest: int,
    batch: int = 8,
    workers: int = 0,
    device: str = "cpu",
) -> tuple[list[Detections], list[str]]:
    """The detections of each image, and a line for each that could not be read; see `evaluate`."""
    data = EvaluationImages(labelled, scale=scale, longest=longest)
    batches = OrderedBatches(len(data), batch)
    batches_read = loader(
        data, StepSampler(batches, steps=batches.steps(0)), collate_readable, workers=workers
    )
    detector.eval().to(device)
    found: list[Detections] = []
    unreadable: list[str] = []
    for read in progress(batches_read, label="evaluating", unit="batches"):
        unreadable += [f"{note.file}: {note.text}" for note in read["notes"]]
        if "pixels" not in read:
            continue
        moved = read | {"pixels": read["pixels"].to(device), "mask": read["mask"].to(device)}
        outputs = detector(images_of(moved))
        found += from_outputs(outputs, read["sizes"], ids=read["ids"], sigmoid=detector.sigmoid)
    return found, unreadable


def evaluate_model(options: "Options") -> Evaluation:
    """Score a model folder; prints the numbers, and writes them where the options name a folder.

    Args:
        options: of the verb `evaluate`.

    Raises:
        UserError: no such model or data, images that the labels name and that are not there, classes that the
            model lacks, or a pre-trained model.
    """
    source = read_source(options.model)
    if options.out is not None and options.out.is_dir() and any(options.out.iterdir()):
        raise UserError(f"{options.out}: exists already and is not empty; name another folder")
    detector = load_model(options.model)
    if isinstance(detector, PatchDetector):
        raise UserError(
            f"{options.model}: is pre-trained without labels and knows no class: fine-tune it, or use locate"
        )
    labelled = read_labelled(
        options.data, names=source.config.labels, voc_offset=options.voc_offset, mend=False
    )
    nothing_left_out(labelled, options.data)
    short, longest = source.sizes
    done = evaluate(
        detector, labelled, scale=options.scale or short, longest=options.longest or longest,
        batch=options.batch, workers=options.workers, device=pick_device(options.device),
        backend=options.backend,
    )  # fmt: skip
    for line in [*labelled.said(), *done.said()]:
        print(line)
    print(done.text())
    if options.out is not None:
        write_evaluation(options.out, done, labelled, f"{options.model} on {options.data}")
    return done


def write_evaluation(folder: Path, done: Evaluation, labelled: LabelledImages, title: str) -> None:
    """Write scores.json, detections.json in COCO's format, and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_coco_results(done.detections, labelled.category_ids, folder / "detections.json")
    record = {"what": title, "images": len(labelled), "scores": done.scores(), "classes": done.classes()}
    write_json(folder / "scores.json", record | {"unreadable": done.unreadable, "boxes unread": done.unread})
    page = Page("updetr evaluate", title)
    add_scores(page, done)
    page.save(folder / "report.html")


def add_scores(page: Page, done: Evaluation) -> None:
    """Tables of the numbers, on a page."""
    shown = {name: "n/a" if value is None else f"{value:.1f}" for name, value in done.scores().items()}
    page.table(
        [{"number": name, "x 100": value} for name, value in shown.items()], "COCO's and VOC's numbers"
    )
    page.table(done.classes(), "By class, x 100")
