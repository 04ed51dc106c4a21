"""A trained model for other people's programs: a plain transformers folder, or ONNX (ours).

A plain folder is what transformers itself reads. What it leaves behind is said: a tagger's CRF, and the way a
prefix language model writes, exist only here.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nonet.errors import RunFailed, UserError
from nonet.files import replacing

if TYPE_CHECKING:
    from keyphrase_plm.families import Family

CLASSES = {
    "tag": "AutoModelForTokenClassification",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "b2b": "EncoderDecoderModel",
    "prefix-lm": "AutoModelForMaskedLM",
}
LEFT_BEHIND = {
    "prefix-lm": "its attention mask and decoding, which need keyphrase-plm: a plain folder is a masked "
    "language model",
}
TOLERANCE = 1e-3
"""largest difference between the logits of torch and of the exported model"""


def export_plain(family: "Family", folder: Path, card: str) -> list[str]:
    """Write a folder that transformers reads alone, and read it back.

    Args:
        family: the model.
        folder: new, or written by us.
        card: text of its README.md.

    Returns:
        What a user of the folder has to know, a line each.

    Raises:
        RunFailed: the folder, read by transformers, gives other numbers.
    """
    import transformers

    from nonet.training.hub import save_folder

    save_folder(family.model, family.tokenizer, folder, card)
    again = getattr(transformers, CLASSES[family.name]).from_pretrained(folder).eval()
    inputs = _sample(family)
    if family.name in ("seq2seq", "b2b"):
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :2]
    with torch.inference_mode():
        apart = float((family.model.eval()(**inputs).logits - again(**inputs).logits).abs().max())
    if not apart <= TOLERANCE:
        raise RunFailed(f"{folder}: read by transformers, the model gives other numbers (by {apart:g})")
    notes = [f"{folder}: load it with transformers.{CLASSES[family.name]}; largest difference {apart:g}"]
    left = LEFT_BEHIND.get(family.name)
    if getattr(family, "crf", None) is not None:
        left = "its CRF: a plain token classifier takes the best label of each word alone"
    return notes + ([f"left behind: {left}"] if left else [])


def export_onnx(family: "Family", path: Path) -> list[str]:
    """Write a tagger as one ONNX file, and compare it with torch in onnxruntime.

    Inputs `input_ids` and `attention_mask`, (batch, pieces) int64, both axes free; output `logits`
    (batch, pieces, labels) float32.

    Args:
        family: a tagger.
        path: `.onnx`.

    Raises:
        UserError: another family, or the packages are not there.
        RunFailed: onnxruntime gives other numbers.
    """
    if family.name != "tag":
        raise UserError(
            f"the model is of family {family.name}; ONNX is for taggers. Export a plain folder and try "
            "optimum on it"
        )
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"no module {error.name!r}: pip install 'keyphrase-plm[onnx]'") from None
    inputs = _sample(family)
    names = ["input_ids", "attention_mask"]
    free = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in names}
    model = _Logits(family.model).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of each absent package
    with replacing(path) as part:
        program = torch.onnx.export(
            model, tuple(inputs[name] for name in names), dynamo=True, input_names=names,
            output_names=["logits"], dynamic_shapes=free, verbose=False, external_data=False,
        )  # fmt: skip
        program.save(str(part))
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        longer = {name: torch.cat([inputs[name]] * 2, 1).repeat(2, 1) for name in names}
        with torch.inference_mode():
            wanted = model(*(longer[name] for name in names)).numpy()
        found = session.run(None, {name: longer[name].numpy() for name in names})[0]
        apart = float(abs(found - wanted).max())
        if not apart <= TOLERANCE:
            raise RunFailed(f"{path}: onnxruntime gives other numbers than torch (by {apart:g})")
    return [f"{path}: input_ids, attention_mask -> logits; largest difference {apart:g}"]


class _Logits(torch.nn.Module):
    """A token classifier that takes and gives plain tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def _sample(family: "Family") -> dict[str, torch.Tensor]:
    """Two rows of a few pieces, one of them padded."""
    ids = torch.arange(14).view(2, 7) % min(len(family.tokenizer), 100)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}
