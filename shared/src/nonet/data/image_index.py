"""Image files by name, where annotations name them in another case, folder or ending (ours)."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from nonet.data.images import EXTENSIONS


class ImageIndex:
    """The image files of a folder.

    The folder is read only when a name is not found as it is written; links to folders are followed once.
    """

    def __init__(self, folder: Path, *, deep: bool = True) -> None:
        """Take a folder; `deep` looks below it too."""
        self.folder, self.deep = folder, deep

    def find(self, name: str) -> Path | None:
        """The file that an annotation means, or None.

        It is tried as written below the folder, then by its last part without regard to case, then without
        regard to its ending.
        """
        name = name.replace("\\", "/")
        direct = self.folder / name
        if name and direct.is_file():
            return direct
        last = name.rpartition("/")[2].lower()
        return self._names.get(last) or self._stems.get(stem(last))

    def paths(self) -> list[Path]:
        """All image files, sorted."""
        return self._files

    @cached_property
    def _files(self) -> list[Path]:
        return sorted(_walk(self.folder, self.deep))

    @cached_property
    def _names(self) -> dict[str, Path]:
        return {path.name.lower(): path for path in reversed(self._files)}

    @cached_property
    def _stems(self) -> dict[str, Path]:
        return {stem(path.name.lower()): path for path in reversed(self._files)}


def stem(name: str) -> str:
    """A file's name without the ending of an image, an annotation or a label."""
    start, dot, end = name.rpartition(".")
    return start if dot and f".{end.lower()}" in (*EXTENSIONS, ".xml", ".txt") else name


def _walk(folder: Path, deep: bool) -> Iterator[Path]:
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen or not deep:
            folders.clear()
        if real not in seen:
            yield from (Path(where, file) for file in files if Path(file).suffix.lower() in EXTENSIONS)
        seen.add(real)
