"""The card of an exported model: README.md of its folder (ours)."""

from collections.abc import Sequence
from typing import Any

from cap_prune.architectures import units_of
from cap_prune.sample_inputs import input_names, output_names
from nonet.training.model_card import ModelCard

_WHAT = {
    "slim": "Heads and neurons that were pruned are gone from its matrices: {kept}.",
    "dense-zero": "A plain transformers model, zeros where heads and neurons were pruned: {kept} are live.",
    "csr": "The layers' matrices are stored as compressed rows in packed.safetensors; {kept} are there.",
    "2:4": "The layers' matrices have two zeros in every four weights, stored without them in "
    "packed.safetensors; {kept} are there.",
    "onnx": "An ONNX graph, model.onnx, for onnxruntime; {kept} are in it.",
}
_OURS = """
import cap_prune

model, tokenizer = cap_prune.load_model("{name}")
"""
_SPARSE = """
import cap_prune

model, tokenizer = cap_prune.load_model("{name}")
model = model.half().cuda()  # sparse tensor cores: Ampere or later
cap_prune.use_sparse_kernels(model)
"""
_PLAIN = """
from transformers import AutoTokenizer, {auto}

model = {auto}.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
"""
_GRAPH = """
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
session = onnxruntime.InferenceSession("{name}/model.onnx")
inputs = dict(tokenizer(["a text"], return_tensors="np"))
[{outputs}] = session.run(None, {{name: inputs[name].astype("int64") for name in {inputs}}})
"""


def card(model: Any, format: str, name: str, source: str, notes: Sequence[str]) -> str:
    """The text of README.md.

    Args:
        model: as it is written.
        format: as `exporting.Format`.
        name: of the folder.
        source: the model that it was exported from; empty: not known.
        notes: what a user has to know.
    """
    units = units_of(model)
    kept = (
        f"{units.live_heads} of {units.layers * units.all_heads} heads and {units.live_neurons} of "
        f"{units.layers * units.all_neurons} neurons"
    )
    ending = type(model).__name__.partition("For")[2]
    auto = f"AutoModelFor{ending}" if ending else "AutoModel"
    load = {"dense-zero": _PLAIN, "onnx": _GRAPH, "2:4": _SPARSE}.get(format, _OURS)
    limits = [f"{note[0].upper()}{note[1:]}." for note in notes]
    if format == "slim":
        limits.append(
            "It needs the Python package cap-prune (pip install cap-prune). Without it, transformers loads "
            f'model and tokenizer by {auto}.from_pretrained("{name}", trust_remote_code=True) and '
            f'AutoTokenizer.from_pretrained("{name}", trust_remote_code=True): that runs the code in this '
            "folder."
        )
    return ModelCard(
        title=name,
        what=f"A pruned encoder, exported from {source or 'a model'}. {_WHAT[format].format(kept=kept)}",
        tags=("question-answering" if ending == "QuestionAnswering" else "text-classification", "pruned"),
        limits=limits,
        load=load.format(
            name=name, auto=auto, inputs=list(input_names(model)), outputs=", ".join(output_names(model))
        ),
    ).text()
