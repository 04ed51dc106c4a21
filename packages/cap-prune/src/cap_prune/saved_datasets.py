"""Folders that `datasets` saved with `save_to_disk`: their splits, with class labels by name (ours)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonet.errors import UserError, needs

SPLITS = {
    "train": ("train",),
    "dev": ("validation", "validation_matched", "dev"),
    "test": ("test", "test_matched"),
    "dev-mismatched": ("validation_mismatched",),
    "test-mismatched": ("test_mismatched",),
}
"""names of a side in Hugging Face's data sets"""


def is_saved(path: Path) -> bool:
    """Whether this is such a folder: one data set, or several splits."""
    return (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()


def saved_rows(path: Path, side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the fields of each row; a class is given by its name, -1 stays.

    Raises:
        UserError: `datasets` is not installed, the folder is damaged, or it has no such split.
    """
    library: Any = needs("datasets", to="read folders that it saved", install="cap-prune[datasets]")
    try:
        found = library.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as a folder that datasets saved: {reason}") from error
    name = ""
    if isinstance(found, dict):
        names = [name for name in SPLITS.get(side, (side,)) if name in found]
        if not names:
            raise UserError(f"{path}: no split for the {side} side; there are {', '.join(found)}")
        name, found = names[0], found[names[0]]
    classes = {
        column: feature.names for column, feature in found.features.items() if hasattr(feature, "int2str")
    }
    place = f"{path}/{name}" if name else str(path)
    for number, row in enumerate(found, 1):
        for column, labels in classes.items():
            value = row[column]
            if isinstance(value, int) and 0 <= value < len(labels):
                row[column] = labels[value]
        yield f"{place}:row {number}", row
