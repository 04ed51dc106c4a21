"""The verb `convert`: a checkpoint of others as a model folder of ours."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Read a checkpoint of the code of ALBEF, mPLUG or TiMix, or the vision transformer of a CLIP, into a
    model folder, and account for every weight. Nothing in a checkpoint is run.
    """

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


def run(options: Options) -> int:
    """Convert, say what was found, assumed and left out, write the folder."""
    from nonet.vision_language.checkpoints import convert_checkpoint
    from nonet.vision_language.foreign_sizes import Said

    said = Said(
        heads=options.heads,
        text_heads=options.text_heads,
        fusion_layers=options.fusion_layers,
        stride=options.stride,
        quick_gelu=options.quick_gelu,
    )
    folder = convert_checkpoint(
        options.source,
        options.out,
        tokenizer=options.tokenizer,
        said=said,
        text=options.text,
        image=options.image,
        overwrite=options.overwrite,
    )
    print(f"{folder}: written; `timix info --path {folder}` says what it holds")
    return 0
