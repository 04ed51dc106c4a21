"""Models beside each other: their latency at several batches, lengths and numbers of threads (ours)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from cap_prune.latency import Timing, forward, take_turns, texts, with_threads
from cap_prune.loading import ONNX
from nonet.errors import UserError, needs

SPARSE = " (2:4 kernels)"
"""what the name of such a row ends in"""


class Runner(Protocol):
    """Something that can be timed on a batch."""

    def call(self, batch: int, length: int, threads: int) -> Callable[[], Any]:
        """A function without arguments that runs a batch and returns when it is done."""


class TorchRunner:
    """A model of transformers on its device."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name

    def call(self, batch: int, length: int, threads: int) -> Callable[[], Any]:
        """The forward pass; threads are torch's, set by who times it."""
        return forward(self.model, texts(self.model, batch, length, self.name))


class OnnxRunner:
    """An exported graph under onnxruntime on the CPU.

    Raises:
        UserError: onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runtime: Any = needs("onnxruntime", to="time an ONNX model", install="cap-prune[onnx]")

    def call(self, batch: int, length: int, threads: int) -> Callable[[], Any]:
        """A run of a new session with so many threads."""
        import numpy as np

        settings = self._runtime.SessionOptions()
        settings.intra_op_num_threads, settings.log_severity_level = threads, 3
        session = self._runtime.InferenceSession(
            str(self.path), sess_options=settings, providers=["CPUExecutionProvider"]
        )
        ones = np.ones((batch, length), dtype=np.int64)
        ids = np.random.default_rng(0).integers(5, 60, (batch, length), dtype=np.int64)
        given = {each.name: ones for each in session.get_inputs()} | {"input_ids": ids}
        if "token_type_ids" in given:
            given["token_type_ids"] = 0 * ones
        return lambda: session.run(None, given)


def runners(
    names: Sequence[str], device: str = "auto", dtype: str = "fp32", *, sparse: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Runner]:  # fmt: skip
    """Load what is to be timed, by its name.

    Args:
        names: folders or hub names; a folder with `model.onnx` runs under onnxruntime on the CPU.
        device: for models of torch: `auto`, `cpu` or `cuda`.
        dtype: of their weights: `fp32`, `bf16`, `fp16`.
        sparse: beside each model of torch with 2:4 weights, the same model in sparse kernels.
        say: takes a line on each model that `sparse` looked at.

    Raises:
        UserError: no model, one twice, one that cannot be loaded, or `sparse` where there are no kernels.
    """
    from cap_prune.devices import placed
    from cap_prune.loading import load_model

    if not names:
        raise UserError("no model to time: name at least one with --models")
    found: dict[str, Runner] = {}
    for name in names:
        if name in found:
            raise UserError(f"{name} is named twice")
        graph = Path(name) / ONNX
        if graph.is_file():
            found[name] = OnnxRunner(graph)
        else:
            model = placed(load_model(name)[0], device, dtype)
            found[name] = TorchRunner(model, name)
            if sparse:
                found |= _in_sparse_kernels(model, name, say)
    return found


def _in_sparse_kernels(model: Any, name: str, say: Callable[[str], None]) -> dict[str, Runner]:
    """A copy whose 2:4 matrices are compressed, if it has any."""
    from cap_prune.packing import matrix_names
    from cap_prune.semi_structured import use_sparse_kernels

    other, count = copy.deepcopy(model), len(matrix_names(model))
    dense = len(use_sparse_kernels(other))
    if dense == count:
        say(f"{name}: none of its {count} matrices fits the sparse kernels; it is timed as it is alone")
        return {}
    say(f"{name}: {count - dense} of {count} matrices are in sparse kernels in the row {name}{SPARSE}")
    return {name + SPARSE: TorchRunner(other, name)}


def bench(
    models: Mapping[str, Runner],
    *,
    batches: Sequence[int],
    lengths: Sequence[int],
    threads: Sequence[int],
    rounds: int = 7,
    seconds: float = 0.05,
) -> Iterator[dict[str, Any]]:
    """Time models in turns, shape by shape.

    Args:
        models: by name; the first is what the others are compared with.
        batches: texts at a time.
        lengths: pieces of a text, none of them padding.
        threads: CPU threads.
        rounds: turns of each model.
        seconds: least time of one measurement.

    Yields:
        A row for each model and shape: `model`, `batch`, `length`, `threads`, `ms` (median of the rounds),
        `least`, `most`, `texts/s`, `times as fast` as the first with `from` and `to` (None for the
        first itself), `verdict`.
    """
    for count, batch, length in product(threads, batches, lengths):
        with with_threads(count):
            calls = {name: runner.call(batch, length, count) for name, runner in models.items()}
            found = take_turns(calls, rounds=rounds, seconds=seconds)
        for place, (name, timing) in enumerate(found.items()):
            yield {
                "model": name, "batch": batch, "length": length, "threads": count,
                **_row(timing, batch, first=place == 0),
            }  # fmt: skip


def _row(timing: Timing, batch: int, *, first: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ms": timing.median, "least": timing.least, "most": timing.most,
        "texts/s": 1000 * batch / timing.median,
    }  # fmt: skip
    ratios = (None, None, None) if first else (timing.ratio, timing.ratio_low, timing.ratio_high)
    row |= dict(zip(("times as fast", "from", "to"), ratios, strict=True))
    return row | {"verdict": "compared with" if first else timing.verdict}
