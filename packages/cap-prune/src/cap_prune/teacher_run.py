"""From the options of `teacher` to a fine-tuned dense model (ours).

Ordinary fine-tuning: cross-entropy for classes, squared error for a number, start and end for answers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cap_prune.levels import save_model, scores_of, tag_of
from cap_prune.objective import Objective
from cap_prune.preparing import Prepared, mark, prepare
from cap_prune.training import train
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import Run
from nonet.training.hub import MANIFEST
from nonet.training.model_card import ModelCard

if TYPE_CHECKING:
    from cap_prune.commands.teacher import Options

LIMITS = ("It was trained for this task; other uses were not tried.",)


def train_teacher(options: "Options", resumed: Path | None = None) -> Path:
    """Fine-tune, score, save; prints the run's folder.

    Args:
        options: of the verb `teacher`.
        resumed: the folder of an interrupted run with these options, to go on in.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or the disk is full.
    """
    parts = prepare(options)
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("cap_prune", "teacher", options, seed=options.trainer.seed, folder=options.out)
    )
    with run:
        run.say(f"task {parts.task.name}: {len(parts.train):,} examples, {len(parts.dev):,} to score on")
        steps = train(
            parts.model, parts.train, parts.collate, Objective(parts.task.kind, ce=1.0, kd=0.0), run=run,
            batch=options.batch, epochs=options.epochs, trainer=options.trainer,
            optimizer=options.optimizer, warmup_share=options.warmup_share, bucket=options.bucket,
        )  # fmt: skip
        metrics = parts.evaluate(parts.model)
        if run.writes:
            run.log(steps, **{f"dev/{name}": value for name, value in metrics.items()})
            run.say("dev: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
            mark(parts.model, options, parts.task, "mean-pooling")
            save_model(
                run.model, parts.model, parts.tokenizer, _card(options, parts, metrics),
                overwrite=resumed is not None,
            )  # fmt: skip
            run_page(run.folder).save(run.folder / "report.html")
            print(run.folder)
    return run.folder


def lacks_model(options: "Options", folder: Path) -> bool:
    """Whether a run of the verb has not saved its model."""
    return not (folder / "model" / MANIFEST).is_file()


def _card(options: "Options", parts: Prepared, metrics: dict[str, Any]) -> str:
    task = parts.task.name
    return ModelCard(
        title=f"{Path(options.model).name}, fine-tuned for {task}",
        what=f"An encoder fine-tuned on {task}; a teacher for pruned students.",
        tags=(tag_of(parts.task.kind),),
        base=options.model,
        data=f"{len(parts.train):,} examples of {task}, train side.",
        options=dump(options),
        scores=scores_of(metrics, f"{task}, dev"),
        limits=LIMITS,
    ).text()
