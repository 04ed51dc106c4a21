"""The parts of `cap-prune demo`: an encoder that knows words, a teacher, a student pruned in steps (ours).

The encoder first learns the kinds and words of the made-up task, which stands for pre-training. A teacher is
fine-tuned from it, and a student is pruned from the same encoder while it learns from the teacher. What
pruning without training does is shown beside it: the same share of the teacher's units cut at once.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cap_prune import toy

DENSE, CUT, PRUNED = "dense teacher", "cut at once, not trained", "pruned while trained"
"""names of the models"""


class Plan(NamedTuple):
    """How large and long everything is."""

    train: int = 1600
    """sentences to learn from"""
    dev: int = 400
    """sentences to score on"""
    layers: int = 3
    width: int = 64
    heads: int = 8
    neurons: int = 256
    targets: tuple[float, ...] = (50.0, 75.0, 90.0)
    """percent of heads and neurons that are gone after each step"""
    pretrain_steps: int = 160
    teacher_steps: int = 200
    student_steps: int = 100
    """of each target"""
    batch: int = 32
    """texts at a time, in training and for latency"""
    length: int = 64
    """pieces of a text for latency and multiplications"""


class Made(NamedTuple):
    """The folders of the models."""

    pretrained: Path
    teacher: Path
    levels: dict[float, Path]
    """by percent"""


def make(
    plan: Plan,
    folder: Path,
    *,
    teach: Callable[[dict[str, Any]], Any],
    prune: Callable[[dict[str, Any]], Any],
    seed: int,
    done: Callable[[], Any] = lambda: None,
) -> Made:
    """Train everything in a folder that is not there yet.

    Args:
        plan: sizes and lengths.
        folder: where.
        teach: fine-tunes a model; takes the options of the verb `teacher` by name.
        prune: prunes one; takes those of the verb `prune`.
        seed: of sentences, weights and training.
        done: called after each of four parts.
    """
    from cap_prune.levels import step_name
    from cap_prune.train_options import LossOptions
    from nonet.training.options import OptimizerOptions

    def settings(steps: int, data: Path, model: Path, out: Path) -> dict[str, Any]:
        return {
            "model": str(model), "task": "classify", "data": data, "max_length": toy.LENGTH,
            "batch": plan.batch, "epochs": 0, "out": out, "trainer": _trainer(steps, seed),
            "optimizer": OptimizerOptions(lr=1e-3, weight_decay=0.01, schedule="linear"),
        }  # fmt: skip

    task = toy.write_task(folder / "data" / "task", plan.train, plan.dev, seed)
    general = toy.write_task(folder / "data" / "general", plan.train, plan.dev, seed, what="general")
    start = toy.write_encoder(
        folder / "untrained", layers=plan.layers, width=plan.width, heads=plan.heads, neurons=plan.neurons,
        seed=seed,
    )  # fmt: skip
    done()
    encoder = folder / "general" / "model"
    with _quiet():
        teach(settings(plan.pretrain_steps, general, start, folder / "general"))
        done()
        teach(settings(plan.teacher_steps, task, encoder, folder / "teacher"))
        done()
        prune(
            settings(plan.student_steps, task, encoder, folder / "prune")
            | {
                "teacher": str(folder / "teacher" / "model"),
                "targets": plan.targets,
                "importance_samples": 512,
                "force": True,  # even a bad teacher: the page shows what it reaches
                "loss": LossOptions(lambda_pre=0.02, lambda_snap=0.02, lambda_fine=0.02, extra=512),
            }
        )
        done()
    levels = {target: folder / "prune" / step_name(target) for target in plan.targets}
    return Made(encoder, folder / "teacher" / "model", levels)


def measure(made: Made, plan: Plan, *, seed: int) -> list[dict[str, Any]]:
    """A row for the teacher, for each cut without training, and for each level of the student.

    Returns:
        `model`, `pruned %`, `accuracy` in percent, `general` (percent of sentences whose kind a linear probe
        finds in the frozen encoder), `parameters`, `bytes` of the file of weights, `million MACs`.
    """
    from cap_prune.loading import load_model
    from cap_prune.unit_criteria import magnitude

    rows = [_row(DENSE, 0.0, *load_model(made.teacher), made.teacher, plan, seed)]
    for percent in made.levels:
        model, words = load_model(made.teacher)
        cut(model, percent, magnitude)
        rows.append(_row(CUT, percent, model, words, None, plan, seed))
    for percent, folder in made.levels.items():
        rows.append(_row(PRUNED, percent, *load_model(folder), folder, plan, seed))
    return rows


def cut(model: Any, percent: float, criterion: Any) -> None:
    """Remove a share of a model's units at once, in place.

    Args:
        model: a supported encoder.
        percent: of heads, and of neurons.
        criterion: as in `cap_prune.criteria.CRITERIA`; one that needs no examples.
    """
    from cap_prune.architectures import units_of
    from cap_prune.selection import choose
    from cap_prune.slimming import slim

    slim(model, choose(criterion(model, [], None), units_of(model), percent))


def export_last(made: Made, folder: Path) -> Path:
    """Write the smallest level as a model for shipping, which equals it and needs no `cap_prune`."""
    from cap_prune.exporting import export
    from cap_prune.loading import load_model

    source = made.levels[max(made.levels)]
    export(*load_model(source), folder, format="slim", source=source)
    return folder


def timings(made: Made, small: Path, plan: Plan, *, rounds: int = 7) -> dict[str, Any]:
    """The latency by name: the teacher first, then every level; the last as it was exported.

    Returns:
        `cap_prune.latency.Timing` of each, on one CPU thread.
    """
    from cap_prune.latency import time_models
    from cap_prune.loading import load_model

    models = {DENSE: load_model(made.teacher)[0]}
    for percent, level in made.levels.items():
        models[f"pruned {percent:g} %"] = load_model(small if percent == max(made.levels) else level)[0]
    return time_models(models, batch=plan.batch, length=plan.length, rounds=rounds, threads=1, seconds=0.02)


def _row(
    name: str, percent: float, model: Any, words: Any, folder: Path | None, plan: Plan, seed: int
) -> dict[str, Any]:
    from cap_prune.layer_counts import disk_bytes, parameters
    from cap_prune.operations import macs

    return {
        "model": name,
        "pruned %": percent,
        "accuracy": accuracy(model, words, plan, seed),
        "general": general(model, words, plan, seed),
        "parameters": parameters(model).whole,
        "bytes": None if folder is None else disk_bytes(folder)[0],
        "million MACs": macs(model, plan.length) / 1e6,
    }


def accuracy(model: Any, words: Any, plan: Plan, seed: int) -> float:
    """Percent of the dev sentences whose label the model gives."""
    import torch

    dev = toy.sentences(plan.train + plan.dev, seed)[plan.train :]
    given = words([each.text for each in dev], padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = model(**given).logits.argmax(-1).tolist()
    right = [
        model.config.id2label[each] == toy.LABELS[one.label] for each, one in zip(found, dev, strict=True)
    ]
    return 100 * sum(right) / len(right)


def general(model: Any, words: Any, plan: Plan, seed: int) -> float:
    """Percent of sentences whose kind a linear classifier finds in the frozen encoder's mean vectors."""
    from cap_prune.probe_files import Labelled
    from cap_prune.probes import probe_set

    dev = toy.sentences(plan.train + plan.dev, seed)[plan.train :]
    part = Labelled([each.text for each in dev], [str(each.kind) for each in dev])
    return probe_set(model, words, [part], folds=4, seed=seed).mean


def _trainer(steps: int, seed: int) -> Any:
    from nonet.training.options import TrainerOptions

    return TrainerOptions(
        steps=steps,
        seed=seed,
        accelerator="cpu",
        validate_every=0,
        checkpoint_every=0,
        log_every=10,
        clip=1.0,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What runs say goes to their logs only."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: SIM117
        with contextlib.redirect_stderr(nowhere):
            yield
