"""A run's candidates in a model's order, and what stays below them (spec: PROP, section 10).

Candidates beyond the depth, and those whose text is missing, keep the first stage's order below all others.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nonet.errors import UserError
from prop_ir.interpolation import Normalise, mixed
from prop_ir.passages import windows
from prop_ir.rerank_options import ScoreOptions
from prop_ir.runs import Run, steps_down
from prop_ir.scoring import Ids, Scorer


def score_candidates(
    scorer: Scorer,
    queries: Mapping[str, Ids],
    documents: Mapping[str, Ids],
    candidates: Mapping[str, Iterable[str]],
    options: ScoreOptions | None = None,
    *,
    advance: Callable[[int], Any] | None = None,
) -> Run:
    """The model's scores of candidates.

    Args:
        scorer: the model.
        queries: pieces of each query.
        documents: pieces of each document; candidates that are not in it have no score.
        candidates: query -> documents from the top; the first `options.depth` count.
        options: depth and passages; model, batch and device are the scorer's.
        advance: is told how many pairs (windows count each) were scored.

    Returns:
        query -> document -> score, in the order of the candidates.

    Raises:
        UserError: a score is not finite; the text names query and document.
    """
    options = options or ScoreOptions()
    names = list(candidates)
    owners: list[tuple[str, str]] = []
    texts: list[Ids] = []
    pairs: list[tuple[int, int]] = []
    owner_of: list[int] = []
    text_of: dict[str, int] = {}
    for number, query in enumerate(names):
        for document in list(candidates[query])[: options.depth]:
            pieces = documents.get(document)
            if pieces is None:
                continue
            if options.passages == "first":
                if document not in text_of:
                    text_of[document] = len(texts)
                    texts.append(pieces)
                parts = [text_of[document]]
            else:
                size = len(queries[query]), len(pieces)
                room = max(scorer.template.fit(*size, scorer.max_length)[1], 1)
                cut = windows(len(pieces), min(options.window or room, room), options.stride)
                parts = list(range(len(texts), len(texts) + len(cut)))
                texts += [pieces[part] for part in cut]
            pairs += [(number, part) for part in parts]
            owner_of += [len(owners)] * len(parts)
            owners.append((query, document))
    values = scorer.score([queries[query] for query in names], texts, pairs, advance=advance)
    best = np.full(len(owners), -np.inf)
    np.maximum.at(best, np.array(owner_of, np.int64), np.where(np.isnan(values), np.inf, values))
    found: Run = {query: {} for query in names}
    for (query, document), value in zip(owners, best.tolist(), strict=True):
        if not np.isfinite(value):
            raise UserError(
                f"query {query}, document {document}: the model's score is not a finite number; "
                "its weights are damaged, or its training diverged"
            )
        found[query][document] = value
    return found


def arrange(
    run: Mapping[str, Mapping[str, float]],
    scores: Mapping[str, Mapping[str, float]],
    *,
    weight: float = 0.0,
    how: Normalise = "z",
) -> Run:
    """The final ranking: scored candidates by score, then the others in the first stage's order.

    Args:
        run: the first stage, each query's documents from the top.
        scores: the model's, for some of them.
        weight: of the first stage in a normalised sum, 0..1; 0: the model's scores as they are.
        how: z or min-max; see `interpolation.normalised`.

    Returns:
        All queries and documents of `run`, in rank order, with scores that decrease strictly, also as 32-bit
        floats: equal ones keep the first stage's order.
    """
    ranked: Run = {}
    for query, first in run.items():
        own = scores.get(query, {})
        above = mixed(first, {name: own[name] for name in first if name in own}, weight, how)
        order = sorted(above, key=lambda name: -above[name])  # stable: ties by first-stage rank
        rest = [name for name in first if name not in above]
        values = [above[name] for name in order]
        lowest = values[-1] if values else float(len(rest))
        values += [lowest - 1 - place for place in range(len(rest))]
        numbers = steps_down(dict(zip([*order, *rest], values, strict=True)), f"query {query}")
        ranked[query] = {name: float(number) for name, number in numbers.items()}
    return ranked


def rerank(
    scorer: Scorer,
    queries: Mapping[str, Ids],
    documents: Mapping[str, Ids],
    run: Mapping[str, Mapping[str, float]],
    options: ScoreOptions | None = None,
    *,
    weight: float = 0.0,
    how: Normalise = "z",
) -> Run:
    """`score_candidates` and `arrange` in one; queries without pieces keep the first stage's order."""
    chosen = {query: ranked for query, ranked in run.items() if query in queries}
    return arrange(run, score_candidates(scorer, queries, documents, chosen, options), weight=weight, how=how)
