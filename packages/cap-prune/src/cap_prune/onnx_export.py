"""A model as one ONNX file, compared with torch in onnxruntime (ours).

Inputs `input_ids`, `attention_mask` and, for models that tell two texts apart, `token_type_ids`: (batch,
pieces) int64, both axes free. Outputs as `output_names` says: `logits` (batch, outputs), or `start_logits`
and `end_logits` (batch, pieces), or `last_hidden_state` (batch, pieces, width), float32.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cap_prune.architectures import units_of
from cap_prune.sample_inputs import apart, input_names, output_names, outputs_on, sample_inputs
from cap_prune.units import Units
from cap_prune.widening import widen
from nonet.errors import needs


class _Plain(torch.nn.Module):
    """A model that takes and gives plain tensors, in the order of their names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, input_names(model), output_names(model)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.inputs, values, strict=True)))
        return tuple(found[name] for name in self.outputs)


def write_onnx(model: Any, path: Path) -> float:
    """Write the file and run it.

    Args:
        model: a supported encoder in float32, dense or slim, with head or without.
        path: of the file.

    Returns:
        The largest difference between onnxruntime's outputs and torch's (see `apart`), on a batch of another
        shape than the one that the model was traced with.

    Raises:
        UserError: the packages are not installed.
    """
    runtime: Any = needs("onnxruntime", to="export ONNX", install="cap-prune[onnx]")
    needs("onnxscript", to="export ONNX", install="cap-prune[onnx]")
    plain = _Plain(_without_empty_layers(model)).eval()
    inputs, free = sample_inputs(model), {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of each absent package
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own exporter
            program = torch.onnx.export(
                plain, tuple(inputs.values()), dynamo=True, input_names=list(plain.inputs),
                output_names=list(plain.outputs), dynamic_shapes=((free,) * len(inputs),), verbose=False,
                external_data=False,
            )  # fmt: skip
        program.save(str(path))
    finally:
        quiet.setLevel(level)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    other = sample_inputs(model, rows=5, length=11)
    found = session.run(None, {name: value.numpy() for name, value in other.items()})
    return apart(outputs_on(model, other), [torch.from_numpy(each) for each in found])


def _without_empty_layers(model: Any) -> Any:
    """The model with one unit of zeros in each layer that has none: ONNX cannot reshape empty tensors."""
    live = units_of(model)
    if all(live.heads) and all(live.neurons):
        return model
    return widen(
        model,
        Units(
            tuple(layer or (0,) for layer in live.heads),
            tuple(layer or (0,) for layer in live.neurons),
            live.all_heads,
            live.all_neurons,
        ),
    )
