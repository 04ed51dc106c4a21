"""Lists of image files: a path a line, or the `images` of a COCO file (ours)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nonet.errors import UserError

_SHOWN = 5  # file names in a remark


def listed_in_text(path: Path) -> list[Path]:
    """The files that a list names, a path a line, relative to the list; empty lines and `#` lines are not.

    Raises:
        UserError: not a list, or a file that does not exist, with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: neither an image, nor a list of images, nor a COCO file") from None
    found = []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        file = path.parent / name
        if not file.is_file():
            raise UserError(f"{path}:{number}: no such image: {name[:200]}")
        found.append(file)
    return found


def listed_in_coco(
    path: Path, folder: Path | None, remark: Callable[[str], None] | None = None
) -> list[Path]:
    """The files that a COCO file's `images` name.

    Args:
        path: the JSON file.
        folder: where they are; by default the file's own folder or `images` in it. Where the name has
            folders that are not there, its last part is looked for.
        remark: called with a line for files that are missing.

    Raises:
        UserError: no such file, not one of COCO, or none of its images is there.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    records = content.get("images") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise UserError(f"{path}: no list of images in it, as a COCO file has")
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    places = [folder] if folder is not None else [path.parent, path.parent / "images"]
    found: list[Path] = []
    missing: list[str] = []
    for number, record in enumerate(records):
        name = record.get("file_name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name:
            raise UserError(f"{path}: images[{number}] has no file_name")
        candidates = [place / part for part in (name, Path(name).name) for place in places]
        there = next((file for file in candidates if file.is_file()), None)
        if there is None:
            missing.append(name)
        else:
            found.append(there)
    if missing and not found:
        where = " or ".join(map(str, places))
        raise UserError(
            f"{path}: none of its {len(missing)} images is in {where}: name the folder FILE.json,FOLDER"
        )
    if missing and remark is not None:
        names = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        remark(f"{path}: {len(missing)} of {len(records)} images are missing: {names}")
    return found
