"""An index is a folder with `meta.json`: written beside its place and moved there when it is whole (ours)."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.files import sha256, write_json

META = "meta.json"
LEFT_OUT = "left_out.txt"  # ids of documents without anything to index, one a line
KIND = "first-stage index"
FORMAT = 1


@contextmanager
def new_index(folder: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write an index into that takes the place of `folder` when the block ends well.

    Args:
        folder: where the index is to be.
        overwrite: whether an index that is there gives way.

    Yields:
        A temporary folder beside it; it is removed if the block raises.

    Raises:
        UserError: something is there that is no index, or an index without `overwrite`.
    """
    folder = Path(folder)
    check_place(folder, overwrite=overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        check_place(folder, overwrite=overwrite)
        old = part.with_suffix(".old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where an index cannot go.

    Raises:
        UserError: as for `new_index`.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() and not is_index(folder):
        raise UserError(f"{folder} exists and is no index; name another folder")
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} is an index already; name another one, or write over it with --overwrite")


def write_meta(folder: Path, meta: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write `meta.json`.

    Args:
        folder: of the index.
        meta: what it holds and how it was made, as JSON values.
        files: name -> file whose size and checksum are kept.
    """
    kept = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
    write_json(folder / META, {"kind": KIND, "format": FORMAT, **meta, "files": kept})


def is_index(folder: Path) -> bool:
    """Whether a folder is an index, of any engine."""
    try:
        return read_json(folder / META).get("kind") == KIND
    except (OSError, UserError):
        return False


def read_meta(folder: Path, *, verify: bool = False) -> dict[str, Any]:
    """What `meta.json` says, after a look at the files' sizes.

    Args:
        folder: of the index.
        verify: read all files and compare checksums, too.

    Raises:
        UserError: no index, one of another version, or one with missing or changed files.
    """
    if not folder.exists():
        raise UserError(f"no index {folder}; make one with prop-ir index")
    if not is_index(folder):
        raise UserError(f"{folder} is no index; make one with prop-ir index")
    meta = read_json(folder / META)
    if meta.get("format") != FORMAT:
        raise UserError(
            f"{folder} has format {meta.get('format')} and this version reads {FORMAT}; index again"
        )
    for name, kept in meta["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != kept["bytes"]:
            raise UserError(f"{path} is missing or incomplete; index again")
        if verify and sha256(path) != kept["sha256"]:
            raise UserError(f"{path} has changed since it was written; index again")
    return meta


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: no JSON object")
    return found
