"""The verb `convert`: a checkpoint of the released code as a model folder of ours."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Read a checkpoint of the released PonderV2, of pre-training or fine-tuned, into a model folder: all of
    the indoor pre-training, or the sparse U-Net alone. Nothing in a checkpoint is run.
    """

    source: Path = field(metadata={"positional": True})
    """file (.pth, or its tensors as .safetensors)"""
    out: Path
    """folder to write"""
    datasets: tuple[str, ...] = ()
    """names of the data sets that the backbone has norms of, in their order there; none: scannet, s3dis,
    structured3d, as released"""
    contexts: tuple[str, ...] = ()
    """the same names in the order of the table of contexts; none: structured3d, scannet, s3dis, as
    released"""
    allow_partial: bool = False
    """write the model although over a tenth of its weights is missing, unexpected or of another shape"""
    overwrite: bool = False
    """replace a folder that was written by this package"""

    def __post_init__(self) -> None:
        for name in ("datasets", "contexts"):
            value = getattr(self, name)
            if len(set(value)) != len(value):
                raise UserError(f"--{name} names a data set twice: {', '.join(value)}")


def run(options: Options) -> int:
    """Convert, say what was found or assumed, write the folder."""
    from ponderv2.converting import convert

    done = convert(
        options.source,
        options.out,
        datasets=options.datasets or None,
        contexts=options.contexts or None,
        allow_partial=options.allow_partial,
        overwrite=options.overwrite,
    )
    for name, text in done.items():
        print(f"{name}: {text}")
    print(f"{options.out}: written; `ponderv2 info --path {options.out}` says what it holds")
    return 0
