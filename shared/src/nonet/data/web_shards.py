"""Tar shards of images and texts (the WebDataset layout), read at random places and written (ours).

Files of one sample follow each other and share the name before the first dot: `000017.jpg`, `000017.txt` (one
caption), `000017.json` (with `caption` or `captions`, and `image_id` if there is one). A shard is walked
once, for its headers and texts; images are then read where they lie.
"""

import glob
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nonet.data.images import EXTENSIONS
from nonet.errors import UserError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class ShardImage(NamedTuple):
    """An image in a shard.

    Attributes:
        shard: the tar file.
        name: of the image in it.
        offset: of its first byte in the shard.
        size: bytes.
        captions: in order.
        id: of the image, empty if the shard has none.
    """

    shard: Path
    name: str
    offset: int
    size: int
    captions: tuple[str, ...]
    id: str


def find_shards(source: Path | str) -> list[Path]:
    """The tar files that a source names: one, a folder's, a glob's, a range's `web/{00000..00031}.tar`.

    Returns:
        Sorted; empty if the source is something else.

    Raises:
        UserError: a shard of a range or glob is not there, or a folder has none.
    """
    text = str(source)
    path = Path(source)
    if path.is_dir():
        found = sorted(path.glob("*.tar"))
        if not found:
            raise UserError(f"{path}: a folder without .tar shards; name a file of pairs")
        return found
    if not text.endswith(".tar"):
        return []
    match = _RANGE.search(text)
    if match:
        low, high = match.groups()
        numbers = range(int(low), int(high) + 1)
        named = [text[: match.start()] + str(n).zfill(len(low)) + text[match.end() :] for n in numbers]
    else:
        named = [text] if path.is_file() else sorted(glob.glob(text))
    missing = [name for name in named if not Path(name).is_file()]
    if missing or not named:
        raise UserError(f"{missing[0] if missing else text}: no such shard")
    return [Path(name) for name in named]


def read_shard(shard: Path, left_out: Counter[str] | None = None) -> Iterator[ShardImage]:
    """The images of a shard with their captions.

    Args:
        shard: the tar file, not compressed.
        left_out: counts samples without an image or a caption.

    Raises:
        UserError: not a tar file, or a damaged one.
    """
    counts: Counter[str] = Counter() if left_out is None else left_out
    key, sample = "", _Sample()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                own, _, ending = member.name.rpartition("/")[2].partition(".")
                own = member.name[: len(member.name) - len(ending) - 1]
                if own != key:
                    yield from sample.images(shard, counts)
                    key, sample = own, _Sample()
                sample.add(shard, tar, member, "." + ending.lower())
            yield from sample.images(shard, counts)
            end = tar.offset
        with open(shard, "rb") as file:
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # tarfile takes it as the end
                raise tarfile.ReadError("cut off inside a header")
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{shard}: not a whole tar file ({reason}); copy it again") from error


class ShardWriter:
    """Write samples to `NAME-000000.tar`, `NAME-000001.tar`, ...; equal samples give equal bytes.

    Args:
        folder: made if it is missing.
        name: of the shards.
        samples: in a shard, at most.

    Raises:
        UserError: the folder has such shards already.
    """

    def __init__(self, folder: Path, name: str = "pairs", samples: int = 1000) -> None:
        if samples < 1:
            raise UserError(f"{samples} samples a shard; at least 1")
        if any(folder.glob(f"{name}-*.tar")):
            raise UserError(f"{folder}: has shards {name}-*.tar already; name another folder")
        self.folder, self.name, self.samples = folder, name, samples
        self.written: list[Path] = []
        self.count = 0
        self._held: list[tuple[str, bytes]] = []
        self._in_shard = 0

    def add(self, data: bytes, ending: str, captions: tuple[str, ...], id: str = "") -> None:
        """Take an image's file (its bytes and its ending, such as `.jpg`), its captions and its id."""
        key = f"{self.count:08d}"
        told: dict[str, Any] = {"captions": list(captions)} | ({"image_id": id} if id else {})
        text = json.dumps(told, ensure_ascii=False).encode()
        self._held += [(key + ending, data), (key + ".json", text), (key + ".txt", captions[0].encode())]
        self.count += 1
        self._in_shard += 1
        if self._in_shard == self.samples:
            self.close()

    def close(self) -> None:
        """Write what is held; call it after the last sample."""
        import io

        from nonet.files import replacing

        if not self._held:
            return
        path = self.folder / f"{self.name}-{len(self.written):06d}.tar"
        with replacing(path) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in self._held:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        self.written.append(path)
        self._held, self._in_shard = [], 0


class _Sample:
    """The files of one sample."""

    def __init__(self) -> None:
        self.image: tuple[str, int, int] | None = None
        self.captions: tuple[str, ...] = ()
        self.id = ""
        self.met = False

    def add(self, shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
        self.met = True
        if ending in EXTENSIONS and self.image is None:
            self.image = (member.name, member.offset_data, member.size)
        elif ending == ".json":
            self._read_json(_content(tar, member), f"{shard}:{member.name}")
        elif ending in (".txt", ".caption") and not self.captions:
            self.captions = (_content(tar, member).decode("utf-8", "replace"),)

    def images(self, shard: Path, left_out: Counter[str]) -> Iterator[ShardImage]:
        """The sample, if it is whole."""
        if self.image is not None and self.captions:
            name, offset, size = self.image
            yield ShardImage(shard, name, offset, size, self.captions, self.id)
        elif self.met:
            left_out["samples of shards without an image or a caption"] += 1

    def _read_json(self, data: bytes, where: str) -> None:
        try:
            told = json.loads(data)
        except ValueError as error:
            raise UserError(f"{where}: not JSON: {error}") from None
        if not isinstance(told, dict):
            raise UserError(f"{where}: not a JSON object")
        texts = told.get("captions", told.get("caption"))
        if isinstance(texts, str):
            texts = [texts]
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            self.captions = tuple(texts)
        if told.get("image_id") is not None:
            self.id = str(told["image_id"])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""
