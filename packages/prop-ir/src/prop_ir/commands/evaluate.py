"""Score runs against judgements, and test their differences on the same queries."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from prop_ir.evaluation import Evaluation
    from prop_ir.qrels import Qrels
    from prop_ir.runs import Run


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score runs as trec_eval does, over all judged queries, with intervals and paired tests."""

    qrels: Path
    """judgements: TREC's four columns, a BEIR table, a LETOR file, or ir_datasets:NAME"""
    runs: tuple[Path, ...]
    """run files of six columns (also .gz or .zst), or FILE@N: a LETOR file ranked by its feature N"""
    metrics: tuple[str, ...] = ("nDCG@20", "P@20", "MAP", "MRR", "R@100")
    """nDCG (gain: the grade), nDCG-exp (gain: 2^grade - 1), P, MAP, MRR, R, Success; @k counts the first k
    ranks alone, and P, R and Success need it"""
    baseline: Path | None = None
    """run that the others are tested against, one of --runs or a further one; none: all pairs are tested"""
    correction: Literal["holm", "bonferroni", "none"] = "holm"
    """of the t-test's p-values, for the number of pairs of runs"""
    alpha: float = 0.05
    """a star marks corrected p-values below it"""
    count: Literal["judged", "retrieved"] = "judged"
    """which queries count; judged: all of the judgements, with 0 where a run has no results (trec_eval -c);
    retrieved: those that any of the runs has results for"""
    folds: Path | None = None
    """file of folds: its queries count, pooled over all folds"""
    level: float = 0.95
    """of the intervals, 0 to 1"""
    resamples: int = 10_000
    """of the bootstrap and of the randomisation test"""
    seed: int = 0
    """of both"""
    json: Path | None = None
    """write means, tests and notes to this file"""
    per_query: Path | None = None
    """write every query's values to this file, .tsv or .json"""
    out: Path | None = None
    """write a page to this file, .html"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if not self.runs:
            raise UserError("no runs: give at least one run file with --runs")
        if not self.metrics:
            raise UserError("no metrics: give at least one, such as nDCG@20, with --metrics")
        for name in ("alpha", "level"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it lies between 0 and 1")
        if self.resamples < 1:
            raise UserError(f"resamples is {self.resamples}; it is 1 or more")
        if self.per_query and self.per_query.suffix not in (".tsv", ".json"):
            raise UserError(f"--per-query {self.per_query}: name a .tsv or a .json file")
        if self.out and self.out.suffix not in (".html", ".htm"):
            raise UserError(f"--out {self.out}: name an .html file")


def run(options: Options) -> int:
    """Read, score, test, print, and write the files."""
    from nonet.cli.progress import progress
    from nonet.files import write_json, write_text
    from nonet.metrics.ranking import parse_metric
    from prop_ir.evaluation import compare, evaluate, per_query, run_names
    from prop_ir.evaluation_page import as_json, page, text
    from prop_ir.qrels import read_qrels
    from prop_ir.runs import read_run
    from prop_ir.topics import check_ids

    metrics = list(dict.fromkeys(options.metrics))
    for metric in metrics:
        parse_metric(metric)
    paths = list(options.runs)
    if options.baseline is not None and options.baseline not in paths:
        paths.insert(0, options.baseline)
    names = run_names(paths)
    qrels = read_qrels(options.qrels)
    runs = {}
    for name, path in zip(names, paths, strict=True):
        runs[name] = read_run(path)
        check_ids(runs[name], qrels, path)
    evaluation = evaluate(
        qrels, runs, metrics,
        queries=_queries(options, qrels, runs), level=options.level, resamples=options.resamples,
        seed=options.seed,
    )  # fmt: skip
    baseline = None if options.baseline is None else names[paths.index(options.baseline)]
    pairs = len(runs) - 1 if baseline else len(runs) * (len(runs) - 1) // 2
    tests = compare(
        evaluation, baseline=baseline, correction=options.correction, resamples=options.resamples,
        seed=options.seed,
    )  # fmt: skip
    total = pairs * len(metrics)
    comparisons = list(progress(tests, total=total, label="tests", unit="comparisons") if total else tests)
    style: dict[str, Any] = {"correction": options.correction, "alpha": options.alpha}
    print(text(evaluation, comparisons, **style))
    if options.json is not None:
        write_json(options.json, as_json(evaluation, comparisons, correction=options.correction))
    if options.per_query is not None and options.per_query.suffix == ".json":
        write_json(options.per_query, per_query(evaluation))
    elif options.per_query is not None:
        write_text(options.per_query, _table(evaluation))
    if options.out is not None:
        page(evaluation, comparisons, **style).save(options.out)
    for written in filter(None, (options.json, options.per_query, options.out)):
        print(written)
    return 0


def _queries(options: Options, qrels: "Qrels", runs: "dict[str, Run]") -> list[str] | None:
    """The queries that count; None for all judged ones."""
    chosen: list[str] | None = None
    if options.folds is not None:
        from prop_ir.folds import read_folds

        folds = read_folds(options.folds)
        chosen = [query for fold in folds for query in fold if query in qrels]
    if options.count == "retrieved":
        found = {query for ranked in runs.values() for query in ranked}
        chosen = [query for query in (qrels if chosen is None else chosen) if query in found]
    return chosen


def _table(evaluation: "Evaluation") -> str:
    from prop_ir.evaluation import per_query

    lines = ["\t".join(["query", "run", *evaluation.metrics])]
    for row in per_query(evaluation):
        lines.append("\t".join([row["query"], row["run"], *(f"{row[m]:.6f}" for m in evaluation.metrics)]))
    return "".join(f"{line}\n" for line in lines)
