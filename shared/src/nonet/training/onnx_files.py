"""Modules of torch as ONNX files, and what onnxruntime makes of them (ours)."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FREE = torch.export.Dim.DYNAMIC  # an axis whose length the file leaves open


def write_onnx(
    part: nn.Module, example: tuple[Tensor, ...], path: Path, *, inputs: Sequence[str],
    outputs: Sequence[str], shapes: tuple[Any, ...],
) -> None:  # fmt: skip
    """Write a module as one file; it needs onnxscript, of which `nonet.errors.needs` tells beforehand.

    Args:
        part: in evaluation mode, float32, on the CPU; takes and gives plain tensors.
        example: what it takes; free axes are at least 2 long.
        path: of the file.
        inputs: their names.
        outputs: names of what it gives.
        shapes: for each input its free axes, such as {0: FREE}.
    """
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of each absent package
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own exporter
            warnings.simplefilter("ignore", FutureWarning)
            program: Any = torch.onnx.export(
                part, example, dynamo=True, input_names=list(inputs), output_names=list(outputs),
                dynamic_shapes=shapes, verbose=False, external_data=False,
            )  # fmt: skip
        program.save(str(path))
    finally:
        quiet.setLevel(level)


def run_onnx(path: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file gives by name, computed by onnxruntime on the CPU.

    Args:
        path: of the file.
        inputs: by name, on the CPU.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
    return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}
