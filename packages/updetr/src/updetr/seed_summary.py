"""One fine-tuning with several seeds, and their mean and standard deviation (ours).

The runs lie in folders `seed-0`, `seed-1`, ... of one run folder; an interrupted one goes on where it was.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nonet.errors import UserError
from nonet.files import write_json
from nonet.options import dump, read
from nonet.report import Page
from nonet.training.hub import MANIFEST
from updetr.model_folders import SUMMARY
from updetr.training import mean_and_deviation, open_run

if TYPE_CHECKING:
    from updetr.commands.finetune import Options

MAIN = ("AP", "AP50", "AP75")
FREE = {"keep_images", "out", "resume", "seeds", "trainer"}  # options that no number depends on, and those of
TRAINER = ("seed", "steps", "accumulate", "clip")  # the trainer, of which these do


def finetune_seeds(
    options: "Options", once: Callable[["Options", Path | None], Path], resumed: Path | None
) -> Path:
    """Run `options.seeds` times, with the seeds trainer.seed, trainer.seed + 1, ...

    Args:
        options: of the verb `finetune`.
        once: one run; takes its options and the folder to go on in.
        resumed: the folder of an interrupted call.

    Returns:
        The folder above the runs.

    Raises:
        UserError: the interrupted call had other options, so that its seeds would be no repetitions.
    """
    if resumed is not None:
        _refuse_other_options(resumed, options)
    with open_run("finetune", options, resumed=resumed, seed=options.trainer.seed, state={}) as parent:
        found: dict[int, dict[str, Any]] = {}
        for seed in range(options.trainer.seed, options.trainer.seed + options.seeds):
            folder = parent.folder / f"seed-{seed}"
            mine = replace(
                options, seeds=1, resume=None, out=folder, trainer=replace(options.trainer, seed=seed)
            )
            if not (folder / "model" / MANIFEST).is_file():
                once(mine, folder if (folder / "run.json").is_file() else None)
            found[seed] = scores_of(folder)
        table = summary(found)
        write_json(parent.folder / SUMMARY, {"seeds": list(found), "scores": table})
        for name in MAIN:
            if name in table:
                parent.say(
                    f"{name} {table[name]['mean']:.2f} +- {table[name]['sd']:.2f} ({options.seeds} seeds)"
                )
        _page(table, found).save(parent.folder / "report.html")
        print(parent.folder)
    return parent.folder


def _refuse_other_options(folder: Path, options: "Options") -> None:
    """Compare what a run learns from and how, but not where it runs, nor how many seeds there are.

    Raises:
        UserError: an option differs.
    """
    before, now = (_told(values) for values in (read(folder / "options.yaml").values, _plain(options)))
    for name, value in now.items():
        if name in before and before[name] != value:
            raise UserError(
                f"{name} is {value} here but {before[name]} in {folder}: give the same options, or start anew"
            )


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a call's options that its numbers depend on."""
    trainer = {f"trainer.{name}": values["trainer"].get(name) for name in TRAINER}
    return {name: value for name, value in values.items() if name not in FREE} | trainer


def _plain(options: "Options") -> dict[str, Any]:
    """Options as their file has them."""
    return dict(yaml.safe_load(dump(options)))


def scores_of(folder: Path) -> dict[str, Any]:
    """What a run's model reaches; nothing where it was not validated."""
    path = folder / "scores.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["scores"]) if path.is_file() else {}


def summary(found: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (n - 1) and values of each number that every run has."""
    runs: Sequence[Mapping[str, Any]] = list(found.values())
    table = {}
    for name in runs[0] if runs else ():
        values = [run.get(name) for run in runs]
        if all(isinstance(value, int | float) for value in values):
            mean, deviation = mean_and_deviation([float(value) for value in values if value is not None])
            table[name] = {"mean": mean, "sd": deviation, "values": values}
    return table


def _page(table: Mapping[str, Mapping[str, Any]], found: Mapping[int, Any]) -> Page:
    page = Page("updetr finetune", f"{len(found)} seeds: {', '.join(map(str, found))}")
    rows = [
        {"number": name, "mean": f"{entry['mean']:.2f}", "sd": f"{entry['sd']:.2f}"}
        | {f"seed {seed}": f"{value:.2f}" for seed, value in zip(found, entry["values"], strict=True)}
        for name, entry in table.items()
    ]
    if not rows:
        return page.text("The runs were not validated: give `val`.")
    return page.table(rows, "Numbers x 100 on the validation data")
