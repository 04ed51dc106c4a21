"""Scores of a fine-tuned model on labelled scenes, and sums of folds (ours)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nonet.errors import UserError
from nonet.files import write_json
from nonet.progress import progress
from nonet.report import Page
from nonet.training.devices import pick_device
from nonet.training.weight_files import read_object
from ponderv2.finetuning import SCORES, add_scores
from ponderv2.judging import judge_outputs, new_judge, own_name
from ponderv2.labelled_scenes import LabelledScenes, read_labelled
from ponderv2.mixed_batches import OrderedMixed
from ponderv2.model_folders import read_model
from ponderv2.prediction_cache import PredictionCache
from ponderv2.scored_scenes import ScoredBatch, ScoredCollate, ScoredScenes
from ponderv2.segmentor import Segmentor
from ponderv2.start_model import check_prompt
from ponderv2.task_models import LoadedTask, load_task
from ponderv2.task_scores import POINTS, VOTES, VOXELS, Judge, SemanticJudge
from ponderv2.vote_protocol import Count, variants, vote

if TYPE_CHECKING:
    from ponderv2.commands.evaluate import Options

OUTDOOR = "outdoor-det"
"""kind of the model folders of detection on streets"""


def evaluate_model(options: "Options") -> Judge:
    """Score a model folder; prints the numbers, and writes them where the options name a folder.

    Raises:
        UserError: no such model or data, other classes, or a folder that is not empty.
    """
    assert options.model is not None
    refuse_full(options.out)
    found = read_model(options.model)
    scenes: list[str] = []
    voxels = ""
    if found.kind == OUTDOOR:
        from ponderv2.street_detections import evaluate_outdoor

        judge: Judge = evaluate_outdoor(found, options)
    else:
        if options.workers:
            raise UserError("workers read frames of streets; rooms are read in this process: leave it out")
        task = load_task(options.model)
        if options.tta and task.config.task != "semseg":
            raise UserError(f"tta votes classes of points, and {options.model} is for {task.config.task}")
        objects = task.config.task != "semseg"
        data = read_labelled(options.data, classes=task.config.classes, objects=objects, **options.reading())
        check_prompt(task.config.backbone, tuple(data.classes), task.config.prompt, options.model)
        for remark in data.remarks:
            print(remark)
        scenes = [f"{scene.dataset}/{scene.name}" for scene in data.scenes]
        judge = _judge(options, task, data)
        joint = " " if judge.rule == VOXELS else ", by voxels "
        voxels = f"{joint}of {task.config.voxel:g} m, from {options.model}"
    print(f"{len(scenes) or 'all'} scenes, scored on {judge.rule}{voxels}\n{judge.text()}")
    if options.out is not None:
        record = {"model": options.model, "data": list(options.data), "scenes": scenes} | judge.record()
        write_scores(options.out, record, judge, f"{options.model} on {', '.join(options.data)}")
    return judge


def _judge(options: "Options", task: LoadedTask, data: LabelledScenes) -> Judge:
    device = pick_device(options.device)
    task.model.to(device)
    if options.tta:
        return vote_scenes(
            task, data, over=options.variants, cache=options.cache, batch=options.batch, device=device
        )
    return score_scenes(task, data, rule=options.rule, batch=options.batch, device=device)


@torch.inference_mode()
def score_scenes(
    task: LoadedTask, data: LabelledScenes, *, rule: str = "voxels", batch: int = 1, device: str = "cpu"
) -> Judge:
    """Score on voxels, or on all points by their voxels; each scene once.

    Args:
        task: its model is on the device.
        data: labelled scenes.
        rule: of segmentation: voxels or points.
        batch: scenes computed together.
        device: where.
    """
    semantic = task.config.task == "semseg"
    judge: Any = new_judge(task.config, rule if semantic else None)
    parts = data.parts()
    scenes = ScoredScenes([scene for part in parts for scene in part], task.config.voxel)
    collate = ScoredCollate(task.config.channels)
    batches = OrderedMixed([len(part) for part in parts], batch).epoch(0)
    for numbers in progress(batches, label="scoring", unit="batches"):
        scored: ScoredBatch = collate([scenes[(0, int(number))] for number in numbers])["batch"].to(device)
        outputs = task.model(scored.batch)
        if semantic and rule == POINTS:
            _judge_points(outputs, scored, judge, own_name(task.config, scored.batch.dataset))
        else:
            judge_outputs(task.config, outputs, scored, judge)
    return judge  # type: ignore[no-any-return]


def _judge_points(outputs: Any, scored: ScoredBatch, judge: SemanticJudge, dataset: str) -> None:
    found = outputs.argmax(1).cpu().numpy()
    for scene, start in zip(scored.scenes, scored.starts(), strict=False):
        truth: Any = scene.cloud.semantic
        judge.add(dataset, found[start + scene.rows], truth, scene.item.sample.name)


def vote_scenes(
    task: LoadedTask, data: LabelledScenes, *, over: Count = "thirteen", cache: Path | None = None,
    batch: int = 1, device: str = "cpu",
) -> SemanticJudge:  # fmt: skip
    """Score every point by votes; see `vote_protocol`.

    Args:
        task: a segmentation, whose model is on the device.
        data: labelled scenes.
        over: which variants vote.
        cache: folder of labels that were voted before.
        batch: fragments computed together.
        device: where.
    """
    assert isinstance(task.model, Segmentor)
    judge = SemanticJudge(task.config.classes, VOTES)
    kept = PredictionCache(cache, f"{task.key} {over}")
    for scene in progress(data.scenes, label="voting", unit="scenes"):
        labels = kept.read(scene)
        if labels is None:
            result = vote(task.model, task.config, scene, over=variants(over), batch=batch, device=device)
            labels = np.asarray(result.labels(), np.int64)
            kept.write(scene, labels)
        truth: Any = scene.cloud().semantic
        judge.add(own_name(task.config, scene.dataset), labels, truth, scene.name)
    if kept.used or kept.stale:
        print(f"{cache}: labels of {kept.used} scenes were there, those of {kept.stale} were made by another "
              "model or variants and are made anew")  # fmt: skip
    return judge


def add_folds(options: "Options") -> SemanticJudge:
    """Add the counts of several scores.json and print what they come to: 6-fold S3DIS.

    Raises:
        UserError: a file is not that of a segmentation, the rules or classes differ, or a scene is in two.
    """
    refuse_full(options.out)
    total: SemanticJudge | None = None
    seen: dict[str, Path] = {}
    for path in options.sum:
        record = read_object(path / SCORES if path.is_dir() else path)
        judge = SemanticJudge.of_record(record, str(path))
        for scene in record.get("scenes", []):
            if scene in seen:
                raise UserError(f"{path}: counts scene {scene}, which {seen[scene]} counts, too")
            seen[scene] = path
        if total is not None and (judge.rule != total.rule or judge.classes != total.classes):
            raise UserError(
                f"{path}: scored on {judge.rule} with {sum(map(len, judge.classes.values()))} classes, and "
                f"{options.sum[0]} on {total.rule} with {sum(map(len, total.classes.values()))}: folds are "
                "scored alike"
            )
        total = judge if total is None else total + judge
    assert total is not None
    print(f"{len(options.sum)} folds, scored on {total.rule}\n{total.text()}")
    if options.out is not None:
        record = {"folds": [str(path) for path in options.sum], "scenes": sorted(seen)} | total.record()
        write_scores(options.out, record, total, f"sum of {len(options.sum)} folds")
    return total


def write_scores(folder: Path, record: dict[str, Any], judge: Judge, title: str) -> None:
    """Write scores.json and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SCORES, record)
    page = Page("ponderv2 evaluate", title)
    page.text(f"Scored on {judge.rule}. Scores by another rule are another measure.")
    add_scores(page, judge)
    page.save(folder / "report.html")


def refuse_full(folder: Path | None) -> None:
    """Refuse a folder to write to that has something in it.

    Raises:
        UserError: it has.
    """
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already and is not empty; name another folder")
