"""The scores of a level: which examples they are summed over, and how far they can be trusted (ours).

The released code goes over the whole training set at each level, a third of its time. A sample ranks nearly
alike; how nearly is measured on the way, by ranking with each half of it apart.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from cap_prune.criteria import CRITERIA, UnitScores
from cap_prune.evaluating import plain_batches
from cap_prune.examples import Examples
from cap_prune.objective import Objective
from nonet.data.batching import BucketedBatches, generator
from nonet.metrics.correlation import spearman

SUMMED = ("first-order",)
"""criteria whose scores of two parts of the data may be added"""


class Importance(NamedTuple):
    """Scores and how well two halves of the examples agree on them."""

    scores: UnitScores
    agreement: dict[str, float]
    """Spearman correlation of the halves' normalised scores, of `heads` and `neurons`; empty where the
    criterion is no sum over examples or there are less than two batches"""


def importance(
    model: Any,
    examples: Examples,
    objective: Objective,
    method: str,
    *,
    pad_id: int,
    batch: int,
    samples: int | None = None,
    bucket: bool = True,
    seed: int = 0,
    first: int = 0,
    bf16: bool = False,
) -> Importance:
    """Score every live unit of a model.

    Args:
        model: on the device to work on.
        examples: of the training side.
        objective: the complete training loss.
        method: a name in `criteria.CRITERIA`.
        pad_id: the tokenizer's number for padding.
        batch: examples at a time; the first-order score depends on it, as absolute values are a batch's.
        samples: so many examples, drawn by the seed; None: all.
        bucket: batches of similar lengths; else all in their own order, as released.
        seed: of the run.
        first: step of the run that the contrast's draws begin at.
        bf16: compute in mixed precision.
    """
    places = chosen_examples(len(examples), samples, seed)
    parts = _batches(examples.lengths[places], batch, bucket, seed)
    order = [_share([int(place) for place in places[part]]) for part in parts]
    device = next(model.parameters()).device

    def score(some: list[list[int]], number: int) -> UnitScores:
        def batches() -> Iterator[Any]:
            for each in some:
                yield from plain_batches(examples, pad_id, batch=len(each), device=device, order=each)

        def loss(rows: Any, place: int) -> Any:
            with _mixed(device.type, bf16):
                return objective.loss(model, rows, first + number + place)

        return CRITERIA[method](model, batches(), loss)

    if method not in SUMMED or len(order) < 2:
        return Importance(score(order, 0), {})
    half = len(order) // 2
    one, other = score(order[:half], 0), score(order[half:], half)
    together = UnitScores(*(
        [a + b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in zip(one, other, strict=True)
    ))  # fmt: skip
    return Importance(together, agreement(one, other))


def chosen_examples(count: int, samples: int | None, seed: int) -> Any:
    """(samples or count,) int64, ascending: the examples that a level is scored on, the same at each."""
    if samples is None or samples >= count:
        return np.arange(count)
    return np.sort(generator(seed, "importance").permutation(count)[:samples])


def agreement(one: UnitScores, other: UnitScores) -> dict[str, float]:
    """Spearman's correlation of two scores of the same units, normalised in each layer as for the choice."""
    found = {}
    for name in UnitScores._fields:
        flat = [
            np.concatenate([_unit(layer.double().cpu().numpy()) for layer in getattr(each, name)])
            for each in (one, other)
        ]
        if len(flat[0]) > 1 and all(np.ptp(side) > 0 for side in flat):
            found[name] = float(spearman(*(side.tolist() for side in flat)))
    return found


def _share(places: list[int]) -> list[int]:
    """This process's part of a batch, which criteria and contrast put together again; all of a tiny one."""
    import torch.distributed as distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return places
    rank, world = distributed.get_rank(), distributed.get_world_size()
    return places[rank::world] if len(places) >= world else places


def _unit(values: Any) -> Any:
    return values / (np.linalg.norm(values) + 1e-20)


def _batches(lengths: Any, batch: int, bucket: bool, seed: int) -> list[Any]:
    if bucket:
        return BucketedBatches(lengths, batch=min(batch, len(lengths)), seed=seed).epoch(0)
    return [np.arange(at, min(at + batch, len(lengths))) for at in range(0, len(lengths), batch)]


def _mixed(device: str, bf16: bool) -> AbstractContextManager[Any]:
    import torch

    return torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
