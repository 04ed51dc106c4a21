"""The layout of LIAAD's data sets: `docsutf8/ID.txt` and `keys/ID.key`, in a folder or in a zip.

A zip is read in place: nothing is unpacked to disk, and an entry that names a place outside, is encrypted or
is larger than it may be ends in an error. The keys are one a line. The first line of a text is its title.
"""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from keyphrase_plm.line_layouts import title_and_body
from keyphrase_plm.raw_documents import Raw, without_marks
from nonet.errors import UserError

DOCUMENTS, KEYS = "docsutf8", "keys"

LARGEST_ENTRY = 64 << 20  # bytes of one text
LARGEST_ZIP = 8 << 30  # bytes of all entries, unpacked
LARGEST_RATIO = 1000  # unpacked to packed, of an entry above a megabyte
MOST_ENTRIES = 2_000_000


class _Files(Protocol):
    """Files by their relative path."""

    def names(self) -> list[PurePosixPath]: ...

    def read(self, name: PurePosixPath) -> bytes: ...


def is_folder(path: Path) -> bool:
    """Whether a folder holds `docsutf8`, itself or in a folder one level below."""
    return path.is_dir() and ((path / DOCUMENTS).is_dir() or any(path.glob(f"*/{DOCUMENTS}/")))


def folder(path: Path, counts: Counter[str]) -> Iterator[Raw]:
    """The documents of a folder or zip, sorted by name.

    Raises:
        UserError: the zip is damaged or unsafe, or there are no texts.
    """
    if path.is_dir():
        yield from _documents(path, _Folder(path), counts)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: not a sound zip file ({error}); copy or download it again") from None
    with archive:
        yield from _documents(path, _Zip(path, archive), counts)


def _documents(path: Path, files: _Files, counts: Counter[str]) -> Iterator[Raw]:
    texts: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
    keys: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
    for name in files.names():
        place = (name.parent.parent, name.stem)
        if name.parent.name == DOCUMENTS and name.suffix.lower() == ".txt":
            texts[place] = name
        elif name.parent.name == KEYS and name.suffix.lower() == ".key":
            keys[place] = name
    if not texts:
        raise UserError(f"{path}: no {DOCUMENTS}/ID.txt in it, with phrases in {KEYS}/ID.key")
    if lost := sorted(str(name) for place, name in keys.items() if place not in texts):
        counts[f"files of keys without a text, such as {lost[0]}"] += len(lost)
    many = len({root for root, _ in texts}) > 1
    for place, name in sorted(texts.items(), key=lambda item: (str(item[0][0]), _natural(item[0][1]))):
        root, key = place
        where = f"{path}:{name}"
        title, body = title_and_body(without_marks(_decoded(files.read(name), counts), counts))
        phrases: tuple[str, ...] = ()
        if place in keys:
            rows = _decoded(files.read(keys[place]), counts).splitlines()
            phrases = tuple(" ".join(row.split()) for row in rows if row.strip())
        else:
            counts["texts without a file of keys (kept)"] += 1
        yield Raw(f"{root}/{key}" if many else key, title, body, phrases, where=where)


def _natural(name: str) -> tuple[bool, int, str]:
    """Numbers in their order, before names."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _decoded(data: bytes, counts: Counter[str]) -> str:
    text = data.decode("utf-8-sig", "replace")
    if "\ufffd" in text and (bad := text.count("\ufffd") - data.count("\ufffd".encode())) > 0:
        counts["bytes that are not UTF-8 (replaced)"] += bad
    return text.replace("\0", "")


class _Folder:
    """Files on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[PurePosixPath]:
        found = [*self.path.glob(f"{DOCUMENTS}/*.txt"), *self.path.glob(f"{KEYS}/*.key")]
        found += [*self.path.glob(f"*/{DOCUMENTS}/*.txt"), *self.path.glob(f"*/{KEYS}/*.key")]
        return [PurePosixPath(entry.relative_to(self.path).as_posix()) for entry in found]

    def read(self, name: PurePosixPath) -> bytes:
        place = self.path / name
        size = place.stat().st_size
        if size > LARGEST_ENTRY:
            raise UserError(f"{place}: {size:,} bytes; a text has at most {LARGEST_ENTRY:,}")
        return place.read_bytes()


class _Zip:
    """Entries of a zip, checked before any is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise UserError(f"{path}: {len(entries):,} entries; at most {MOST_ENTRIES:,} are read")
        if (size := sum(entry.file_size for entry in entries)) > LARGEST_ZIP:
            raise UserError(f"{path}: {size:,} bytes unpacked; at most {LARGEST_ZIP:,} are read")
        self._entries = {PurePosixPath(entry.filename): entry for entry in entries if not entry.is_dir()}

    def names(self) -> list[PurePosixPath]:
        for name, entry in self._entries.items():
            unsafe = (
                name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in name.parts[0]
            )
            if unsafe:
                raise UserError(
                    f"{self.path}: entry {entry.filename!r} names a place outside; do not trust it"
                )
        return list(self._entries)

    def read(self, name: PurePosixPath) -> bytes:
        entry = self._entries[name]
        where = f"{self.path}:{name}"
        if entry.flag_bits & 1:
            raise UserError(f"{where}: encrypted; pack the data set without a password")
        ratio = entry.file_size / max(1, entry.compress_size)
        if entry.file_size > LARGEST_ENTRY or (entry.file_size > 1 << 20 and ratio > LARGEST_RATIO):
            raise UserError(
                f"{where}: {entry.file_size:,} bytes unpacked of {entry.compress_size:,}; "
                f"a text has at most {LARGEST_ENTRY:,}, and {LARGEST_RATIO:,} for 1"
            )
        try:
            with self.archive.open(entry) as file:
                data = file.read(LARGEST_ENTRY + 1)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as error:
            raise UserError(f"{where}: cannot be read ({error}); copy or download it again") from None
        if len(data) > LARGEST_ENTRY:
            raise UserError(f"{where}: larger than it says; a text has at most {LARGEST_ENTRY:,} bytes")
        return data
