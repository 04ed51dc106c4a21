"""What re-ranking and fine-tuning read: queries, judgements, candidates and their word pieces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from prop_ir.collections import Collection
from prop_ir.document_pieces import WHOLE, candidates_of, pieces_of, scored_documents
from prop_ir.groups import Task
from prop_ir.inputs import PairTemplate
from prop_ir.options import LEAST_DOCUMENT
from prop_ir.qrels import Qrels, read_qrels
from prop_ir.rerank_options import InputOptions, ScoreOptions
from prop_ir.runs import Run, read_run
from prop_ir.store import is_store
from prop_ir.topics import check_ids, read_topics

LEAST_KNOWN = 0.8
"""share of a run's queries that have to be among the topics"""
SHOWN = 5


@dataclass(frozen=True)
class Inputs:
    """Queries, candidates and judgements, as they were read."""

    topics: dict[str, str]
    run: Run
    """candidates of the queries that are among the topics"""
    qrels: Qrels
    without: Run
    """candidates of other queries, which nothing can be done about"""
    notes: tuple[str, ...]
    val: tuple[str, ...] = ()
    """queries that choose the weights, if they were named apart"""

    @property
    def judged(self) -> list[str]:
        """Queries with judgements, in the topics' order, without those of `val`."""
        apart = set(self.val)
        return [query for query in self.topics if query in self.qrels and query not in apart]

    def joined(self, val: "Inputs") -> "Inputs":
        """These inputs with other queries for validation.

        Raises:
            UserError: a query is in both.
        """
        both = [query for query in val.topics if query in self.topics and query in val.run]
        if both:
            raise UserError(
                f"{len(both):,} validation queries are training queries, too ({_some(dict.fromkeys(both))})"
            )
        return Inputs(
            val.topics | self.topics,
            self.run | val.run,
            self.qrels | {query: grades for query, grades in val.qrels.items() if query in val.run},
            self.without,
            self.notes + val.notes,
            tuple(query for query in val.run if query in val.qrels),
        )


def read_inputs(options: InputOptions, qrels: Path | None) -> Inputs:
    """Read and compare topics, run and judgements; look whether the collection is there.

    Raises:
        UserError: a file is missing or broken, or they number their queries in different ways.
    """
    topics = read_topics(options.topics, options.field, options.number_topics)
    run = read_run(options.run)
    judged = read_qrels(qrels) if qrels else {}
    known = {query: ranked for query, ranked in run.items() if query in topics}
    without = {query: ranked for query, ranked in run.items() if query not in topics}
    if len(known) < LEAST_KNOWN * len(run):
        raise UserError(
            f"{options.run}: only {len(known):,} of its {len(run):,} queries are among the topics of "
            f"{options.topics}; it has {_some(run)}, the topics have {_some(topics)}: if the run's are "
            "numbered by position, give --number-topics position"
        )
    if judged:
        check_ids(run, judged, options.run)
    if not (len(options.corpus) == 1 and options.corpus[0].is_dir() and is_store(options.corpus[0])):
        Collection(options.corpus, options.read)  # names what is missing before a model is loaded
    notes = []
    if without:
        notes.append(
            f"{len(without):,} queries of the run are not among the topics ({_some(without)}): "
            "they keep the first stage's order"
        )
    return Inputs(topics, known, judged, without, tuple(notes))


def read_task(
    inputs: Inputs,
    options: InputOptions,
    score: ScoreOptions,
    tokenizer: Any,
    *,
    model: str,
    relevant: bool = False,
) -> tuple[Task, list[str]]:
    """Word pieces of the queries and of the candidates that are scored.

    Args:
        inputs: what was read.
        options: where the collection is.
        score: depth, length and passages.
        tokenizer: of the model.
        model: its name, for messages.
        relevant: also of relevant documents that are no candidates.

    Returns:
        The task, and what there is to say: missing documents, queries that are cut.
    """
    queries = pieces_of(inputs.topics, tokenizer)
    longest = max(map(len, queries.values()), default=0)
    room, _ = PairTemplate.of(tokenizer).fit(longest, LEAST_DOCUMENT, score.max_length)
    long = [query for query in inputs.run if len(queries[query]) > room]
    notes = []
    if long:
        notes.append(
            f"warning: {len(long):,} queries ({_some(dict.fromkeys(long))}) are cut: with --max-length "
            f"{score.max_length} a query has up to {room} pieces, and the document has the others"
        )
    most = score.max_length if score.passages == "first" else WHOLE
    ids = scored_documents(inputs.run, score.depth, inputs.qrels if relevant else None)
    found = candidates_of(options.corpus, ids, tokenizer, name=model, most=most, read=options.read)
    return Task(queries, found.pieces, inputs.run, inputs.qrels), [*notes, *found.notes]


def _some(names: Mapping[str, object]) -> str:
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
