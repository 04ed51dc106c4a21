"""The verb `export`: a backbone for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the sparse U-Net of a model, read it back and compare."""

    model: str
    """folder of a model or run, or a hub name"""
    out: Path
    """new folder (safetensors), or new file that ends in .pth (pointcept)"""
    format: Literal["safetensors", "pointcept"] = "safetensors"
    """safetensors: a model folder with the backbone alone; pointcept: a checkpoint under the names and in the
    layouts of Pointcept's SpUNet, with spconv's kernels"""


def run(options: Options) -> int:
    """Export, and say what was compared."""
    from ponderv2.exporting import export

    print(export(options.model, options.out, options.format))
    return 0
