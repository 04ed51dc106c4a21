"""The verb `export`: a pruned model for use, in one of five formats, proved equal to the source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a pruned model for use, check that it gives the same numbers, and say how large it is."""

    model: str
    """folder of a model or of a level of a run, or a hub name"""
    out: Path
    """folder to write, made anew"""
    format: Literal["slim", "dense-zero", "csr", "2:4", "onnx"] = "slim"
    """slim: pruned heads and neurons are gone; dense-zero: a plain transformers model with zeros in their
    place; csr: rows without zeros; 2:4: half the values of a 2:4 model; onnx: model.onnx (extra `onnx`)"""
    code: Literal["inside", "package"] = "inside"
    """what a slim folder carries for programs without cap-prune: inside: the model's code, which
    trust_remote_code runs; package: a line that asks to install cap-prune"""
    overwrite: bool = False
    """replace a folder that was written by this command"""


def run(options: Options) -> int:
    """Export, and print the proof and the bytes."""
    from cap_prune.exporting import export
    from cap_prune.loading import load_model

    model, tokenizer = load_model(options.model)
    found = export(
        model, tokenizer, options.out, options.format, source=options.model, code=options.code,
        overwrite=options.overwrite,
    )  # fmt: skip
    print(f"{found.folder}: {found.format}; largest difference from {options.model}: {found.difference:.3g}")
    print(
        f"weights: {found.bytes:,} bytes, {found.bytes / found.source_bytes:.2f} of the source's "
        f"{found.source_bytes:,}"
    )
    for note in found.notes:
        print(f"note: {note}")
    return 0
