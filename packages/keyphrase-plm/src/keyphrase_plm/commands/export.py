"""Write a model as plain transformers folder or ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a model for programs that do not know this package, and check that it gives the same numbers."""

    model: Path
    """folder of a trained model"""
    out: Path
    """folder to write, or for ONNX the file"""
    format: Literal["transformers", "onnx"] = "transformers"
    """transformers: a folder that its Auto classes read; onnx: one file, taggers only (extra `onnx`)"""


def run(options: Options) -> int:
    """Export, and say what stays behind."""
    from keyphrase_plm.exporting import CLASSES, export_onnx, export_plain
    from keyphrase_plm.loading import load_family
    from nonet.errors import UserError
    from nonet.training.model_card import ModelCard

    if options.format == "onnx" and options.out.suffix != ".onnx":
        raise UserError(f"{options.out}: the name of an ONNX file ends in .onnx")
    family = load_family(options.model)
    if options.format == "onnx":
        notes = export_onnx(family, options.out)
    else:
        name = CLASSES[family.name]
        card = ModelCard(
            title=options.out.name,
            what=f"A keyphrase model of family {family.name}, exported for transformers alone.",
            tags=("keyphrase-extraction" if family.name == "tag" else "keyphrase-generation",),
            load=f'from transformers import {name}\n\nmodel = {name}.from_pretrained("{options.out.name}")',
        )
        notes = export_plain(family, options.out, card.text())
    for note in notes:
        print(note)
    return 0
