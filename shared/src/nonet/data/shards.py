"""Shards: rows of named ragged columns in memory-mapped files, written atomically and resumable (ours).

A folder holds `index.json` and `shard-00000.safetensors`, `shard-00001.safetensors`, ... In each file a
column `ids` is the flat array `ids` and the int64 array `ids.offsets` (rows + 1): row r is
`ids[offsets[r]:offsets[r+1]]`. Text is stored as its UTF-8 bytes in a uint8 column.
"""

import json
import os
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from itertools import accumulate
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.safetensors_file import DTYPES, Array, map_tensors, write_tensors
from nonet.data.shard_index import INDEX, VERSION, check_files, read_index, same_settings
from nonet.errors import UserError
from nonet.files import sha256, write_json

OFFSETS = ".offsets"
OPEN_SHARDS = 256  # mapped at the same time by one reader; each holds a file descriptor


class ShardWriter:
    """Writes rows into a new folder of shards; `ShardWriter.open` also goes on with an interrupted one.

        with ShardWriter.open(folder, meta) as writer:
            for record in islice(records, writer.position, None):
                writer.append({"ids": encode(record)})
                writer.consumed()

    A shard ends only between source records, when it has `rows_per_shard` rows or `bytes_per_shard` bytes,
    and is complete on disk before the index names it. Hence the files are the same bytes whether the work
    was interrupted or not. Leaving the `with` block in good order closes the folder; leaving it by an
    exception keeps the complete shards, and the next `open` goes on from there.

    Args:
        folder: where to write; made if it is missing.
        meta: what the rows were made from and how, as JSON values. It is kept, and must be the same when the
            work goes on.
        rows_per_shard: rows after which a shard ends.
        bytes_per_shard: bytes of column data after which a shard ends; bounds the memory in use.

    Attributes:
        position: source records that the complete shards account for; after `close`, all of them.
        complete: whether the folder is finished.

    Raises:
        UserError: the folder holds shards already, or another process is writing there.
    """

    _lock: int | None = None

    def __init__(
        self,
        folder: Path | str,
        meta: Mapping[str, Any],
        *,
        rows_per_shard: int = 16384,
        bytes_per_shard: int = 128 << 20,
    ) -> None:
        if rows_per_shard < 1 or bytes_per_shard < 1:
            raise ValueError(
                f"rows_per_shard {rows_per_shard} and bytes_per_shard {bytes_per_shard} must be positive"
            )
        self.folder = Path(folder)
        if (self.folder / INDEX).exists():
            raise UserError(
                f"{self.folder}: holds shards already; continue with --resume or name another folder"
            )
        self._start(meta, rows_per_shard, bytes_per_shard)
        self._write_index()

    @classmethod
    def open(
        cls,
        folder: Path | str,
        meta: Mapping[str, Any],
        *,
        rows_per_shard: int = 16384,
        bytes_per_shard: int = 128 << 20,
    ) -> "ShardWriter":
        """A writer that goes on where the folder ends, or begins it; the arguments are those of the class.

        Raises:
            UserError: the folder was begun with other settings; the text names the first that differs.
        """
        if not (Path(folder) / INDEX).exists():
            return cls(folder, meta, rows_per_shard=rows_per_shard, bytes_per_shard=bytes_per_shard)
        writer = cls.__new__(cls)
        writer.folder = Path(folder)
        index = read_index(writer.folder)
        sizes = {"rows_per_shard": rows_per_shard, "bytes_per_shard": bytes_per_shard}
        before = index["meta"] | {key: index[key] for key in sizes}
        same_settings(writer.folder, before, {**meta, **sizes})
        writer._start(index["meta"], rows_per_shard, bytes_per_shard)
        try:
            check_files(writer.folder, index["shards"])
        except UserError:
            writer._unlock()
            raise
        writer._shards = index["shards"]
        writer._dtypes = {name: np.dtype(dtype) for name, dtype in index["columns"].items()}
        writer.position, writer.complete = index["position"], index["complete"]
        return writer

    def _start(self, meta: Mapping[str, Any], rows_per_shard: int, bytes_per_shard: int) -> None:
        self.meta: dict[str, Any] = json.loads(json.dumps(dict(meta)))
        self.rows_per_shard, self.bytes_per_shard = rows_per_shard, bytes_per_shard
        self.position, self.complete = 0, False
        self._shards: list[dict[str, Any]] = []
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._rows: list[dict[str, Array]] = []
        self._bytes = self._consumed = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        for left in self.folder.glob(".*.part"):  # of a process that was killed while writing
            left.unlink()

    def append(self, row: Mapping[str, Array]) -> None:
        """Add a row.

        Args:
            row: column -> one-dimensional array of any length and an int, float or bool dtype. Columns and
                dtypes are those of the first row.

        Raises:
            ValueError: columns, dtypes or dimensions are other than before, or the folder is complete.
        """
        if self.complete:
            raise ValueError(f"{self.folder}: complete; nothing can be added")
        arrays = {name: np.array(values, copy=True) for name, values in row.items()}
        found = {name: values.dtype for name, values in arrays.items()}
        if not self._dtypes:
            for name, values in arrays.items():
                if (
                    values.dtype.name not in DTYPES.values()
                    or name.endswith(OFFSETS)
                    or name == "__metadata__"
                ):
                    raise ValueError(f"column {name!r} of dtype {values.dtype} cannot be stored")
            if not arrays:
                raise ValueError("a row needs at least one column")
            self._dtypes = dict(sorted(found.items()))
        if found != self._dtypes:
            raise ValueError(f"row has columns {_shown(found)}, the ones before have {_shown(self._dtypes)}")
        for name, values in arrays.items():
            if values.ndim != 1:
                raise ValueError(
                    f"column {name!r} has shape {values.shape}; a row holds one-dimensional arrays"
                )
            self._bytes += values.nbytes + 8
        self._rows.append(arrays)

    def consumed(self, count: int = 1) -> None:
        """Say that all rows of `count` more source records have been added; here a shard may end."""
        self._consumed += count
        if len(self._rows) >= self.rows_per_shard or self._bytes >= self.bytes_per_shard:
            self._flush()
            self._write_index()

    def close(self) -> None:
        """Write what is left and mark the folder complete; a second call does nothing."""
        if not self.complete:
            if self._rows:
                self._flush()
            self.position += self._consumed
            self._consumed = 0
            self.complete = True
            self._write_index()
        self._unlock()

    def abandon(self) -> None:
        """Leave the folder incomplete, for `open` to go on from the last complete shard."""
        self._rows, self._bytes, self._consumed = [], 0, 0
        self._unlock()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _flush(self) -> None:
        tensors: dict[str, Array] = {}
        for name, dtype in self._dtypes.items():
            values = [row[name] for row in self._rows]
            offsets = np.zeros(len(values) + 1, np.int64)
            np.cumsum([len(v) for v in values], out=offsets[1:])
            tensors[name] = np.concatenate(values, dtype=dtype)
            tensors[name + OFFSETS] = offsets
        name = f"shard-{len(self._shards):05d}.safetensors"
        size, digest = write_tensors(self.folder / name, tensors)
        entry = {
            "file": name,
            "rows": len(self._rows),
            "consumed": self._consumed,
            "bytes": size,
            "sha256": digest,
        }
        self._shards.append(entry)
        self.position += self._consumed
        self._rows, self._bytes, self._consumed = [], 0, 0

    def _write_index(self) -> None:
        index = {
            "version": VERSION,
            "complete": self.complete,
            "position": self.position,
            "rows_per_shard": self.rows_per_shard,
            "bytes_per_shard": self.bytes_per_shard,
            "columns": {name: dtype.name for name, dtype in self._dtypes.items()} if self._shards else {},
            "meta": self.meta,
            "shards": self._shards,
        }
        write_json(self.folder / INDEX, index)

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # not on Windows, where two writers are the user's own care
            return
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(
                self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # the kernel frees it when the process ends
        except BlockingIOError:
            self._unlock()
            raise UserError(
                f"{self.folder}: another process is writing shards here; wait for it or stop it"
            ) from None
        except OSError:  # a file system without locks
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __del__(self) -> None:
        self._unlock()


class Shards:
    """The rows of a complete folder of shards, memory-mapped: opening is quick, and reading copies nothing.

    Safe to share: it pickles as its folder, and any number of processes may read at once.

    Args:
        folder: what a `ShardWriter` has closed.

    Attributes:
        meta: what the writer was given.
        columns: column -> dtype name.
        records: source records that the rows were made of.

    Raises:
        UserError: no shards there, they are incomplete, or a file is missing or has another size.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        if not index["complete"]:
            raise UserError(
                f"{self.folder}: incomplete, its writing was interrupted; run that command with --resume"
            )
        self._shards: list[dict[str, Any]] = index["shards"]
        check_files(self.folder, self._shards)
        self.meta: dict[str, Any] = index["meta"]
        self.columns: dict[str, str] = index["columns"]
        self.records: int = index["position"]
        self._ends = list(accumulate(entry["rows"] for entry in self._shards))
        self._mapped: OrderedDict[int, dict[str, Array]] = OrderedDict()

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path]]:
        return Shards, (self.folder,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Array]:
        """Row `index`: column -> one-dimensional read-only view; copy it before writing into it."""
        row = as_index(index)
        row += len(self) if row < 0 else 0
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        shard = bisect_right(self._ends, row)
        tensors = self._open(shard)
        row -= self._ends[shard - 1] if shard else 0
        found = {}
        for name in self.columns:
            offsets = tensors[name + OFFSETS]
            found[name] = tensors[name][offsets[row] : offsets[row + 1]]
        return found

    def lengths(self, column: str) -> NDArray[np.int64]:
        """The length of every row in `column`: int64, (rows,)."""
        if self._shards and column not in self.columns:
            raise ValueError(f"{self.folder}: no column {column!r}; columns are {', '.join(self.columns)}")
        parts = [np.diff(self._open(shard)[column + OFFSETS]) for shard in range(len(self._shards))]
        return np.concatenate(parts, dtype=np.int64) if parts else np.zeros(0, np.int64)

    def verify(self) -> None:
        """Read every file and compare its SHA-256 with the index.

        Raises:
            UserError: a file has changed since it was written.
        """
        for entry in self._shards:
            if sha256(self.folder / entry["file"]) != entry["sha256"]:
                raise UserError(
                    f"{self.folder / entry['file']}: its content has changed; build the shards again"
                )

    def _open(self, shard: int) -> dict[str, Array]:
        if shard in self._mapped:
            self._mapped.move_to_end(shard)
            return self._mapped[shard]
        entry = self._shards[shard]
        path = self.folder / entry["file"]
        tensors = map_tensors(path)
        for name, dtype in self.columns.items():
            flat, offsets = tensors.get(name), tensors.get(name + OFFSETS)
            if flat is None or offsets is None or flat.dtype != dtype or len(offsets) != entry["rows"] + 1:
                raise UserError(f"{path}: column {name!r} is not what the index says; build the shards again")
            if offsets[0] != 0 or offsets[-1] != len(flat) or (np.diff(offsets) < 0).any():
                raise UserError(f"{path}: the offsets of column {name!r} are broken; build the shards again")
        self._mapped[shard] = tensors
        if len(self._mapped) > OPEN_SHARDS:
            self._mapped.popitem(last=False)  # views that are in use keep their own file mapped
        return tensors


def await_shards(folder: Path | str, *, pause: float = 0.5) -> Shards:
    """The shards that another process writes, when they are complete.

    Args:
        folder: where they will be.
        pause: seconds between two looks.
    """
    while True:
        try:
            return Shards(folder)
        except UserError:  # not begun, or not complete; if the writer fails, the launcher ends this process
            time.sleep(pause)


def _shown(dtypes: Mapping[str, np.dtype[Any]]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in sorted(dtypes.items()))
