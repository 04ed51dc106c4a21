"""What a re-ranker reaches with 0, 10, 50, ... judged queries."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.rerank_options import OPTIMIZER, TRAINER, InputOptions, ScoreOptions, TuneOptions, part

if TYPE_CHECKING:
    from nonet.runs import Run
    from prop_ir.cross_validation import Plan
    from prop_ir.curve_cells import Work
    from prop_ir.ranking_inputs import Inputs

MAY_DIFFER = ("models", "queries", "seeds", "new_heads", "out", "resume", "device")
"""options that a run that goes on may have otherwise: its cells stay what they are"""


@dataclass(frozen=True, kw_only=True)
class Options(TuneOptions, ScoreOptions, InputOptions):
    """Fine-tune models on few and on many judged queries, with folds and seeds, and draw the curves.

    Every fold of every model, number of queries and seed is stored: give the command again with --resume,
    with more models, numbers or seeds if you like.
    """

    models: tuple[str, ...]
    """what to start from: folders or hub names, each as NAME=MODEL or alone; all are tested against the
    first"""
    qrels: Path
    """judgements: TREC's four columns, a BEIR table or a LETOR file"""
    queries: tuple[int | Literal["all"], ...] = (0, 10, 20, 50, 100, "all")
    """numbers of training queries, held-out ones included; 0: zero-shot; all: those of a fold"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the draws of queries and the trainings; the folds are of trainer.seed"""
    folds: int = 5
    """of cross-validation"""
    folds_file: Path | None = None
    """folds that were recorded or given, as in `finetune`"""
    metrics: tuple[str, ...] = ("nDCG@20", "P@20")
    """what is reported, as in `evaluate`; the first one chooses the weights"""
    new_heads: tuple[str, ...] = ()
    """names of models whose ranking head is drawn anew; others keep theirs"""
    normalise: Literal["z", "min-max"] = "z"
    """of both scores before they are added, query by query"""
    out: Path | None = None
    """run folder; none: runs/prop_ir/curve-TIME"""
    resume: Path | None = None
    """run folder to go on with"""
    trainer: TrainerOptions = dataclasses.field(default_factory=lambda: TRAINER)
    """length, devices, precision"""
    optimizer: OptimizerOptions = dataclasses.field(default_factory=lambda: OPTIMIZER)
    """its rate and schedule"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        part(self, TuneOptions)
        part(self, ScoreOptions)
        for name in ("models", "queries", "seeds", "metrics"):
            if not getattr(self, name):
                raise UserError(f"no {name}: give at least one with --{name}")
        if self.trainer.strategy == "fsdp":
            raise UserError("fine-tuning shares no weights out: leave trainer.strategy at auto or ddp")
        if self.folds < 2 and not self.folds_file:
            raise UserError(f"folds is {self.folds}; it is 2 and more")
        if any(count != "all" and count < 0 for count in self.queries):
            raise UserError(f"queries are {self.queries}; they are 0 or more, or all")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"seeds are {self.seeds}; they differ, and are 0 or more")


def run(options: Options) -> int:
    """Fine-tune and test what is missing, print the tables, draw the page."""
    from itertools import product

    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from nonet.metrics.ranking import parse_metric
    from nonet.runs import Run, folder_of
    from prop_ir.curve import named_models, sizes_of
    from prop_ir.curve_cells import compute, keeps_head, work_list
    from prop_ir.folds import make_folds, read_folds, write_folds
    from prop_ir.ranking_inputs import read_inputs
    from prop_ir.run_settings import same_settings

    for metric in options.metrics:
        parse_metric(metric)
    models = named_models(options.models)
    unknown = [name for name in options.new_heads if name not in models]
    if unknown:
        raise UserError(f"new_heads names {unknown[0]!r}, which is no model here: {', '.join(models)}")
    inputs = read_inputs(options, options.qrels)
    if options.folds_file:
        folds = read_folds(options.folds_file)
    else:
        folds = make_folds(inputs.judged, options.folds, options.trainer.seed)
    sizes, notes = sizes_of(options.queries, min(len(fold.train) for fold in folds))
    plans, said = _plans(options, models, inputs)
    for plan in plans.values():
        for count, seed in product((count for count in sizes.values() if count != 0), options.seeds):
            plan.drawn(count, seed).check(folds)
    resumed = folder_of(options.resume)
    if resumed:
        same_settings(resumed, options, besides=MAY_DIFFER)
    seed = options.trainer.seed
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("prop_ir", "curve", options, seed=seed, folder=options.out)
    )
    with record:
        for note in (*inputs.notes, *said, *notes):
            record.say(note)
        write_folds(record.folder / "folds.json", folds, seed=seed)
        same = {name: plan.head == "keep" and keeps_head(plan.model) for name, plan in plans.items()}
        works = work_list(list(models), sizes, options.seeds, len(folds), same_head=same)
        cells = record.folder / "cells"
        for work in progress(works, label="curve", unit="folds"):
            compute(work, plans[work.name], folds, options.metrics, cells)
        tested = {query for fold in folds for query in fold.test if query in inputs.qrels}
        _finish(options, record, inputs, works, [query for query in inputs.topics if query in tested])
        print(record.folder)
    return 0


def _plans(options: Options, models: dict[str, str], inputs: "Inputs") -> "tuple[dict[str, Plan], list[str]]":
    """What to do with each model; pieces are made once for each tokenizer."""
    from prop_ir.cross_validation import Plan
    from prop_ir.groups import Task
    from prop_ir.model import load_ranker
    from prop_ir.pieces import tokenizer_hash
    from prop_ir.ranking_inputs import read_task
    from prop_ir.scoring import Scorer

    score, tune = part(options, ScoreOptions), part(options, TuneOptions)
    tasks: dict[str, Task] = {}
    plans: dict[str, Plan] = {}
    notes: list[str] = []
    for name, model in models.items():
        head: Literal["keep", "new"] = "new" if name in options.new_heads else "keep"
        ranker, tokenizer = load_ranker(model, head=head, say=notes.append)
        Scorer(ranker, tokenizer, max_length=score.max_length, device="cpu")  # refuses one beyond the model
        key = tokenizer_hash(tokenizer)
        if key not in tasks:
            relevant = tune.positives == "judged"
            tasks[key], found = read_task(inputs, options, score, tokenizer, model=model, relevant=relevant)
            notes += found
        plans[name] = Plan(
            model, head, tasks[key], options.metrics[0], tune,
            score, options.trainer, options.optimizer, options.normalise,
        )  # fmt: skip
    return plans, list(dict.fromkeys(notes))


def _finish(
    options: Options, record: "Run", inputs: "Inputs", works: "list[Work]", tested: list[str]
) -> None:
    """Tables on standard output, numbers in curve.json, the page."""
    from dataclasses import asdict

    from nonet.files import write_json
    from nonet.metrics.ranking import score_run
    from prop_ir.curve import contrasts, points
    from prop_ir.curve_cells import read_cells
    from prop_ir.curve_page import contrast_rows, curve_page, remarks, rows, text

    cells = read_cells(works, record.folder / "cells")
    found = points(cells, options.metrics)
    compared = {metric: contrasts(cells, metric) for metric in options.metrics}
    judged = {query: inputs.qrels[query] for query in tested}
    scored = score_run(judged, inputs.run, options.metrics)
    first = {metric: sum(values.values()) / len(values) for metric, values in scored.items()}
    said = remarks(options.metrics, options.run.stem, len(tested))
    for metric in options.metrics:
        print(f"{text(rows(found, metric))}\n\nfirst stage ({options.run.stem}): {first[metric]:.4f}\n")
        if compared[metric]:
            print(f"{text(contrast_rows(compared[metric]))}\n")
    print("\n".join(said))
    write_json(
        record.folder / "curve.json",
        {
            "first stage": first,
            "points": [asdict(point) for point in found],
            "tests": {metric: [asdict(each) for each in rest] for metric, rest in compared.items()},
            "remarks": said,
        },
    )
    page = curve_page("Learning curves", found, compared, options.metrics, first, said)
    page.save(record.folder / "report.html")
