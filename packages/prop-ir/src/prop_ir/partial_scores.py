"""Scores that are kept while a long re-ranking goes on, so that an interrupted one can be taken up (ours).

A line of JSON for every finished chunk of queries, behind a first line with a key: a hash of the model's
weights and of everything that is scored. A file with another key is of another command, and is begun anew.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonet.files import replacing
from prop_ir.rerank_options import ScoreOptions
from prop_ir.reranking import score_candidates
from prop_ir.runs import Run
from prop_ir.scoring import Ids, Scorer

CHUNK = 2048
"""candidates that are scored between two lines"""


class PartialScores:
    """The file of finished chunks beside a run that is being made.

    Args:
        out: the run; the file is `OUT.part.jsonl`.
        key: what tells this work from any other.

    Attributes:
        done: what is there already: number of the chunk -> scores.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.path = out.with_name(out.name + ".part.jsonl")
        self.done: dict[int, Run] = {}
        whole = self._read(key)
        if whole is None:
            with replacing(self.path) as part:
                part.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        else:
            os.truncate(self.path, whole)

    def _read(self, key: str) -> int | None:
        """Bytes of the lines that count; None where the file is of other work, or there is none."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        try:
            if not lines or json.loads(lines[0])["key"] != key:
                return None
            for line in lines[1:]:
                chunk = json.loads(line)
                self.done[int(chunk["chunk"])] = chunk["scores"]
        except (ValueError, KeyError, TypeError):
            self.done = {}
            return None
        return sum(map(len, lines))

    def add(self, number: int, scores: Run) -> None:
        """Keep a finished chunk."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"chunk": number, "scores": scores}) + "\n")

    def remove(self) -> None:
        """The run is written."""
        self.path.unlink(missing_ok=True)


def score_resumably(
    scorer: Scorer,
    queries: Mapping[str, Ids],
    documents: Mapping[str, Ids],
    candidates: Mapping[str, Iterable[str]],
    options: ScoreOptions,
    out: Path,
    *,
    chunk: int = CHUNK,
    advance: Callable[[int], Any] | None = None,
) -> tuple[Run, PartialScores]:
    """`score_candidates` chunk by chunk, with what an interrupted call left; the result is the same.

    Args:
        scorer: the model.
        queries: pieces of each query.
        documents: pieces of each document.
        candidates: query -> documents from the top.
        options: depth and passages.
        out: the run that is being made; see `PartialScores`.
        chunk: candidates of a chunk.
        advance: is told how many pairs were scored or found.

    Returns:
        The scores, and the file, which is to be removed once the run is written.
    """
    names = list(candidates)
    size = max(1, chunk // options.depth)
    parts = [names[first : first + size] for first in range(0, len(names), size)]
    key = fingerprint(scorer, queries, documents, candidates, options, chunk)
    kept = PartialScores(out, key)
    found: Run = {}
    for number, part in enumerate(parts):
        if number in kept.done:
            scores = kept.done[number]
            if advance is not None:
                advance(sum(map(len, scores.values())))
        else:
            some = {name: candidates[name] for name in part}
            scores = score_candidates(scorer, queries, documents, some, options, advance=advance)
            kept.add(number, scores)
        found |= scores
    return found, kept


def fingerprint(
    scorer: Scorer,
    queries: Mapping[str, Ids],
    documents: Mapping[str, Ids],
    candidates: Mapping[str, Iterable[str]],
    options: ScoreOptions,
    *facts: Any,
) -> str:
    """SHA-256 of a model's weights and of everything that it is to score."""
    total = hashlib.sha256()

    def add(*values: Any) -> None:
        total.update(json.dumps(values).encode() + b"\n")

    add(
        scorer.max_length,
        scorer.batch,
        str(scorer.dtype),
        scorer.ranker.device.type,
        type(scorer.ranker).__name__,
    )
    add(options.depth, options.passages, options.window, options.stride, *facts)
    for name, weight in sorted(scorer.ranker.state_dict().items()):
        add(name, list(weight.shape), str(weight.dtype))
        total.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    seen: set[str] = set()
    for query, ranked in candidates.items():
        top = list(ranked)[: options.depth]
        add(query, top)
        total.update(np.asarray(queries[query], np.int64).tobytes())
        for document in top:
            if document in documents and document not in seen:
                seen.add(document)
                add(document)
                total.update(np.asarray(documents[document], np.int64).tobytes())
    return total.hexdigest()
