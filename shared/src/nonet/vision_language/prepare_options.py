"""Options of the verb `prepare`, plain data, so that help loads no torch (ours)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Check images and captions, leave out what cannot be used, and write the rest as JSON lines or tar
    shards; learn a tokenizer; put in wrong captions on purpose."""

    pairs: tuple[str, ...] = ()
    """JSON or JSON lines with image and caption, CSV, captions.txt of Flickr8k, captions_*.json of COCO,
    dataset_*.json of Karpathy, tar shards (also web/{00000..00031}.tar, or their folder)"""
    out: Path
    """folder to write: pairs.jsonl or shards, regions.jsonl, problems.txt, prepare.json, and what is asked
    for"""
    images: Path | None = None
    """folder that image paths are below; none: looked for near each file"""
    split: str | None = None
    """of a dataset_*.json, such as train+restval; none: all"""
    regions: tuple[str, ...] = ()
    """JSON, JSON lines or tar shards of regions, or coco:INSTANCES.json[,CAPTIONS.json], genome:FOLDER,
    entities:FOLDER, refcoco:REFS.p[,INSTANCES.json]"""
    region_images: Path | None = None
    """folder that the regions' image paths are below; none: looked for near each file"""
    region_boxes: Literal["xywh", "xyxy"] = "xywh"
    """how files of regions write boxes: left, top, width, height, or left, top, right, bottom"""
    region_split: str | None = None
    """of refcoco, such as train; none: all"""
    min_visible: float = 0.5
    """share of a box that lies in its image, at least"""
    val: tuple[str, ...] = ()
    """pairs to measure on: none of their images may be among the others"""
    on_bad: Literal["raise", "skip"] = "raise"
    """skip leaves out records that cannot be read, and counts them"""
    check: Literal["decode", "exists", "none"] = "decode"
    """how each image is looked at; decode also finds equal files, which become one image"""
    max_words: int = 30
    """words of a caption that stay; 0: all"""
    share: float = 1.0
    """of the images that stay, drawn at random; smaller shares are parts of larger ones"""
    corrupt_captions: float = 0.0
    """share of the captions that are replaced by those of other images, for studies of noise; they are
    listed in wrong_captions.jsonl"""
    seed: int = 0
    """of the share and of the wrong captions"""
    vocabulary: int = 0
    """word pieces of a tokenizer to learn from the captions, in OUT/tokenizer; 0: none"""
    tokenizer: str | None = None
    """folder or hub name of a tokenizer to count word pieces with; none: the one learnt, if any"""
    max_length: int = 20
    """word pieces of a text with both ends that training will keep, to count longer ones"""
    shard_size: int = 0
    """pairs in a tar shard of OUT/shards; 0: pairs.jsonl, which names the images where they are"""
    workers: int = 0
    """processes that look at images; 0 does it in this one"""
    overwrite: bool = False
    """replace what an earlier call wrote to OUT"""

    def __post_init__(self) -> None:
        if not self.pairs and not self.regions:
            raise UserError("neither pairs nor regions; name at least one file or shard")
        if not self.pairs and (self.vocabulary or self.tokenizer or self.shard_size or self.corrupt_captions):
            raise UserError("vocabulary, tokenizer, shard_size and corrupt_captions are for pairs: name some")
        for name, least in (
            ("max_words", 0),
            ("vocabulary", 0),
            ("shard_size", 0),
            ("workers", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")
        if not 0 < self.share <= 1:
            raise UserError(f"share is {self.share:g}; it is above 0 and at most 1")
        for name in ("corrupt_captions", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it lies in 0..1")
        if self.max_length < 3:
            raise UserError(f"max_length is {self.max_length}; two ends and a word piece are at least 3")
        if self.vocabulary and self.tokenizer:
            raise UserError("vocabulary learns a tokenizer, tokenizer names one: give one of the two")
