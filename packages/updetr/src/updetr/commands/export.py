"""The verb `export`: a model for other programs, proved equal to the source."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a detector for other programs, check that it gives the same numbers, and say how large it is."""

    to: Literal["hf", "onnx"] = field(metadata={"positional": True})
    """hf: a folder that transformers loads without code of ours; onnx: model.onnx for images of any size and
    number (extra `onnx`)"""
    model: str
    """folder of a model or run"""
    out: Path
    """folder to write"""
    overwrite: bool = False
    """replace a folder that was written by this package"""


def run(options: Options) -> int:
    """Export, and print the proof and the bytes."""
    from updetr.exporting import export

    done = export(options.model, options.out, options.to, overwrite=options.overwrite)
    print(f"{done.folder}: {done.format}; largest difference from {options.model}: {done.difference:.3g}")
    print(f"weights: {done.bytes:,} bytes, {done.bytes / done.source_bytes:.2f} of {done.source_bytes:,}")
    for note in done.notes:
        print(f"note: {note}")
    return 0
