"""What a fine-tuning leaves to read: the card of each model, and the page of the run (ours)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.options import dump
from nonet.report import Page
from nonet.report.run_page import curves
from nonet.runs import read_metrics, read_record
from nonet.training.model_card import ModelCard, Score
from prop_ir.cards import LIMITS, LOAD
from prop_ir.evaluation import Comparison, Evaluation
from prop_ir.evaluation_page import page as evaluation_page

if TYPE_CHECKING:
    from prop_ir.commands.finetune import Options

ALPHA = 0.05
UNSEEN = "each query is ranked by a model that was not trained on it"
SEEN = "these queries chose the weights, others may fare a little worse"


def finetuning_card(options: "Options", facts: Mapping[str, Any]) -> str:
    """README.md of a fine-tuned re-ranker.

    Args:
        options: of the run.
        facts: of its fold; see `cross_validation.run_fold`.
    """
    metric = options.metrics[0]
    value = facts.get(f"held-out {metric} after")
    held = facts.get("held-out queries", 0)
    scores = [] if value is None else [Score(metric, value, data="held-out training queries", count=held)]
    queries = facts.get("training queries", 0)
    return ModelCard(
        title="Fine-tuned re-ranker",
        what=(
            f"A cross-encoder fine-tuned on {queries:,} judged queries: groups of a relevant and "
            f"{options.negatives} other candidates of a first stage, {options.loss} loss."
        ),
        tags=("text-ranking", "prop", "cross-encoder"),
        base=str(options.model),
        data=f"Judgements {options.qrels.name}, candidates {options.run.name}.",
        options=dump(options),
        scores=scores,
        limits=(
            "The score is of the queries that chose the weights: a little high for other queries.",
            LIMITS[0],
        ),
        load=LOAD,
    ).text()


def finetuning_page(
    folder: Path,
    folds: Sequence[Mapping[str, Any]],
    metric: str,
    evaluation: Evaluation | None,
    comparisons: Sequence[Comparison],
) -> Page:
    """The page of a run: how it tests, what each fold came to, how it went.

    Args:
        folder: of the run; a fold's numbers are in `fold-1`, `fold-2`, ...
        folds: the facts of each fold.
        metric: what chose the weights.
        evaluation: of the first stage and both runs on the test queries.
        comparisons: between them.
    """
    if evaluation is None:
        page = Page("Fine-tuning")
    else:
        page = evaluation_page(evaluation, comparisons, correction="holm", alpha=ALPHA)
        page.title = "Fine-tuning"
        page.subtitle += f"; {UNSEEN if len(folds) > 1 else SEEN}"
    page.text("# Folds" if len(folds) > 1 else "# Training")
    columns = [f"fold {place}" for place in range(1, len(folds) + 1)] if len(folds) > 1 else ["value"]
    page.table(
        [
            {"": name, **{column: facts[name] for column, facts in zip(columns, folds, strict=True)}}
            for name in folds[0]
        ]
    )
    lines: dict[str, dict[str, Any]] = {}
    for place in range(1, len(folds) + 1):
        here = folder / f"fold-{place}" if len(folds) > 1 else folder
        for name, series in curves(read_metrics(here)).items():
            for side, points in series.items():
                if name in ("loss", metric):
                    lines.setdefault(f"{side} {name}", {})[f"fold {place}"] = points
    for name, series in lines.items():
        page.lines(name, series, x="step", y=name)
    page.text("# Command\n\nOptions, versions and machine are in `options.yaml` and `run.json`.")
    return page.text(f"```\n{read_record(folder)['sessions'][-1]['command']}\n```")
