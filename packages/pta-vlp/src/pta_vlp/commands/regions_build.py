"""The verb `regions build`: annotations that people have, as one file of regions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make one file of regions, a line an image, from the annotations of COCO, Visual Genome, Flickr30k
    Entities and RefCOCO, any of them together, and compare every box with its image. Images stay where they
    are.
    """

    coco: Path | None = None
    """instances_*.json of COCO: objects, called by their category"""
    captions: Path | None = None
    """captions_*.json of the same images: texts about the whole image"""
    genome: Path | None = None
    """folder with region_descriptions.json, attributes.json or objects.json of Visual Genome"""
    entities: Path | None = None
    """folder with Sentences and Annotations of Flickr30k Entities"""
    refcoco: Path | None = None
    """refs(unc).p and the like, of RefCOCO, RefCOCO+ and RefCOCOg"""
    instances: Path | None = None
    """instances.json of RefCOCO; none: beside refcoco"""
    split: str | None = None
    """of refcoco, such as train; none: all"""
    regions: tuple[str, ...] = ()
    """further files in the layout of the result (X-VLM's), JSON or JSON lines"""
    boxes: Literal["xywh", "xyxy"] = "xywh"
    """how further files write boxes: left, top, width, height, or left, top, right, bottom"""
    images: Path | None = None
    """folder that image paths are below; none: looked for near each file"""
    out: Path
    """file to write, JSON lines"""
    val: tuple[str, ...] = ()
    """pairs to measure on: none of their images may be among those of the regions"""
    max_words: int = 30
    """words of a text that stay; 0: all"""
    min_visible: float = 0.5
    """share of a box that lies in its image, more than which training asks for"""
    overwrite: bool = False
    """replace the file"""

    def __post_init__(self) -> None:
        if not (self.coco or self.genome or self.entities or self.refcoco or self.regions):
            raise UserError("nothing to read: name --coco, --genome, --entities, --refcoco or --regions")
        for name, of in (("captions", "coco"), ("instances", "refcoco"), ("split", "refcoco")):
            if getattr(self, name) is not None and getattr(self, of) is None:
                raise UserError(f"{name} belongs to {of}, which is not given")
        if self.max_words < 0:
            raise UserError(f"max_words is {self.max_words}; it is 0 or more")
        if not 0 <= self.min_visible < 1:
            raise UserError(f"min_visible is {self.min_visible:g}; it is 0 or more, and below 1")


def run(options: Options) -> int:
    """Read, compare, write; prints what each source gave and what is wrong in it."""
    from pta_vlp.region_building import build_regions

    build_regions(options)
    return 0
