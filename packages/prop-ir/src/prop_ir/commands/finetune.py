"""Fine-tune a re-ranker on judged queries."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.rerank_options import OPTIMIZER, TRAINER, InputOptions, ScoreOptions, TuneOptions, part

if TYPE_CHECKING:
    from nonet.runs import Run
    from prop_ir.cross_validation import FoldResult
    from prop_ir.folds import Fold
    from prop_ir.groups import Task
    from prop_ir.ranking_inputs import Inputs
    from prop_ir.runs import Run as Ranked


@dataclass(frozen=True, kw_only=True)
class Options(TuneOptions, ScoreOptions, InputOptions):
    """Fine-tune a re-ranker; with folds: a model for each, and one run of all queries, tested.

    Groups of a relevant document and others are drawn from the first stage's candidates. The weights that are
    best on held-out training queries are kept; the starting ones compete.
    """

    model: str
    """folder or hub name of the model to start from"""
    qrels: Path
    """judgements: TREC's four columns, a BEIR table or a LETOR file"""
    folds: int = 0
    """of cross-validation; 0: none, one model is trained on all queries"""
    folds_file: Path | None = None
    """folds that were recorded (folds.json of a run) or given: a JSON list with test (train, val) of each"""
    val_topics: Path | None = None
    """queries that choose the weights instead of held-out ones, without folds; give their candidates and
    judgements, too"""
    val_run: Path | None = None
    """candidates of --val-topics"""
    val_qrels: Path | None = None
    """judgements of --val-topics"""
    train_queries: int | None = None
    """train on so many queries (of each fold), drawn by the seed; none: on all"""
    metrics: tuple[str, ...] = ("nDCG@20", "P@20", "MAP")
    """what is reported, as in `evaluate`; the first one chooses the weights"""
    head: Literal["keep", "new"] = "keep"
    """the ranking head; keep: of the model, what it lacks is drawn; new: drawn anew"""
    normalise: Literal["z", "min-max"] = "z"
    """of both scores before they are added, query by query"""
    out: Path | None = None
    """run folder; none: runs/prop_ir/finetune-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    trainer: TrainerOptions = dataclasses.field(default_factory=lambda: TRAINER)
    """length, devices, precision, seed"""
    optimizer: OptimizerOptions = dataclasses.field(default_factory=lambda: OPTIMIZER)
    """its rate and schedule"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        part(self, TuneOptions)
        part(self, ScoreOptions)
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"folds is {self.folds}; it is 0, or 2 and more")
        if self.folds and self.folds_file:
            raise UserError("give either --folds or --folds-file")
        if self.trainer.strategy == "fsdp":
            raise UserError("fine-tuning shares no weights out: leave trainer.strategy at auto or ddp")
        if self.train_queries is not None and self.train_queries < 1:
            raise UserError(f"train_queries is {self.train_queries}; it is 1 or more")
        if not self.metrics:
            raise UserError("no metrics: give at least one, such as nDCG@20, with --metrics")
        given = [name for name in ("val_topics", "val_run", "val_qrels") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise UserError("--val-topics, --val-run and --val-qrels go together")
        if given and (self.folds or self.folds_file):
            raise UserError("--val-topics is for training without folds: each fold holds out its own queries")


def run(options: Options) -> int:
    """Fine-tune, write models and runs, test, draw the page."""
    from nonet.metrics.ranking import parse_metric
    from nonet.runs import Run, folder_of
    from prop_ir.cross_validation import Plan, run_fold
    from prop_ir.finetune_report import finetuning_card
    from prop_ir.folds import write_folds
    from prop_ir.model import load_ranker, save_ranker
    from prop_ir.ranking_inputs import read_inputs, read_task
    from prop_ir.run_settings import same_settings
    from prop_ir.scoring import Scorer

    for metric in options.metrics:
        parse_metric(metric)
    inputs = read_inputs(options, options.qrels)
    if options.val_topics and options.val_run:
        apart = dataclasses.replace(options, topics=options.val_topics, run=options.val_run)
        inputs = inputs.joined(read_inputs(apart, options.val_qrels))
    folds = _folds(options, inputs)
    said: list[str] = []
    ranker, tokenizer = load_ranker(
        options.model, head=options.head, seed=options.trainer.seed, say=said.append
    )
    score, tune = part(options, ScoreOptions), part(options, TuneOptions)
    relevant = tune.positives == "judged"
    Scorer(ranker, tokenizer, max_length=score.max_length, device="cpu")  # refuses a length beyond the model
    task, notes = read_task(inputs, options, score, tokenizer, model=options.model, relevant=relevant)
    plan = Plan(
        options.model, options.head, task, options.metrics[0], tune, score, options.trainer,
        options.optimizer, options.normalise, options.train_queries,
    )  # fmt: skip
    plan.check(folds)
    resumed = folder_of(options.resume)
    if resumed:
        same_settings(resumed, options, besides=("out", "resume", "device"))
    seed = options.trainer.seed
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("prop_ir", "finetune", options, seed=seed, folder=options.out)
    )
    with record:
        for note in (*said, *inputs.notes, *notes):
            record.say(note)
        if record.writes:
            sides = [(fold, *plan.sides(fold)) for fold in folds]
            resolved = [
                dataclasses.replace(fold, train=tuple(train), val=tuple(val)) for fold, train, val in sides
            ]
            write_folds(record.folder / "folds.json", resolved, seed=seed)

        def save(ranker: Any, tokenizer: Any, folder: Path, facts: Any) -> None:
            if not folder.exists():
                save_ranker(ranker, tokenizer, folder, finetuning_card(options, facts))

        results = []
        for place, fold in enumerate(folds, 1):
            if len(folds) > 1:
                record.say(f"fold {place} of {len(folds)}")
            here = record.folder / f"fold-{place}" if len(folds) > 1 else record.folder
            first = options.run.stem
            results.append(run_fold(plan, fold, here, first=first, writes=record.writes, save=save))
        if record.writes:
            _finish(options, record, task, folds, results)
            print(record.folder)
    return 0


def _folds(options: Options, inputs: "Inputs") -> "list[Fold]":
    """The folds that were asked for; without, one that learns from everything."""
    from nonet.errors import UserError
    from prop_ir.folds import Fold, make_folds, read_folds

    if options.folds_file:
        folds = read_folds(options.folds_file)
        known = {query for fold in folds for query in (*fold.test, *fold.train, *(fold.val or ()))}
        absent = [query for query in known if query not in inputs.topics]
        if len(absent) > len(known) / 5:
            raise UserError(
                f"{options.folds_file}: {len(absent):,} of its {len(known):,} queries are not among the "
                f"topics, such as {min(absent)}"
            )
        return folds
    if options.folds:
        return make_folds(inputs.judged, options.folds, options.trainer.seed)
    return [Fold(inputs.val, tuple(inputs.judged), inputs.val or None)]


def _finish(
    options: Options, record: "Run", task: "Task", folds: "list[Fold]", results: "list[FoldResult]"
) -> None:
    """Pool the test queries of all folds, test the runs, and draw the page."""
    from nonet.files import write_json
    from prop_ir.evaluation import compare, evaluate
    from prop_ir.evaluation_page import as_json, text
    from prop_ir.finetune_report import ALPHA, finetuning_page
    from prop_ir.runs import write_run

    first = options.run.stem
    tested = {query for fold in folds for query in fold.test}
    order = [query for query in task.queries if query in tested]
    pure = {query: ranked for result in results for query, ranked in result.run.items()}
    mixed = {query: ranked for result in results for query, ranked in result.mixed.items()}
    runs: dict[str, Ranked] = {
        first: {query: dict(task.run[query]) for query in order if query in task.run},
        "prop": {query: pure[query] for query in order if query in pure},
        f"prop+{first}": {query: mixed[query] for query in order if query in mixed},
    }
    qrels = {query: dict(task.qrels[query]) for query in order if query in task.qrels}
    evaluation, comparisons = None, []
    if qrels:
        for name in list(runs)[1:]:
            write_run(record.folder / f"{name}.trec", runs[name], name)
        evaluation = evaluate(qrels, runs, options.metrics)
        comparisons = list(compare(evaluation, correction="holm"))
        write_json(record.folder / "metrics.json", as_json(evaluation, comparisons, correction="holm"))
        print(text(evaluation, comparisons, correction="holm", alpha=ALPHA))
    facts = [result.facts for result in results]
    finetuning_page(record.folder, facts, options.metrics[0], evaluation, comparisons).save(
        record.folder / "report.html"
    )
