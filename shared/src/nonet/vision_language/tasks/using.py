"""Evaluation and prediction with a model on a task, as the verbs of a package do it (ours)."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.files import write_json, write_text
from nonet.training.devices import pick_device
from nonet.vision_language.pair_folders import pair_folder
from nonet.vision_language.tasks.retrieval_task import RetrievalTask
from nonet.vision_language.tasks.starting import Equip, load_task
from nonet.vision_language.tasks.task import Evaluation, Task, reading_of, said
from nonet.vision_language.tasks.task_options import EvaluateOptions, PredictOptions
from nonet.vision_language.training_stages import read_stages

Say = Callable[[str], None]


def evaluate_task(options: EvaluateOptions, say: Say) -> dict[str, float]:
    """Scores of a model, and `scores.json` and `predictions.jsonl` where a folder is named.

    Args:
        options: of the verb.
        say: takes lines on the weights.

    Returns:
        Percent by name, and `seconds` and `examples per second`; `scores.json` has what the model's training
        took, too: no number without its cost.

    Raises:
        UserError: no such model or data, an image that cannot be read, or a folder that is not empty.
    """
    task, examples = open_evaluation(options, say)
    found = measured(task, examples, options)
    if options.out is not None:
        write_evaluation(options, task, examples, {"scores": found.scores}, {"predictions": found})
    return found.scores


def open_evaluation(options: EvaluateOptions, say: Say, equip: Equip | None = None) -> tuple[Task, Any]:
    """A task to measure, on its device, and its examples.

    Args:
        options: of the verb.
        say: takes lines on the weights and the data.
        equip: adds what a package has of its own.

    Raises:
        UserError: no such model or data, or a folder for results that is not empty.
    """
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        raise UserError(f"{options.out}: exists already and is not empty; name another folder")
    task = load_task(options, say, equip)
    examples = task.read(options.data, options.images, options.split, truth=True)
    for line in said(examples):
        say(line)
    return task.to(pick_device(options.device)), examples


def measured(task: Task, examples: Any, options: EvaluateOptions) -> Evaluation:
    """Answers and scores, with `seconds` and `examples per second` among the scores.

    Args:
        task: on its device.
        examples: that it answers.
        options: batch and workers.

    Raises:
        UserError: an image cannot be read.
    """
    found, seconds = _answer(task, examples, options, truth=True)
    spent = {"seconds": seconds, "examples per second": len(examples) / max(seconds, 1e-9)}
    return Evaluation(found.scores | spent, found.lines)


def write_evaluation(
    options: EvaluateOptions, task: Task, examples: Any, scores: Mapping[str, Any],
    answers: Mapping[str, Evaluation],
) -> None:  # fmt: skip
    """Write `scores.json`, and a file of answers by name, into the folder that the options name.

    What the model's training took stands beside the scores.

    Args:
        options: of the verb, with `out`.
        task: that was measured.
        examples: that it answered.
        scores: what stands in `scores.json` beside model, data and settings.
        answers: by the name of their file, without `.jsonl`.
    """
    assert options.out is not None
    options.out.mkdir(parents=True, exist_ok=True)
    for name, found in answers.items():
        _write_lines(options.out / f"{name}.jsonl", found)
    record: dict[str, Any] = {"task": options.task, "model": options.model, "data": list(options.data)}
    record |= {"examples": len(examples), **scores, "settings": _settings(task, options)}
    record |= {"training": read_stages(pair_folder(options.model), options.model)}
    write_json(options.out / "scores.json", record)


def predict_task(options: PredictOptions, say: Say, equip: Equip | None = None) -> int:
    """Write what a model says, one JSON object a line.

    Args:
        options: of the verb.
        say: takes lines on the weights.
        equip: adds what a package has of its own.

    Returns:
        Lines written.

    Raises:
        UserError: no such model or data, an image that cannot be read, or a file that exists.
    """
    if options.out.exists():
        raise UserError(f"{options.out}: exists already; name another file")
    task = load_task(options, say, equip)
    task.to(pick_device(options.device))
    if options.task == "caption":
        from nonet.vision_language.tasks.plain_images import read_plain_images

        examples: Any = read_plain_images(options.input, options.images, options.split)
    else:
        examples = task.read(options.input, options.images, options.split, truth=False)
    found, _ = _answer(task, examples, options, truth=False)
    _write_lines(options.out, found)
    return len(found.lines)


def _answer(
    task: Task, examples: Any, options: EvaluateOptions | PredictOptions, *, truth: bool
) -> tuple[Evaluation, float]:
    start = time.perf_counter()
    reading = reading_of(task.model.config)
    found = task.evaluate(examples, reading, batch=options.batch, workers=options.workers, truth=truth)
    return found, round(time.perf_counter() - start, 3)


def _settings(task: Task, options: EvaluateOptions) -> dict[str, Any]:
    config = task.model.config
    settings = dataclasses.asdict(task.settings) | {"image": list(config.image_size), "patch": config.patch}
    return settings | ({"rerank": task.rerank} if isinstance(task, RetrievalTask) else {})


def _write_lines(path: Path, found: Evaluation) -> None:
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found.lines))
