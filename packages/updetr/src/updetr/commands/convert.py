"""The verb `convert`: a detector of others as a model folder of ours."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Read a checkpoint of the code of UP-DETR, DETR or DETReg's DETR, or a DETR or Table Transformer of
    transformers, into a model folder. Nothing in a checkpoint is run.
    """

    source: str = field(metadata={"positional": True})
    """file (.pth, .safetensors), or folder or hub name of transformers"""
    out: Path
    """folder to write"""
    labels: Path | None = None
    """file with the names of the classes, one a line in the order of their numbers, for a fine-tuned
    checkpoint; folders of transformers have names"""
    heads: int | None = None
    """attention heads of a checkpoint; none: as it notes, else one for every 32 of the width"""
    patches: int | None = None
    """patches of UP-DETR's pre-training; none: as the checkpoint notes, else 10"""
    dilation: bool | None = None
    """whether the last stage of a checkpoint's backbone is dilated; none: as it notes, else no"""
    shortest: int | None = None
    """shorter side that images are resized to, pixels; none: as the folder of transformers says, else 800"""
    longest: int | None = None
    """longer side at most, pixels; none: likewise, else 1333"""
    overwrite: bool = False
    """replace a folder that was written by this package"""

    def __post_init__(self) -> None:
        for name in ("heads", "patches", "shortest", "longest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")


def run(options: Options) -> int:
    """Convert, say what was found or assumed, write the folder."""
    from updetr.converting import convert

    done = convert(
        options.source,
        options.out,
        labels=options.labels,
        heads=options.heads,
        patches=options.patches,
        dilation=options.dilation,
        sizes=(options.shortest, options.longest),
        overwrite=options.overwrite,
    )
    for name, text in done.items():
        print(f"{name}: {text}")
    print(f"{options.out}: written; `updetr info --path {options.out}` says what it holds")
    return 0
