"""The verb `export`: the encoders, pruned or whole, for other programs, proved equal to the model."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError
from nonet.vision_language.folder_options import ExportTo


@dataclass(frozen=True, kw_only=True)
class Options(ExportTo):
    """Write the encoders for other programs, check that they give the same numbers, and say how large they
    are.
    """

    format: Literal["pruned", "onnx", "transformers", "timm"]
    """pruned: image.onnx, once per image, and pruned.onnx and match.onnx, once per image and text (extra
    `onnx`); onnx: image.onnx and text.onnx, which give features of whole images; transformers: folders of its
    CLIP or ViT and its BERT; timm: a folder of timm for images, of transformers for texts"""
    keep: float | None = None
    """of pruned, the share of patches that is kept; none: as the model was trained"""

    def __post_init__(self) -> None:
        if self.keep is not None and self.format != "pruned":
            raise UserError(f"keep is for --format pruned, not for {self.format}")
        if self.keep is not None and not 0 < self.keep < 1:
            raise UserError(f"keep is {self.keep:g}; it is above 0 and below 1")


def run(options: Options) -> int:
    """Export, and print the proof and the bytes."""
    if options.format == "pruned":
        from pta_vlp.pruned_export import export_pruned

        done = export_pruned(options.model, options.out, keep=options.keep, overwrite=options.overwrite)
    else:
        from nonet.vision_language.pair_export import export_pair_model

        done = export_pair_model(
            options.model, options.out, options.format, install="pta-vlp[onnx]", overwrite=options.overwrite
        )
    print(f"{done.folder}: {options.format}; largest difference from {options.model}: {done.difference:.3g}")
    print(f"weights: {done.bytes:,} bytes")
    return 0
