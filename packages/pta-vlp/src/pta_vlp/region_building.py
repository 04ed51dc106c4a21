"""Regions of several data sets as one file, with an account of each (ours)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.vision_language.region_files import RegionTable
    from pta_vlp.commands.regions_build import Options

SHOWN = 3  # faults of a source that are told in full; `regions check` tells all of a file's


def build_regions(options: "Options", say: Callable[[str], None] = print) -> int:
    """Read all sources, compare boxes with images, and write one file, or nothing.

    Args:
        options: of the verb.
        say: takes the account.

    Returns:
        How many images were written.

    Raises:
        UserError: a source is missing or broken, the file exists, or an image is measured on, too.
    """
    from nonet.data.image_text_pairs import read_pairs
    from nonet.vision_language.region_check import check_regions
    from nonet.vision_language.region_preparation import refuse_shared_files, write_regions

    check_folder(options.images)
    if options.out.is_dir() or (options.out.exists() and not options.overwrite):
        raise UserError(f"{options.out}: exists; name another file, or say --overwrite")
    tables = dict(_tables(options))
    if options.val:
        refuse_shared_files(list(tables.values()), read_pairs(options.val), "validation")
    for name, table in tables.items():
        report = check_regions(table, min_visible=options.min_visible)
        faults, said = report.defects.lines, report.said()
        say(f"{name}: {report.images:,} images, {report.boxes:,} boxes")
        for line in [*faults[:SHOWN], *(line for line in said if line.startswith("left out: "))]:
            say(f"  {line}")
        if len(faults) > SHOWN:
            say(f"  {len(faults) - SHOWN:,} more faults")
        if report.hint():
            say(f"  {report.hint()}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    count = write_regions(list(tables.values()), options.out)
    say(f"{options.out}: regions of {count:,} images")
    return count


def check_folder(images: Path | None) -> None:
    """Refuse a folder of images that is not there.

    Raises:
        UserError: it is no folder.
    """
    if images is not None and not images.is_dir():
        raise UserError(f"{images}: no such folder of images")


def _tables(options: "Options") -> "list[tuple[str, RegionTable]]":
    """What to call each source, and its regions."""
    from nonet.vision_language.region_files import read_regions
    from nonet.vision_language.region_preparation import converted_regions

    seconds = {"coco": options.captions, "refcoco": options.instances}
    found: list[tuple[str, RegionTable]] = []
    for kind in ("coco", "genome", "entities", "refcoco"):
        path: Path | None = getattr(options, kind)
        if path is not None:
            table = converted_regions(
                kind, path, seconds.get(kind), folder=options.images, split=options.split,
                max_words=options.max_words,
            )  # fmt: skip
            found.append((str(path), table))
    for source in options.regions:
        table = read_regions(
            [source], folder=options.images, boxes=options.boxes, max_words=options.max_words
        )
        found.append((source, table))
    return found
