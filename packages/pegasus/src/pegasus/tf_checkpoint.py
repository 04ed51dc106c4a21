"""Reading a TensorFlow checkpoint (the V2 format of `tf.compat.v1.train.Saver`) without TensorFlow.

`model.ckpt-500000.index` is a table from variable name to type, shape, shard and place;
`model.ckpt-500000.data-00000-of-00002` and its fellows hold the bytes. Field numbers are those of the
published `tensor_bundle.proto`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nonet.errors import UserError
from pegasus import protobuf, tf_table
from pegasus.crc32c import crc32c, unmasked

_BFLOAT16 = 14
_TYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 8: "<c8", 9: "<i8", 10: "?",
    _BFLOAT16: "<u2", 17: "<u2", 18: "<c16", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip


class Entry(NamedTuple):
    """Where a variable lies."""

    type: int
    """TensorFlow's number of the data type"""
    shape: tuple[int, ...]
    shard: int
    offset: int
    """bytes into the shard"""
    size: int
    """bytes"""
    checksum: int
    """masked CRC-32C"""
    partitioned: bool


class Checkpoint(Mapping[str, np.ndarray]):
    """Variable name -> array; an array is read when it is asked for, mapped from the file."""

    def __init__(self, source: str | Path, *, verify: bool = True) -> None:
        """Open a checkpoint.

        Args:
            source: `FOLDER/model.ckpt-500000` (with or without `.index`), or a folder: then its
                `checkpoint` file says which, or it holds one alone.
            verify: compare each variable with its checksum when it is read.

        Raises:
            UserError: a file is missing or is damaged.
        """
        self.prefix = find(source)
        self.verify = verify
        self._maps: dict[int, np.ndarray] = {}
        index = self.prefix.with_name(self.prefix.name + ".index")
        self.entries: dict[str, Entry] = {}
        self.shards = 1
        try:
            for key, value in tf_table.entries(index.read_bytes()):
                if not key:
                    self.shards = _header(value)
                elif key[0]:  # keys that start with a zero byte are parts of a partitioned variable
                    self.entries[key.decode()] = _entry(value)
        except ValueError as error:
            raise UserError(f"{index}: no readable checkpoint index ({error}); copy it again") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> np.ndarray:
        """A variable, read-only; bfloat16 comes as float32.

        Raises:
            KeyError: there is no such variable.
            UserError: its bytes are missing or damaged, or it holds strings or is cut into partitions.
        """
        entry = self.entries[name]
        if entry.partitioned:
            raise UserError(f"{self.prefix}: {name} is saved in partitions; save it again as one variable")
        if entry.type not in _TYPES:
            raise UserError(f"{self.prefix}: {name} holds no numbers (TensorFlow type {entry.type})")
        data = self._shard(entry.shard)[entry.offset : entry.offset + entry.size]
        dtype = np.dtype(_TYPES[entry.type])
        if len(data) != entry.size or entry.size != dtype.itemsize * int(
            np.prod(entry.shape, dtype=np.int64)
        ):
            raise UserError(f"{self._file(entry.shard)}: {name} is cut off; copy the file again")
        if self.verify and crc32c(data) != unmasked(entry.checksum):
            raise UserError(
                f"{self._file(entry.shard)}: the checksum of {name} is wrong; copy the file again"
            )
        if entry.offset % dtype.itemsize:
            data = data.copy()
        values = data.view(dtype).reshape(entry.shape)
        if entry.type == _BFLOAT16:
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return values

    def _file(self, shard: int) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")

    def _shard(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            path = self._file(shard)
            if not path.is_file():
                raise UserError(
                    f"file {path.name} not found in {path.parent}; the checkpoint has {self.shards} of them"
                )
            empty = path.stat().st_size == 0
            self._maps[shard] = np.empty(0, np.uint8) if empty else np.memmap(path, np.uint8, mode="r")
        return self._maps[shard]


def find(source: str | Path) -> Path:
    """The common beginning of a checkpoint's files, such as `FOLDER/model.ckpt-500000`.

    Raises:
        UserError: there is no checkpoint, or more than one and nothing says which.
    """
    source = Path(source)
    if source.is_dir():
        return _find_in(source)
    prefix = source.with_suffix("") if source.suffix == ".index" else source
    if ".data-" in prefix.name:
        prefix = prefix.with_name(prefix.name.split(".data-")[0])
    if not prefix.with_name(prefix.name + ".index").is_file():
        there = _indices(prefix.parent)
        others = f"; there are {', '.join(there)}" if there else ""
        raise UserError(f"file {prefix.name}.index not found in {prefix.parent}{others}")
    return prefix


def _find_in(folder: Path) -> Path:
    state = folder / "checkpoint"
    if state.is_file():
        for line in state.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model_checkpoint_path":
                name = Path(value.strip().strip('"')).name  # a full path may be of another machine
                if (folder / f"{name}.index").is_file():
                    return folder / name
    there = _indices(folder)
    if len(there) == 1:
        return folder / there[0].removesuffix(".index")
    if there:
        raise UserError(f"{folder} has several checkpoints ({', '.join(there)}); name one, without .index")
    raise UserError(
        f"file model.ckpt-N.index not found in {folder}; name the folder of a TensorFlow checkpoint"
    )


def _indices(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.index")) if folder.is_dir() else []


def _header(value: bytes) -> int:
    """The number of shards."""
    shards = 1
    for number, content in protobuf.fields(value):
        if number == 1 and isinstance(content, int):
            shards = content
        elif number == 2 and content != 0:
            raise ValueError("it was written on a big-endian machine")
    return shards


def _entry(value: bytes) -> Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: list[int] = []
    checksum, partitioned = 0, False
    for number, content in protobuf.fields(value):
        if isinstance(content, int):
            numbers[number] = content
        elif number == 2:
            shape = [_size(dim) for n, dim in protobuf.fields(content) if n == 2 and not isinstance(dim, int)]
        elif number == 6:
            checksum = int.from_bytes(content, "little")
        elif number == 7:
            partitioned = True
    return Entry(numbers[1], tuple(shape), numbers[3], numbers[4], numbers[5], checksum, partitioned)


def _size(dimension: memoryview) -> int:
    return next((v for n, v in protobuf.fields(dimension) if n == 1 and isinstance(v, int)), 0)
