"""Options of the verbs `convert` and `export`, plain data, so that help loads no torch (ours)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.vision_language.foreign_sizes import Said


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Read a checkpoint of others into a model folder."""

    source: str = field(metadata={"positional": True})
    """file (.pth, .pt, .safetensors), or folder or hub name of a CLIP of transformers"""
    out: Path
    """folder to write"""
    tokenizer: str = "bert-base-uncased"
    """folder or hub name of the tokenizer to put beside the weights; empty: none"""
    text: str = "bert-base-uncased"
    """for a CLIP, whose own text encoder is of another kind: folder or hub name of the BERT that text, fusion
    and decoder start from; empty: random weights; not used for the others"""
    image: int | None = None
    """height and width of images, pixels: positions are resampled; none: as in the checkpoint"""
    heads: int | None = None
    """attention heads of the vision transformer; none: as a folder says, else one for 64 of the width"""
    text_heads: int | None = None
    """attention heads of the text; none: one for 64 of the width"""
    fusion_layers: int | None = None
    """of mPLUG, how many of the last fusion layers are run; none: 6, with 12 text layers 3 (TiMix)"""
    stride: int | None = None
    """of mPLUG, every how many fusion layers one is connected, 0 for never; none: 3, with 12 text layers 0"""
    quick_gelu: bool | None = None
    """of CLIP, x * sigmoid(1.702 x) in place of GELU; none: as a folder says, else yes (OpenAI's)"""
    overwrite: bool = False
    """replace a folder that was written by this package"""

    def __post_init__(self) -> None:
        for name, least in (
            ("image", 1),
            ("heads", 1),
            ("text_heads", 1),
            ("fusion_layers", 1),
            ("stride", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}; it is at least {least}")

    def said(self) -> "Said":
        """What the user says about the checkpoint, for `nonet.vision_language.checkpoints`."""
        from nonet.vision_language.foreign_sizes import Said

        return Said(
            heads=self.heads,
            text_heads=self.text_heads,
            fusion_layers=self.fusion_layers,
            stride=self.stride,
            quick_gelu=self.quick_gelu,
        )


@dataclass(frozen=True, kw_only=True)
class ExportTo:
    """Write a model for other programs, in formats that a package names."""

    model: str
    """folder of a model or run, or hub name"""
    out: Path
    """folder to write"""
    overwrite: bool = False
    """replace a folder that was written by this package"""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ExportTo):
    """Write image and text encoder for other programs."""

    format: Literal["onnx", "transformers", "timm"]
    """onnx: image.onnx and text.onnx, which give features (extra `onnx`); transformers: folders of its CLIP
    or ViT and its BERT; timm: a folder of timm for images, of transformers for texts"""
