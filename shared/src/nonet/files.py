"""Writing files so that a reader, or a run that was killed, never meets half of one."""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write to a temporary file beside `path` that takes its place when the block ends well.

    The temporary name is `.NAME.HEX.part`: hidden, in the same folder, so that the rename is atomic. If the
    block raises, the temporary file is removed and `path` stays as it was.

    Args:
        path: the file to write; its folder is made if it is missing.

    Yields:
        The temporary path. Whoever opens it closes it before the block ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        if path.suffix == ".safetensors":
            let_read(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def let_read(*files: Path) -> None:
    """Give files the mode that other new files get: safetensors writes its own for their owner alone.

    Where a file system has no modes they stay as they are.

    Args:
        files: of one folder.
    """
    if not files:
        return
    probe = files[0].with_name(f".{secrets.token_hex(4)}.part")
    with suppress(OSError):
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
        finally:
            os.close(handle)
            probe.unlink()
        for file in files:
            file.chmod(mode)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with Unix newlines, at once or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, at once or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
