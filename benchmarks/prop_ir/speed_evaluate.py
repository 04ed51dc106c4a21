"""`make bench-prop-ir`: values of ranking metrics for every query, against pytrec_eval in one process.

Both start from dicts of judgements and of a run, and give every query's values; rows that say so let
pytrec_eval take the judgements in before the clock starts, as who scores many runs would. The values are
equal to 1e-9, which is checked before anything is timed. Judgements have no negative grades, with which
pytrec_eval 0.5.11 writes outside its memory. Source: ours.
"""

from typing import Any

import numpy as np
from benchmarks.harness import Row, save, table, versus

from nonet.errors import needs
from nonet.metrics.ranking import score_run

SEED = 0
DOCUMENTS = 1_000_000  # of the made-up collection
JUDGED = 60  # documents of a query, a third of them relevant; most are in the run
METRICS = ["nDCG@20", "P@20", "MAP", "MRR", "R@100"]
PEER = ["ndcg_cut_20", "P_20", "map", "recip_rank", "recall_100"]
CASES = {
    "1,000 queries x 1,000 documents": (1000, 1000, None),
    "1,000 queries x 1,000 documents, scores of two digits": (1000, 1000, 2),
    "5,000 queries x 100 documents": (5000, 100, None),
}
"""name -> queries, documents of each, digits of the scores (few: many ties)"""

Judgements = dict[str, dict[str, int]]
Scores = dict[str, dict[str, float]]


def made_up(queries: int, depth: int, digits: int | None) -> tuple[Judgements, Scores]:
    """Judgements and a run: random scores for random documents."""
    rng = np.random.default_rng(SEED)
    qrels, run = {}, {}
    for query in map(str, range(queries)):
        names = [f"D{number:07d}" for number in rng.choice(DOCUMENTS, depth + JUDGED, replace=False).tolist()]
        scores = rng.random(depth)
        scores = scores if digits is None else np.round(scores, digits)
        run[query] = dict(zip(names, scores.tolist(), strict=False))
        judged = rng.choice(depth + JUDGED // 3, min(JUDGED, depth), replace=False).tolist()
        grades = rng.choice([0, 0, 1, 2], len(judged)).tolist()
        qrels[query] = {names[place]: grade for place, grade in zip(judged, grades, strict=True)}
    return qrels, run


def contest(name: str, qrels: Judgements, run: Scores, *, before: bool, tiny: bool) -> Row:
    """Time both on the same run; `before`: pytrec_eval has the judgements before the clock starts."""
    package: Any = needs("pytrec_eval", to="compare with it", install="pytrec-eval-terrier")
    wanted = {".".join(name.rsplit("_", 1)) if name[-1].isdigit() else name for name in PEER}
    evaluator = package.RelevanceEvaluator(qrels, wanted)

    def same(ours: Any, theirs: Any) -> bool | str:
        worst = max(
            abs(ours[metric][query] - theirs[query][measure])
            for metric, measure in zip(METRICS, PEER, strict=True)
            for query in qrels
        )
        return worst < 1e-9 or f"largest difference {worst}"

    row = versus(
        name,
        lambda: score_run(qrels, run, METRICS),
        lambda: (evaluator if before else package.RelevanceEvaluator(qrels, wanted)).evaluate(run),
        same,
        rounds=1 if tiny else 5,
        min_seconds=0 if tiny else 0.2,
        unit="queries",
        per_call=len(qrels),
    )
    return row | {"queries": len(qrels), "metrics": ", ".join(METRICS)}


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    rows = []
    for name, (queries, depth, digits) in CASES.items():
        qrels, run = made_up(5 if tiny else queries, 50 if tiny else depth, digits)
        for before in (False, True):
            said = "; pytrec_eval has taken in the judgements" if before else ""
            rows.append(contest(name + said, qrels, run, before=before, tiny=tiny))
    print(table(rows))
    if not tiny:
        versions = ("numpy", "pytrec-eval-terrier")
        save("prop-ir", rows, table="evaluate", versions=versions, data="made-up runs", seed=SEED)
    return rows


if __name__ == "__main__":
    main()
