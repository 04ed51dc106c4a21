"""The verb `datasets`: which data there are."""

from dataclasses import dataclass
from typing import Literal

from vlp_atlas.catalogue_options import TableOptions


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Data sets with year, size, licence and availability, filtered and sorted."""

    text: str | None = None
    """only those with this text in a name, taken literally, upper and lower case alike"""
    modality: str | None = None
    """image, video, text, audio, table, layout or point-cloud"""
    availability: Literal["open", "on-request", "withdrawn", "private"] | None = None
    """whether one can have it"""
    used_for: Literal["pre-training", "evaluation"] | None = None
    """what it is for"""
    after: int | None = None
    """only those of a later year than this"""
    before: int | None = None
    """only those of an earlier year than this"""
    sort: str | None = None
    """column to sort by, such as year; --sort=-n_pairs has the largest first; unknown comes last"""


def run(options: Options) -> int:
    """Print the table."""
    from vlp_atlas.catalogue_options import emit
    from vlp_atlas.dataset_table import datasets

    atlas = options.load()
    table = datasets(
        atlas,
        text=options.text,
        modality=options.modality,
        availability=options.availability,
        used_for=options.used_for,
        after=options.after,
        before=options.before,
        sort=options.sort,
    )
    emit(table, atlas, as_json=options.json)
    return 0
