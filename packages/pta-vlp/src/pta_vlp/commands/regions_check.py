"""The verb `regions check`: what is in files of regions, and what is wrong with them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare every box of files of regions with its image: what cannot be used is listed with file and line
    and counted, and so is how much of an image, and how many of its patches, boxes cover.
    """

    files: tuple[str, ...] = field(metadata={"positional": True})
    """JSON, JSON lines or tar shards of regions, or coco:INSTANCES.json[,CAPTIONS.json], genome:FOLDER,
    entities:FOLDER, refcoco:REFS.p[,INSTANCES.json]"""
    images: Path | None = None
    """folder that image paths are below; none: looked for near each file"""
    boxes: Literal["xywh", "xyxy"] = "xywh"
    """how files write boxes: left, top, width, height, or left, top, right, bottom"""
    split: str | None = None
    """of refcoco, such as train; none: all"""
    min_visible: float = 0.5
    """share of a box that lies in its image, more than which training asks for"""
    image: int = 256
    """height and width that a model takes images in, pixels"""
    patch: int = 16
    """side of a patch, pixels"""
    keep: tuple[float, ...] = (0.3, 0.5, 0.7)
    """shares of the patches that may be kept, to count the boxes that are larger"""
    tokenizer: str | None = None
    """folder or hub name of a tokenizer, to count texts that are too long; none: not counted"""
    max_length: int = 40
    """word pieces of a region's text, with the one that begins it"""
    strict: bool = False
    """exit with 1 where anything is wrong"""
    json: bool = False
    """print JSON"""

    def __post_init__(self) -> None:
        if not self.files:
            raise UserError("no files to check: name at least one")
        if not 0 <= self.min_visible < 1:
            raise UserError(f"min_visible is {self.min_visible:g}; it is 0 or more, and below 1")
        for keep in self.keep:
            if not 0 < keep <= 1:
                raise UserError(f"keep is {keep:g}; it is above 0 and at most 1")
        if self.max_length < 2:
            raise UserError(
                f"max_length is {self.max_length}; a text begins with a token of its own: at least 2"
            )


def run(options: Options) -> int:
    """Check, and print the findings."""
    from pta_vlp.region_checking import checked_regions

    found = checked_regions(options)
    print(json.dumps(found.facts, indent=2, ensure_ascii=False) if options.json else "\n".join(found.lines))
    return int(options.strict and found.faults > 0)
