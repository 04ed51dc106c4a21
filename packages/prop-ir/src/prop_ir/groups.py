"""Training examples of fine-tuning: a query with one relevant document and others among its candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from prop_ir.inputs import Joined, PairTemplate

Ids = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """Queries, documents, candidates and judgements in memory."""

    queries: Mapping[str, Ids]
    """query -> pieces without special ones"""
    documents: Mapping[str, Ids]
    """document -> pieces likewise; candidates without any stay unread"""
    run: Mapping[str, Mapping[str, float]]
    """query -> document -> first-stage score, from the top"""
    qrels: Mapping[str, Mapping[str, int]]
    """query -> document -> grade; 1 and more is relevant"""


class Choice(NamedTuple):
    """What the groups of one query are drawn from."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


class Group(NamedTuple):
    """One example."""

    query: str
    documents: tuple[str, ...]
    """the relevant one first"""


def choices(
    task: Task,
    queries: Sequence[str],
    *,
    depth: int,
    positives: Literal["candidates", "judged"] = "candidates",
) -> tuple[list[Choice], list[str]]:
    """Positive and negative documents of each query.

    Args:
        task: run, judgements and documents.
        queries: which.
        depth: candidates from the top that count.
        positives: judged: relevant documents that the first stage missed count, too, if their text is there.

    Returns:
        The choices, and the queries that have no positive or no negative.
    """
    found, without = [], []
    for query in queries:
        grades = task.qrels.get(query, {})
        top = [name for name in list(task.run.get(query, ()))[:depth] if name in task.documents]
        good = [name for name in top if grades.get(name, 0) > 0]
        if positives == "judged":
            seen = set(good)
            good += [
                name for name, g in grades.items() if g > 0 and name in task.documents and name not in seen
            ]
        bad = [name for name in top if grades.get(name, 0) <= 0]
        if query in task.queries and good and bad:
            found.append(Choice(query, tuple(good), tuple(bad)))
        else:
            without.append(query)
    return found, without


class GroupData:
    """Groups by (epoch, index); each follows from these and the seed alone.

    Args:
        choices: what to draw from.
        negatives: of each group; a query with fewer has some of them twice.
        each: an index for every positive, or for every query with a positive that is drawn.
        seed: of the draws.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        negatives: int,
        each: Literal["positive", "query"] = "positive",
        seed: int,
    ) -> None:
        self.negatives, self.seed = negatives, seed
        self.items: list[tuple[Choice, int | None]] = [
            (choice, place)
            for choice in choices
            for place in (range(len(choice.positives)) if each == "positive" else [None])
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Group:
        epoch, index = key
        (query, good, bad), place = self.items[index]
        random = generator(self.seed, "group", epoch, index)
        chosen = int(random.integers(len(good))) if place is None else place
        few = len(bad) < self.negatives
        drawn = random.choice(len(bad), self.negatives, replace=few)
        return Group(query, (good[chosen], *(bad[i] for i in drawn.tolist())))


class GroupCollate:
    """Groups as a batch for a ranker.

    Args:
        task: pieces of queries and documents.
        template: joins them.
        max_length: pieces of a row.
        pad: the padding piece.
    """

    def __init__(self, task: Task, template: PairTemplate, *, max_length: int, pad: int) -> None:
        self.task, self.template, self.max_length, self.pad = task, template, max_length, pad

    def __call__(self, groups: list[Group]) -> dict[str, Any]:
        """`input_ids`, `token_type_ids`, `attention_mask`: (groups * size, L) int64; `ids`: the queries."""
        import torch

        rows: list[Joined] = [
            self.template.join(self.task.queries[group.query], self.task.documents[document], self.max_length)
            for group in groups
            for document in group.documents
        ]
        most = max(len(row.ids) for row in rows)
        table = np.zeros((3, len(rows), most), np.int64)
        table[0] = self.pad
        for place, row in enumerate(rows):
            length = len(row.ids)
            table[0, place, :length], table[1, place, :length] = row.ids, row.segments
            table[2, place, :length] = 1
        ids, segments, mask = torch.from_numpy(table).unbind(0)
        return {
            "input_ids": ids,
            "token_type_ids": segments,
            "attention_mask": mask,
            "ids": [group.query for group in groups],
        }
