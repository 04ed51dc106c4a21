"""Regions in tar shards, the WebDataset layout: NAME.jpg and NAME.json with `elems` side by side (ours)."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonet.data.images import EXTENSIONS
from nonet.errors import UserError
from nonet.vision_language.region_records import BoxFormat, Defects, RegionRecord, region_record

Span = tuple[int, int]


def shard_records(
    shard: Path, defects: Defects, boxes: BoxFormat = "xywh"
) -> Iterator[tuple[RegionRecord, Span]]:
    """The records of a shard, and where their images lie in it: first byte and bytes.

    Args:
        shard: the tar file, not compressed.
        defects: takes what is left out, samples without an image or without a record too.
        boxes: how the shard writes them.

    Raises:
        UserError: no tar file, a damaged one, or a record that is no JSON object.
    """
    try:
        with tarfile.open(shard, "r:") as tar:
            for key, (fields, image, span) in _samples(tar, shard):
                where = f"{shard}:{image or key}"
                if span is None or fields is None:
                    what = "an image" if span is None else "a record"
                    defects.add(f"samples without {what}", f"{where}: no file with {what}")
                    continue
                yield region_record(fields | {"image": image}, where, defects, boxes=boxes), span
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{shard}: no tar shard, or a damaged one ({error})") from error


def _samples(
    tar: tarfile.TarFile, shard: Path
) -> Iterator[tuple[str, tuple[dict[str, Any] | None, str, Span | None]]]:
    """Files that share the name before the first dot, together."""
    key, fields, image, span = "", None, "", None
    for member in tar:
        if not member.isfile():
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        own = folder + slash + stem
        if own != key:
            if key:
                yield key, (fields, image, span)
            key, fields, image, span = own, None, "", None
        if ending.lower() == "json":
            fields = _fields(tar, member, shard)
        elif f".{ending.lower()}" in EXTENSIONS:
            image, span = member.name, (member.offset_data, member.size)
    if key:
        yield key, (fields, image, span)


def _fields(tar: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> dict[str, Any]:
    file = tar.extractfile(member)
    try:
        found = json.loads(file.read() if file is not None else b"")
    except ValueError as error:
        raise UserError(f"{shard}:{member.name}: not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{shard}:{member.name}: a {type(found).__name__}; it is an object with elems")
    found.pop("binary", None)
    return found
