"""The verb `export`: image and text encoder for other programs, proved equal to the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write image and text encoder for other programs, check that they give the same numbers, and say how
    large they are.
    """

    model: str
    """folder of a model or run, or hub name"""
    format: Literal["onnx", "transformers", "timm"]
    """onnx: image.onnx and text.onnx, which give features (extra `onnx`); transformers: folders of its CLIP
    or ViT and its BERT; timm: a folder of timm for images, of transformers for texts"""
    out: Path
    """folder to write"""
    overwrite: bool = False
    """replace a folder that was written by this package"""


def run(options: Options) -> int:
    """Export, and print the proof and the bytes."""
    from nonet.vision_language.pair_export import export_pair_model

    done = export_pair_model(
        options.model, options.out, options.format, install="timix[onnx]", overwrite=options.overwrite
    )
    print(f"{done.folder}: {options.format}; largest difference from {options.model}: {done.difference:.3g}")
    print(f"weights: {done.bytes:,} bytes")
    return 0
