"""The cells of a learning curve on disk: each fold's is written when it is done, and never computed twice."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.files import write_json
from prop_ir.cross_validation import Plan
from prop_ir.curve import Cell, fold_runs, values_of, zero_shot_runs
from prop_ir.folds import Fold
from prop_ir.model import load_ranker

Values = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Work:
    """One file to be: a fold of a cell, or, without training, all of its queries."""

    name: str
    """of the model"""
    queries: int
    draw: int | None
    seed: int
    fold: int | None
    """from 1; None: all folds together"""

    @property
    def file(self) -> str:
        """Its name in the folder of cells."""
        place = "all" if self.fold is None else f"fold-{self.fold}"
        return f"{self.name}/{self.queries}-queries/seed-{self.seed}/{place}.json"


def keeps_head(model: str) -> bool:
    """Whether a model has a ranking head of its own, so that it ranks without any draw."""
    try:
        load_ranker(model, head="require", say=lambda _: None)
    except UserError:
        return False
    return True


def work_list(
    models: Sequence[str],
    sizes: Mapping[int, int | None],
    seeds: Sequence[int],
    folds: int,
    *,
    same_head: Mapping[str, bool],
) -> list[Work]:
    """All files, those of the first seed first, so that a curve is there early.

    Args:
        models: names.
        sizes: shown number of training queries -> number to draw.
        seeds: of the draws and trainings.
        folds: how many.
        same_head: models that need no draw of a head: without training all seeds are the same.
    """
    return [
        Work(model, queries, draw, seed, fold)
        for seed in seeds
        for queries, draw in sizes.items()
        for model in models
        for fold in (range(1, folds + 1) if queries else [None])
        if queries or seed == seeds[0] or not same_head[model]
    ]


def compute(
    work: Work,
    plan: Plan,
    folds: Sequence[Fold],
    metrics: Sequence[str],
    folder: Path,
) -> None:
    """Do one piece of work, unless its file is there.

    Raises:
        UserError: the file is of another model.
    """
    path = folder / work.file
    start = f"{plan.model} (head: {plan.head})"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))["model"]
        if kept != start:
            raise UserError(f"{path}: {work.name} was {kept}, and is {start} now: give it another name")
        return
    if work.fold is None:
        test = [query for fold in folds for query in fold.test if query in plan.task.qrels]
        runs = zero_shot_runs(plan, test, work.seed)
    else:
        fold = folds[work.fold - 1]
        test = [query for query in fold.test if query in plan.task.qrels]
        runs = fold_runs(plan, fold, work.draw, work.seed)
    write_json(path, {"model": start, "values": values_of(plan.task.qrels, test, runs, metrics)})


def read_cells(works: Sequence[Work], folder: Path) -> list[Cell]:
    """The cells whose files are all there."""
    groups: dict[tuple[str, int, int], list[Work]] = {}
    for work in works:
        groups.setdefault((work.name, work.queries, work.seed), []).append(work)
    found = []
    for (name, queries, seed), parts in groups.items():
        if not all((folder / part.file).exists() for part in parts):
            continue
        values: Values = {}
        for part in parts:
            kept: dict[str, Any] = json.loads((folder / part.file).read_text(encoding="utf-8"))
            for ranking, by_metric in kept["values"].items():
                for metric, by_query in by_metric.items():
                    values.setdefault(ranking, {}).setdefault(metric, {}).update(by_query)
        found.append(Cell(name, queries, seed, values))
    return found
