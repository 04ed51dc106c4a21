"""Put a run's candidates in a model's order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prop_ir.rerank_options import InputOptions, ScoreOptions, part


@dataclass(frozen=True, kw_only=True)
class Options(ScoreOptions, InputOptions):
    """Re-rank candidates, zero-shot or fine-tuned; an interrupted run goes on when given again."""

    model: str
    """folder of a re-ranker with its tokenizer, or a hub name such as owner/name"""
    out: Path
    """run file, also .gz or .zst; while it is made, finished scores are in OUT.part.jsonl"""
    interpolate: float = 0.0
    """weight of the first stage in the sum of both scores, normalised query by query, 0..1; 0: the model
    alone"""
    normalise: Literal["z", "min-max"] = "z"
    """before the sum; z: mean 0 and deviation 1; min-max: from 0 to 1"""
    qrels: Path | None = None
    """judgements, to check that run and topics number their queries as these do; nothing is scored"""
    tag: str = "prop-ir"
    """name of the run, in its last column"""
    init_head: bool = False
    """draw a ranking head where the model has none; its scores are random until it is trained"""
    seed: int = 0
    """of that head"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        part(self, ScoreOptions)
        if not 0 <= self.interpolate <= 1:
            raise UserError(f"interpolate is {self.interpolate:g}; it lies in [0, 1]")


def run(options: Options) -> int:
    """Read, score, arrange, write; counts go to standard error."""
    import sys

    from nonet.cli.progress import progress
    from prop_ir.model import load_ranker
    from prop_ir.partial_scores import score_resumably
    from prop_ir.ranking_inputs import read_inputs, read_task
    from prop_ir.reranking import arrange
    from prop_ir.runs import write_run
    from prop_ir.scoring import Scorer

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    inputs = read_inputs(options, options.qrels)
    head: Literal["keep", "require"] = "keep" if options.init_head else "require"
    ranker, tokenizer = load_ranker(options.model, head=head, seed=options.seed, say=say)
    score = part(options, ScoreOptions)
    scorer = Scorer(
        ranker, tokenizer, max_length=score.max_length, batch=score.batch, device=score.device,
        precision=score.precision,
    )  # fmt: skip
    task, notes = read_task(inputs, options, score, tokenizer, model=options.model)
    for note in (*inputs.notes, *notes):
        say(note)
    total = sum(
        name in task.documents for ranked in task.run.values() for name in list(ranked)[: score.depth]
    )
    known = total if score.passages == "first" else None
    with progress(total=known, label="scoring", unit="pairs") as bar:  # type: ignore[var-annotated]
        scores, kept = score_resumably(
            scorer, task.queries, task.documents, task.run, score, options.out, advance=bar.advance
        )
    ranked = arrange(task.run, scores, weight=options.interpolate, how=options.normalise)
    write_run(options.out, ranked | inputs.without, options.tag)
    kept.remove()
    below = sum(map(len, ranked.values())) - total
    print(f"{options.out}: {len(ranked):,} queries, {total:,} candidates re-ranked, {below:,} below them")
    return 0
