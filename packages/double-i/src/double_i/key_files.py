"""Key files: mode 0600, written at once, optionally under a passphrase. Ours."""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from double_i.keys import Key, burned, from_dict, to_dict
from nonet.errors import UserError, needs
from nonet.files import replacing

FORMAT = "double-i keys"
LOCKED = "double-i keys, encrypted"
PASSPHRASE = "DOUBLE_I_PASSPHRASE"
"""environment variable with the passphrase"""
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}


def read_passphrase(path: Path | None) -> str | None:
    """The first line of a file, else the variable DOUBLE_I_PASSPHRASE, else None.

    Raises:
        UserError: the file is missing or its first line is empty.
    """
    if path is None:
        return os.environ.get(PASSPHRASE) or None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read; give a file whose first line is the passphrase") from None
    if not lines or not lines[0]:
        raise UserError(f"{path}: the first line is empty; it is to be the passphrase")
    return lines[0]


def refuse_inline(path: str | os.PathLike[str]) -> None:
    """Refuse a secret that stands where a file's name belongs; the error does not repeat it.

    Raises:
        UserError: the text looks like a key or a secret.
    """
    text = os.fspath(path).strip()
    if "{" in text or '"' in text or re.fullmatch(r"(0x)?[0-9a-fA-F]{32,}", Path(text).name):
        raise UserError(
            "a secret was given on the command line or in a settings file, where others can read it; "
            "keep it in a key file and give that file's name"
        )


def read_keys(path: str | os.PathLike[str], passphrase: str | None = None) -> list[Key]:
    """The keys of a file.

    Args:
        path: a key file, or a single key as a JSON object.
        passphrase: for an encrypted file; by default that of DOUBLE_I_PASSPHRASE.

    Raises:
        UserError: missing, not a key file, encrypted without a passphrase, wrong passphrase. It shows no
        secret.
    """
    refuse_inline(path)
    value = _load(Path(path))
    if isinstance(value, dict) and value.get("format") == LOCKED:
        value = _unlock(value, passphrase or read_passphrase(None), path)
    if isinstance(value, dict) and value.get("format") == FORMAT:
        if value.get("version") != 1 or not isinstance(value.get("keys"), list) or not value["keys"]:
            raise UserError(f"{path}: not a key file of version 1 with at least one key")
        entries = value["keys"]
    elif isinstance(value, dict) and "secret" in value:
        entries = [value]
    else:
        raise UserError(f"{path}: not a key file; `double-i keygen` writes one")
    keys = [from_dict(entry, f"{path}, key {number}") for number, entry in enumerate(entries, start=1)]
    if len({key.key_id for key in keys}) < len(keys):
        raise UserError(f"{path}: two keys have the same key_id")
    return keys


def is_encrypted(path: str | os.PathLike[str]) -> bool:
    """Whether a key file needs a passphrase."""
    value = _load(Path(path))
    return isinstance(value, dict) and value.get("format") == LOCKED


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such key file; a lost key cannot be made again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # its text may hold a piece of the file
        raise UserError(f"{path}: not a key file: it is not JSON") from None


def write_keys(path: str | os.PathLike[str], keys: Sequence[Key], passphrase: str | None = None) -> None:
    """Write a key file with mode 0600, at once or not at all; encrypted if there is a passphrase.

    Raises:
        UserError: a passphrase is given and the extra `double-i[passphrase]` is not installed.
    """
    value: dict[str, Any] = {"format": FORMAT, "version": 1, "keys": [to_dict(key) for key in keys]}
    if passphrase:
        value = _lock(value, passphrase)
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with private(path) as file:
        file.write(text)


@contextmanager
def private(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A text file of mode 0600 that takes the place of `path` when the block ends well."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        replacing(path) as part,
        open(os.open(part, flags, 0o600), "w", encoding="utf-8", newline="\n") as file,
    ):
        os.fchmod(file.fileno(), 0o600)  # whatever the umask is
        yield file


def select_key(keys: Sequence[Key], key_id: str | None = None, *, allow_burned: bool = False) -> Key:
    """The key with an id, or the first active one.

    Raises:
        UserError: there is none, or it is burned.
    """
    if key_id is not None:
        for key in keys:
            if key.key_id == key_id:
                if key.status == "burned" and not allow_burned:
                    raise UserError(f"key {key_id} is burned: an operator saw its prompts; use another key")
                return key
        raise UserError(f"no key {key_id} in the file; it has {', '.join(key.key_id for key in keys)}")
    for key in keys:
        if key.status == "active" or allow_burned:
            return key
    raise UserError("all keys of the file are burned: operators saw their prompts, and may filter them")


def burn(path: str | os.PathLike[str], key_id: str, passphrase: str | None = None) -> None:
    """Mark a key of a file as burned; an encrypted file stays encrypted.

    Raises:
        UserError: the file cannot be read or has no such key.
    """
    word = passphrase or read_passphrase(None)
    keys = read_keys(path, word)
    select_key(keys, key_id, allow_burned=True)
    changed = [burned(key) if key.key_id == key_id else key for key in keys]
    write_keys(path, changed, word if is_encrypted(path) else None)


def git_warning(path: str | os.PathLike[str]) -> str | None:
    """A warning if the file lies in a git work tree that does not ignore it, else None."""
    place = Path(path).absolute()
    if not any((folder / ".git").exists() for folder in place.parents):
        return None
    git = shutil.which("git")
    if git is not None:
        folder = next(folder for folder in place.parents if folder.is_dir())
        command = [git, "-C", str(folder), "check-ignore", "-q", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return None
    return f"{path}: lies in a git work tree that does not ignore it; move it, or name it in .gitignore"


def _lock(value: dict[str, Any], passphrase: str) -> dict[str, Any]:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    cipher = _cipher(passphrase, salt, "write a key file under a passphrase")
    data = cipher.encrypt(nonce, json.dumps(value).encode(), LOCKED.encode())
    return {
        "format": LOCKED, "version": 1, "kdf": {"name": "scrypt", **_SCRYPT, "salt": _text(salt)},
        "cipher": "AES-256-GCM", "nonce": _text(nonce), "data": _text(data),
    }  # fmt: skip


def _unlock(value: dict[str, Any], passphrase: str | None, path: str | os.PathLike[str]) -> Any:
    if passphrase is None:
        raise UserError(f"{path}: encrypted; put its passphrase into a file or the variable {PASSPHRASE}")
    try:
        kdf = value["kdf"]
        known = kdf["name"] == "scrypt" and {name: kdf[name] for name in _SCRYPT} == _SCRYPT
        if not known or value["cipher"] != "AES-256-GCM" or value["version"] != 1:
            raise UserError(f"{path}: encrypted in a way that this program does not know")
        salt, nonce, data = (base64.b64decode(text) for text in (kdf["salt"], value["nonce"], value["data"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: a damaged encrypted key file") from None
    cipher = _cipher(passphrase, salt, "read an encrypted key file")
    invalid = needs("cryptography.exceptions", to="read it", install="double-i[passphrase]").InvalidTag
    try:
        return json.loads(cipher.decrypt(nonce, data, LOCKED.encode()))
    except (invalid, ValueError):
        raise UserError(f"{path}: the passphrase is wrong or the file was changed") from None


def _cipher(passphrase: str, salt: bytes, to: str) -> Any:
    needs(
        "cryptography", to=to, install="double-i[passphrase]"
    )  # a package that is absent is named, not its part
    kdf = needs("cryptography.hazmat.primitives.kdf.scrypt", to=to, install="double-i[passphrase]")
    aead = needs("cryptography.hazmat.primitives.ciphers.aead", to=to, install="double-i[passphrase]")
    return aead.AESGCM(kdf.Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase.encode()))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
