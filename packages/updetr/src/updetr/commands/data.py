"""The verb `data`: check, convert, count or split labelled images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.data.labelled_boxes import LabelledImages


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check labelled images (exit code 1 where something is wrong), convert them to another format, count
    what they hold, or split them at random."""

    action: Literal["check", "convert", "stats", "split"] = field(metadata={"positional": True})
    """check: read all labels and decode all images; convert: write another format; stats: count; split: deal
    the images into parts"""
    data: tuple[str, ...]
    """coco:FILE.json[,IMAGES], voc:FOLDER[:SPLIT] or yolo:data.yaml[:SPLIT]; check takes several splits, and
    finds images that two of them share"""
    to: Literal["coco", "voc", "yolo"] | None = None
    """format to convert to"""
    out: Path | None = None
    """folder for the converted data or the splits, or the HTML page of stats; stats without it only prints"""
    split_name: str = "train"
    """what convert calls the data in its folder"""
    images: Literal["link", "copy"] = "link"
    """whether convert links to the images or copies them"""
    names: tuple[str, ...] = ("train", "val")
    """what split calls its parts"""
    shares: tuple[float, ...] = (0.8, 0.2)
    """of the images in each part of split; their sum is 1"""
    seed: int = 0
    """of the draws of split, and of the images that stats shows"""
    drop_difficult: bool = False
    """leave out VOC's difficult boxes"""
    voc_offset: int | None = None
    """number of VOC's first pixel, 0 or 1; none: 1 in folders called VOCdevkit or VOC and a year, else 0"""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data is empty; name labelled images")
        if self.action != "check" and len(self.data) > 1:
            raise UserError(f"{self.action} takes one data set, not {len(self.data)}")
        if self.action in ("convert", "split") and self.out is None:
            raise UserError(f"{self.action} needs out, the folder to write into")
        if (self.action == "convert") != (self.to is not None):
            raise UserError("convert and to come together: give both, or neither")
        if len(self.names) != len(self.shares):
            raise UserError(f"{len(self.names)} names for {len(self.shares)} shares; give as many")
        if len(set(self.names)) < len(self.names):
            raise UserError(f"names are {', '.join(self.names)}; each is another")


def _read(options: Options, source: str) -> "LabelledImages":
    from updetr.labelled_data import read_labelled

    return read_labelled(
        source,
        drop_difficult=options.drop_difficult,
        voc_offset=options.voc_offset,
        empty=options.action in ("check", "stats"),
    )


def _check(options: Options) -> int:
    """Print what is wrong, and how much that is; 1 where anything is."""
    from updetr.data_check import bounded, check
    from updetr.label_faults import label_faults

    read: dict[str, LabelledImages] = {}
    faults: list[str] = []
    for source in options.data:
        try:
            read[source] = _read(options, source)
        except UserError as error:
            found = label_faults(source)
            if not found:
                raise
            faults += found
            if str(error) not in found:  # a summary of them
                print(error)
    findings = check(read)
    for line in (*findings.remarks, *findings.defects, *bounded(faults)):
        print(line)
    images, defects = sum(map(len, read.values())), len(findings.defects) + len(faults)
    unread = (
        f"; not read: {', '.join(source for source in options.data if source not in read)}" if faults else ""
    )
    print(f"{images} images, {defects} defects, {len(findings.remarks)} remarks{unread}")
    return int(bool(defects))


def run(options: Options) -> int:
    """Do it; findings go to standard output, remarks of the other actions to standard error."""
    import sys

    if options.action == "check":
        return _check(options)
    (source,) = options.data
    data = _read(options, source)
    for line in data.said():
        print(line, file=sys.stderr)
    if options.action == "stats":
        from updetr.data_stats import classes, counts, stats_page

        for name, value in counts(data).items():
            print(f"{name}: {'n/a' if value is None else value}")
        for row in classes(data):
            print(f"  {row['class']}: {row['boxes']} boxes in {row['images']} images")
        if options.out is not None:
            print(stats_page(source, data, options.seed).save(options.out))
        return 0
    from updetr.data_convert import convert, split, write_splits

    folder = options.out or Path()
    if options.action == "convert":
        if options.to is None:  # __post_init__ refuses it
            raise UserError("convert needs to, the format")
        written, remarks = convert(data, options.to, folder, options.split_name, placing=options.images)
        for line in remarks:
            print(line, file=sys.stderr)
        print(written)
        return 0
    parts = split(data, options.shares, options.seed)
    for written, part in zip(write_splits(parts, options.names, folder), parts, strict=True):
        print(f"{written}  ({len(part)} images)")
    return 0
