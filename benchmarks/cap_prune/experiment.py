"""What the experiments on contrastive pruning share: sentences, teachers, arms, measures, tables.

An arm is one run of `cap-prune prune` with settings of its own; each of its levels is scored on sentences
that were never trained on, and on STS-B without training: the correlation of cosines with people's
judgement, the direct measure of general knowledge.
"""

import csv
import json
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.cap_prune import minilm
from benchmarks.data import data_folder
from benchmarks.harness import Row

RESAMPLES = 2000
FOLDERS = {"sst2": "SST-2", "mrpc": "MRPC", "rte": "RTE", "cola": "CoLA"}
PROBES = ("rt-polarity", "custrev", "mpqa", "subj")


@dataclass(frozen=True)
class Setting:
    """The sizes of an experiment."""

    task: str = "sst2"
    sentences: int | None = 3000  # to learn from, drawn by the seed; None: all
    teacher_steps: int = 140
    teacher_lr: float = 6e-5
    targets: tuple[float, ...] = (50, 70, 90)
    steps: int = 100  # a level; 0: two passes
    lr: float = 6e-5
    batch: int = 32
    length: int = 128  # pieces of a sentence at most
    extra: int = 1024
    importance: int | None = 384  # examples that units are scored on; None: all
    scored: int | None = None  # sentences scored; None: all
    pairs: int | None = None  # pairs of STS-B; None: all
    probes: tuple[str, ...] = ()
    probed: tuple[float, ...] = ()
    """levels that probes are made of"""
    accelerator: str = "cpu"
    force: bool = False
    """go on with a teacher that is hardly better than the most frequent label"""
    until: float | None = None
    """seconds of `time.time()` at which a pruning ends with the levels that it has; None: never"""


@dataclass(frozen=True)
class Arm:
    """What one arm does otherwise than the plain student of labels and teacher."""

    contrast: float = 0.0
    """weight of the unsupervised contrast with each bank"""
    pre: bool = True
    """whether the pre-trained model is one of the banks"""
    supervised: float = 0.0
    """weight of the supervised contrast"""
    reduction: str = "paper"
    method: str = "first-order"
    masks: tuple[tuple[str, Any], ...] = ()
    """of single weights instead of heads and neurons: fields of `MaskOptions`"""


def sentences(setting: Setting, side: str, seed: int, folder: Path) -> Path:
    """A file of sentences and labels of SST-2: `train` drawn by the seed, or `scored` (dev and test)."""
    from nonet.data.batching import generator
    from nonet.files import write_text

    out = folder / (f"train-{seed}.jsonl" if side == "train" else "scored.jsonl")
    if out.exists():
        return out
    source = data_folder("glue", "SST-2")
    assert source is not None
    names = ("train.tsv",) if side == "train" else ("dev.tsv", "test-labeled.tsv")
    rows = [row for name in names for row in _tsv(source / name)]
    limit = setting.sentences if side == "train" else setting.scored
    if limit is not None:
        chosen = generator(seed if side == "train" else 0, "sentences").permutation(len(rows))[:limit]
        rows = [rows[number] for number in chosen]
    lines = [json.dumps({"text": row["sentence"].strip(), "label": int(row["label"])}) for row in rows]
    write_text(out, "\n".join(lines) + "\n")
    return out


def sides(setting: Setting, seed: int, work: Path) -> tuple[Path, Path]:
    """What is learnt from and what is scored: sentences of SST-2, or another task's folder as it is."""
    if setting.task == "sst2":
        return sentences(setting, "train", seed, work), sentences(setting, "scored", seed, work)
    folder = data_folder("glue", FOLDERS[setting.task])
    assert folder is not None
    return folder, folder


def _tsv(path: Path) -> Iterable[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def start(setting: Setting, work: Path, tiny: bool) -> str:
    """The folder of the pre-trained encoder: MiniLM, or a tiny one with the same kind of tokenizer."""
    if not tiny:
        return str(minilm.folder())
    from cap_prune.toy import write_encoder

    folder = work / "tiny"
    if not (folder / "config.json").exists():
        write_encoder(folder)
    return str(folder)


def _trained(setting: Setting, steps: int, lr: float, seed: int) -> dict[str, Any]:
    from nonet.training.options import OptimizerOptions, TrainerOptions

    return {
        "trainer": TrainerOptions(
            steps=max(1, steps), seed=seed, clip=1.0, validate_every=0, checkpoint_every=0,
            accelerator=setting.accelerator,  # type: ignore[arg-type]
            log_every=max(1, steps // 10) if steps else 100,
        ),
        "optimizer": OptimizerOptions(lr=lr, weight_decay=0.01, schedule="linear"),
        "batch": setting.batch,
        "max_length": setting.length,
        "epochs": 0 if steps else 2,
    }  # fmt: skip


def teacher(setting: Setting, seed: int, work: Path, tiny: bool) -> dict[str, Any]:
    """Fine-tune the dense model, kept in WORK/teacher-SEED; its measures."""
    from cap_prune.commands.teacher import Options
    from cap_prune.teacher_run import train_teacher

    out = work / f"teacher-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    learnt, scored = sides(setting, seed, work)
    train_teacher(
        Options(
            model=start(setting, work, tiny),
            task=setting.task,
            data=learnt,
            dev=scored,
            out=out,
            **_trained(setting, setting.teacher_steps, setting.teacher_lr, seed),
        )
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return measured(setting, out / "model", work, seed)


def arm(setting: Setting, what: Arm, name: str, seed: int, work: Path, tiny: bool) -> dict[str, Any]:
    """One pruning; the measures of every level by its folder's name.

    If its time was up, those of the levels that it has, if any, and `cut`.
    """
    from cap_prune.commands.prune import Options
    from cap_prune.levels import levels_of, step_name
    from cap_prune.mask_options import MaskOptions
    from cap_prune.prune_run import prune_student
    from cap_prune.train_options import LossOptions

    out = work / f"{slug(name)}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    learnt, scored = sides(setting, seed, work)
    on = what.contrast > 0 or what.supervised > 0
    loss = LossOptions(
        prc=on and what.pre, snc=on, fic=on, lambda_pre=what.contrast, lambda_snap=what.contrast,
        lambda_fine=what.contrast, lambda_sup=what.supervised, extra=setting.extra,
        reduction=what.reduction,  # type: ignore[arg-type]
    )  # fmt: skip
    level: dict[str, Any] = {"targets": setting.targets, "importance_samples": setting.importance}
    if what.masks:
        level = {"masks": MaskOptions(**dict(what.masks))}
    options = Options(
        model=start(setting, work, tiny),
        teacher=str(work / f"teacher-{seed}" / "model"),
        task=setting.task,
        data=learnt,
        dev=scored,
        method=what.method,
        loss=loss,
        out=out,
        force=tiny or setting.force,
        **level,
        **_trained(setting, setting.steps, setting.lr, seed),
    )
    with ended(setting.until):
        prune_student(options)
    cut = setting.until is not None and time.time() >= setting.until
    probed = {step_name(percent) for percent in setting.probed}
    found: dict[str, Any] = {
        folder.name: measured(setting, folder, work, seed, probes=folder.name in probed)
        for folder in levels_of(out)
    }
    if found and cut:
        found["cut"] = True
    shutil.rmtree(out, ignore_errors=True)
    return found


def slug(name: str) -> str:
    """An arm's name as part of a file's."""
    return name.replace(",", "").replace(" ", "-")


class TimeUp(BaseException):
    """Raised where a pruning is when its time is up; no error, and nothing that handles errors stops it."""


@contextmanager
def ended(when: float | None) -> Iterator[None]:
    """End the block at a time of `time.time()`, wherever it is then; None: at its own end."""
    if when is None:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, when - time.time()))
    try:
        with suppress(TimeUp):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measured(
    setting: Setting, folder: Path, work: Path, seed: int, *, probes: bool = False
) -> dict[str, Any]:
    """A model's accuracy (0..1), which examples it gets right, STS-B's correlation, and linear probes."""
    from cap_prune.encoding import read_task
    from cap_prune.evaluating import class_logits, evaluate
    from cap_prune.loading import load_model
    from cap_prune.probe_files import Pairs, read_labelled, read_sts
    from cap_prune.probes import probe_set, similarity
    from cap_prune.tasks import task_of
    from nonet.training.devices import pick_device

    task = task_of(setting.task)
    model, tokenizer = load_model(folder, task)
    device = pick_device("cpu" if setting.accelerator == "cpu" else "auto")
    model.to(device)
    how: dict[str, Any] = {"max_length": setting.length, "batch": 64 if device == "cpu" else 512}
    examples = read_task(task, sides(setting, seed, work)[1], "dev", tokenizer, max_length=setting.length)
    right = class_logits(model, task, examples, batch=128).argmax(1) == examples.labels
    source = data_folder("glue", "STS-B")
    assert source is not None
    pairs = Pairs(*(part[: setting.pairs] for part in read_sts(source)))
    found: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "right": "".join("1" if each else "0" for each in right),
        "sts": similarity(model, tokenizer, pairs, **how),
    }
    if task.primary != "accuracy":
        found[task.primary] = evaluate(model, task, examples, batch=128)[task.primary]
    for name in setting.probes if probes else ():
        texts = data_folder("sentence-classification", f"{name}.all")
        assert texts is not None
        found[name] = probe_set(model, tokenizer, [read_labelled(texts)], **how).mean
    return found


def rows(
    found: Mapping[tuple[str, int], Mapping[str, Any]], names: Sequence[str], seeds: Sequence[int],
    base: str, levels: Sequence[str],
) -> list[Row]:  # fmt: skip
    """A row an arm and level: means over seeds, and differences to `base` with their intervals.

    Accuracy differences are paired by sentence and seed; STS-B's have one number a seed, hence Student's
    interval.
    """
    from nonet.metrics.stats import t_interval

    out: list[Row] = []
    for level in levels:
        for name in names:
            runs = [found[name, seed][level] for seed in seeds]
            bases = [found[base, seed][level] for seed in seeds]
            row: Row = {
                "name": f"{level.removeprefix('step-')} % pruned, {name}",
                "accuracy": f"{100 * np.mean([each['accuracy'] for each in runs]):.1f}",
                f"accuracy, minus {base}": "",
                "STS-B": f"{np.mean([each['sts'] for each in runs]):.3f}",
                f"STS-B, minus {base}": "",
            }
            if name != base:
                row[f"accuracy, minus {base}"] = _paired(runs, bases)
                gain = [a["sts"] - b["sts"] for a, b in zip(runs, bases, strict=True)]
                row[f"STS-B, minus {base}"] = f"{np.mean(gain):+.3f}"
                if len(seeds) > 1:
                    over = t_interval(gain)
                    row[f"STS-B, minus {base}"] += f" ({over.low:+.3f} to {over.high:+.3f})"
            out.append(row)
    return out


def _paired(runs: Sequence[Mapping[str, Any]], bases: Sequence[Mapping[str, Any]]) -> str:
    """The difference of accuracies in points, with the interval when sentences are drawn anew."""
    from nonet.metrics.stats import paired_bootstrap

    mine, theirs = (
        np.mean([[int(each) for each in run["right"]] for run in side], axis=0) for side in (runs, bases)
    )
    over = paired_bootstrap(100 * mine, 100 * theirs, resamples=RESAMPLES)
    return f"{over.difference:+.1f} ({over.low:+.1f} to {over.high:+.1f})"


def tiny_setting(setting: Setting) -> Setting:
    """The same experiment in seconds, for tests."""
    return replace(
        setting, sentences=24, teacher_steps=1, steps=1, targets=setting.targets[:1], batch=8, length=64,
        importance=8, scored=12, pairs=6, extra=16, accelerator="cpu", probes=(),
    )  # fmt: skip
