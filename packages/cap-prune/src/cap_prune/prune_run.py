"""From the options of `prune` to a run with a level for every sparsity (ours)."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cap_prune.architectures import units_of
from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.distillation import TeacherLogits
from cap_prune.levels import complete, levels_of, read_facts, save_level, step_name
from cap_prune.loading import load_model
from cap_prune.objective import Objective
from cap_prune.preparing import Prepared, aligned, mark, prepare
from cap_prune.prune_page import save_pages
from cap_prune.representations import Align
from cap_prune.selection import check_targets
from cap_prune.structured import Schedule, prune
from cap_prune.teachers import Teacher, load_teacher
from cap_prune.train_options import LossOptions
from cap_prune.unstructured import MaskSchedule, prune_masked, snapshot_count
from nonet.options import dump
from nonet.runs import Run

if TYPE_CHECKING:
    from cap_prune.commands.prune import Options


def prune_student(options: "Options", resumed: Path | None = None) -> Path:
    """Prune, one level after the other; prints the run's folder.

    Args:
        options: of the verb `prune`.
        resumed: the folder of an interrupted run with these options, to go on in.

    Returns:
        The run's folder; its levels are in it, and `model` is the last one.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or the disk is full.
    """
    parts = prepare(options)
    if not options.masked:
        check_targets(units_of(parts.model), options.percents)
    weights = contrast_weights(options.loss, teacher=options.teacher is not None)
    teacher = None
    if options.teacher is not None:
        teacher = load_teacher(
            options.teacher, options, parts, fic=any(weights.get("fine", ())), force=options.force
        )
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("cap_prune", "prune", options, seed=options.trainer.seed, folder=options.out)
    )
    with run:
        for remark in teacher.remarks if teacher else ():
            run.say(f"--force: {remark}")
        run.say(
            f"task {parts.task.name}: {len(parts.train):,} examples, {len(parts.dev):,} to score on; "
            f"{'no teacher' if teacher is None else f'teacher {teacher.name}'}; "
            f"contrast with {', '.join(weights) or 'nothing'}"
        )
        align = aligned(options.loss.align)
        mark(parts.model, options, parts.task, align)
        facts: dict[str, Any] = {"task": parts.task.name, "kind": parts.task.kind, "base": options.model}
        facts |= {"primary": parts.task.primary, "teacher": options.teacher, "seed": options.trainer.seed}
        flow = _unstructured if options.masked else _structured
        try:
            levels = flow(options, parts, teacher, weights, align, run, facts)
        finally:
            if run.writes:
                _bank_file(run).unlink(missing_ok=True)
        if run.writes:
            _last_as_model(run, levels[-1], options)
            save_pages(run.folder)
            print(run.folder)
    return run.folder


def lacks_levels(options: "Options", folder: Path) -> bool:
    """Whether a run of the verb lacks a level, or its last one as `model`."""
    if options.masked:
        last = next((each for each in levels_of(folder) if read_facts(each).get("last")), None)
    else:
        levels = [folder / step_name(percent) for percent in options.percents]
        last = levels[-1] if all(map(complete, levels)) else None
    model = folder / "model"
    return last is None or not complete(model) or read_facts(model) != read_facts(last)


def contrast_weights(losses: LossOptions, *, teacher: bool) -> dict[str, tuple[float, float]]:
    """The weights (unsupervised, supervised) of each bank that is contrasted with."""
    wanted = {
        "pre": (losses.prc, losses.lambda_pre),
        "snap": (losses.snc, losses.lambda_snap),
        "fine": (losses.fic and teacher, losses.lambda_fine),
    }
    return {
        name: (weight, losses.lambda_sup)
        for name, (on, weight) in wanted.items()
        if on and (weight or losses.lambda_sup)
    }


def student_objective(
    parts: Prepared,
    losses: LossOptions,
    *,
    align: Align,
    teacher: TeacherLogits | None,
    banks: Banks | None,
    weights: dict[str, tuple[float, float]],
    seed: int,
    say: Any,
) -> Objective:
    """The complete training loss of a student.

    Args:
        parts: task and examples.
        losses: weights and temperatures.
        align: which vector stands for an example.
        teacher: its logits; None: no distillation.
        banks: to contrast with; None: no contrast.
        weights: of the banks.
        seed: of the draws of extra examples.
        say: is told what cannot be as it was asked for.
    """
    contrast = None
    if banks is not None:
        labels = parts.train.labels
        classes = parts.task.kind == "classification" and labels is not None
        contrast = Contrast(
            banks, weights=weights, tau=losses.tau, extra=losses.extra, reduction=losses.reduction,
            labels=torch.from_numpy(labels) if classes and labels is not None else None, seed=seed, say=say,
        )  # fmt: skip
    return Objective(
        parts.task.kind, align=align, ce=losses.ce, kd=0.0 if teacher is None else losses.kd,
        temperature=losses.kd_temperature, teacher=teacher, contrast=contrast,
    )  # fmt: skip


def _structured(
    options: "Options",
    parts: Prepared,
    teacher: Teacher | None,
    weights: dict[str, tuple[float, float]],
    align: Align,
    run: Run,
    facts: dict[str, Any],
) -> list[Path]:
    """The levels of heads and neurons."""
    wanted = {each.name for each in fields(Schedule)} - {"targets", "epochs"}
    schedule = Schedule(
        targets=options.percents, epochs=options.passes, **{name: getattr(options, name) for name in wanted}
    )
    objective, banks = _objective(
        options, parts, teacher, weights, align, run, snapshots=len(options.percents) - 1
    )
    return prune(
        parts.model, parts.tokenizer, parts.train, objective, schedule, run=run, banks=banks,
        score=parts.evaluate, facts=facts, options=dump(options),
    )  # fmt: skip


def _unstructured(
    options: "Options",
    parts: Prepared,
    teacher: Teacher | None,
    weights: dict[str, tuple[float, float]],
    align: Align,
    run: Run,
    facts: dict[str, Any],
) -> list[Path]:
    """The levels of single weights."""
    wanted = {each.name for each in fields(MaskSchedule)} - {"epochs"}
    schedule = MaskSchedule(epochs=options.passes, **{name: getattr(options, name) for name in wanted})
    objective, banks = _objective(
        options, parts, teacher, weights, align, run, snapshots=snapshot_count(parts.train, schedule)
    )
    return prune_masked(
        parts.model, parts.tokenizer, parts.train, objective, schedule, run=run, banks=banks,
        score=parts.evaluate, facts=facts, options=dump(options),
    )  # fmt: skip


def _objective(
    options: "Options",
    parts: Prepared,
    teacher: Teacher | None,
    weights: dict[str, tuple[float, float]],
    align: Align,
    run: Run,
    *,
    snapshots: int,
) -> tuple[Objective, Banks | None]:
    """The training loss, and its banks, of which the teacher's is full."""
    losses, seed = options.loss, options.trainer.seed
    banks = None
    if weights:
        banks = Banks(
            len(parts.train), parts.model.config.hidden_size, snapshots=snapshots, dtype=losses.bank_dtype,
            device=parts.device if losses.bank_device == "auto" else "cpu",
            file=_bank_file(run) if losses.bank_device == "file" else None,
        )  # fmt: skip
    logits = None
    if teacher is not None:
        if losses.kd:
            logits = teacher.logits(parts.device, run.folder / "cache", run.say)
        if banks is not None and "fine" in weights:
            banks.fill("fine", teacher.encoded(parts.device, align))
        teacher.model.to("cpu")
    objective = student_objective(
        parts, losses, align=align, teacher=logits, banks=banks, weights=weights, seed=seed, say=run.say
    )
    return objective, banks


def _bank_file(run: Run) -> Path:
    """Where banks lie that are mapped; a run that goes on fills them anew."""
    return run.folder / "cache" / "banks"


def _last_as_model(run: Run, level: Path, options: "Options") -> None:
    """`model` of the run: the last level once more, under the name that every run has."""
    if complete(run.model) and read_facts(run.model) == read_facts(level):
        return
    model, tokenizer = load_model(level)
    save_level(run.model, model, tokenizer, read_facts(level), options=dump(options), overwrite=True)
