"""How long models take, measured here and now: in turns, with the spread beside the middle (ours).

Models that take turns meet the same disturbances of the machine, so that their ratio holds where each time
alone does not. Times are wall time; the first calls, which set things up, do not count.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonet.errors import UserError

SECONDS = 0.05
"""shorter calls are repeated within one measurement until they take so long together"""
WARM = 2
"""calls of each model before any counts"""


@dataclass(frozen=True)
class Timing:
    """What one model took for one batch, in milliseconds of wall time.

    Attributes:
        median: of the rounds.
        least: the fastest round.
        most: the slowest round.
        ratio: how many times as fast as the first model, median of the rounds' ratios; 1 for the first.
        ratio_low: the least of these ratios.
        ratio_high: the greatest.
    """

    median: float
    least: float
    most: float
    ratio: float = 1.0
    ratio_low: float = 1.0
    ratio_high: float = 1.0

    @property
    def verdict(self) -> str:
        """`faster`, `slower`, or `no difference shown` where the ratios lie on both sides of 1."""
        if self.ratio_low > 1:
            return "faster"
        return "slower" if self.ratio_high < 1 else "no difference shown"


def take_turns(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int = 7, seconds: float = SECONDS
) -> dict[str, Timing]:
    """Time functions against each other.

    Args:
        calls: the functions by name; the first is what the others are compared with. A function returns when
            its work is done.
        rounds: turns of each; in every other round the order is reversed.
        seconds: least time of one measurement.

    Raises:
        UserError: fewer than one round.
    """
    if rounds < 1:
        raise UserError(f"rounds is {rounds}; it is 1 or more")
    repeats = {name: _repeats(call, seconds) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 == 0 else reversed(list(calls)):
            call, count = calls[name], repeats[name]
            start = time.perf_counter()
            for _ in range(count):
                call()
            taken[name].append(1000 * (time.perf_counter() - start) / count)
    first = np.array(taken[next(iter(calls))])
    found = {}
    for name, values in taken.items():
        ratios = first / np.array(values)
        spread = (float(np.median(ratios)), float(ratios.min()), float(ratios.max()))
        found[name] = Timing(float(np.median(values)), min(values), max(values), *spread)
    return found


def time_models(
    models: Mapping[str, Any],
    *,
    batch: int,
    length: int,
    rounds: int = 7,
    threads: int | None = None,
    seconds: float = SECONDS,
) -> dict[str, Timing]:
    """Time the forward pass of models on random texts without padding.

    Args:
        models: of transformers by name, all on one device; they are put in evaluation mode.
        batch: texts at a time.
        length: pieces of each text.
        rounds: turns of each model.
        threads: CPU threads of torch; None: as it is set.
        seconds: least time of one measurement.

    Raises:
        UserError: the length is over a model's positions, or a number is below 1.
    """
    for name, value in (("batch", batch), ("length", length), ("threads", threads or 1)):
        if value < 1:
            raise UserError(f"{name} is {value}; it is 1 or more")
    calls = {name: forward(model, texts(model, batch, length, name)) for name, model in models.items()}
    with with_threads(threads):
        return take_turns(calls, rounds=rounds, seconds=seconds)


def texts(model: Any, batch: int, length: int, name: str = "the model") -> dict[str, Any]:
    """Random pieces (batch, length) int64 on the model's device, and their mask of ones.

    Raises:
        UserError: the model has fewer positions.
    """
    import torch

    config = model.config
    # RoBERTa's positions begin after the padding's number
    first = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
    positions = config.max_position_embeddings - first
    if length > positions:
        raise UserError(f"length {length} is more than the {positions} positions of {name}")
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(5, max(6, config.vocab_size), (batch, length), generator=draws)
    ids = ids.clamp_(max=config.vocab_size - 1).to(next(model.parameters()).device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def forward(model: Any, inputs: dict[str, Any]) -> Callable[[], Any]:
    """A call that runs the model and returns when its device is done."""
    import torch

    model.eval()
    cuda = next(model.parameters()).device.type == "cuda"

    @torch.inference_mode()
    def call() -> Any:
        found = model(**inputs)
        if cuda:
            torch.cuda.synchronize()
        return found

    return call


@contextlib.contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """Have torch use so many CPU threads inside the block; None leaves them as they are."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _repeats(call: Callable[[], Any], seconds: float) -> int:
    for _ in range(WARM):
        call()
    start = time.perf_counter()
    call()
    return max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))
