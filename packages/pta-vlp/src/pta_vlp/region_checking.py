"""What is in files of regions: boxes against images and patches, texts against their longest (ours)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pta_vlp.box_patches import BoxPatches
from pta_vlp.region_building import check_folder

if TYPE_CHECKING:
    from pta_vlp.commands.regions_check import Options


@dataclass
class Checked:
    """What was found.

    Attributes:
        lines: for people.
        facts: the same as numbers, by file.
        faults: how much is left out or clipped, of all files.
    """

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    faults: int = 0


def checked_regions(options: "Options") -> Checked:
    """Look at every file that the options name.

    Raises:
        UserError: one is missing or broken, its images are not found, or the sizes do not fit.
    """
    from nonet.vision_language.caption_tokenizer import named_tokenizer
    from nonet.vision_language.pair_preparation import word_piece_counts
    from nonet.vision_language.region_check import check_regions
    from nonet.vision_language.region_preparation import region_tables

    BoxPatches(options.image, options.patch)  # says what does not fit before anything is read
    check_folder(options.images)
    tokenizer = None if options.tokenizer is None else named_tokenizer(options.tokenizer)
    tables = region_tables(
        options.files, folder=options.images, boxes=options.boxes, split=options.split, max_words=0
    )
    found = Checked()
    for source, table in zip(options.files, tables, strict=True):
        covered = BoxPatches(options.image, options.patch)
        report = check_regions(table, min_visible=options.min_visible, visit=covered.add)
        found.faults += report.defects.counts.total()
        texts = len(table.texts)
        facts: dict[str, Any] = {
            "images": report.images, "boxes": report.boxes, "texts": texts, "captions": len(table.captions),
            "left_out": dict(sorted(report.defects.counts.items())),
            "looks_like_xyxy": report.corners if report.hint() else 0,
            "covered": {f"{end:g}": report.covered[end] for end in sorted(report.covered)},
            "patches_of_a_box": round(covered.mean(), 3),
            "larger_than_keep": {f"{keep:g}": covered.larger_than(keep) for keep in options.keep},
        }  # fmt: skip
        lines = [*report.said(), *covered.said(options.keep), f"{texts:,} texts"]
        if tokenizer is not None:
            # nothing ends a region's text, so that one piece more than in a caption has room
            counts = word_piece_counts(table.texts, tokenizer, options.max_length + 1)
            facts["texts_too_long"] = counts["cut_off"]
            lines[-1] += (
                f", {counts['mean']:.1f} word pieces on average, {counts['longest']:,} at most; "
                f"{counts['cut_off']:,} are longer than max_length {options.max_length} and are cut"
            )
        found.facts[source] = facts
        found.lines += [f"{source}:", *(f"  {line}" for line in lines)]
    return found
