"""Models as folders in the Hugging Face layout: found, loaded with an account of their weights, saved whole.

A folder has config.json, model.safetensors (in parts if it is large), the tokenizer's files, README.md (the
card) and nonet.json, which lists our files with their hashes: what we may replace later, and nothing else.
"""

import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from nonet.files import let_read, sha256, write_json

LIMIT = 0.10  # share of weights that may be missing, unexpected or of another shape
MANIFEST = "nonet.json"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
LINES = 8  # names that an account lists under each heading


class Account(NamedTuple):
    """How a model's weights and a file's fit together.

    Attributes:
        matched: weights that were loaded.
        missing: the model's, not in the file: they keep their initial values.
        unexpected: the file's, not in the model: they are left out.
        mismatched: in both, with other shapes.
        table: the same for a reader.
    """

    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    table: str


HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]  # what is fetched from the hub: no code,
HUB_PICKLES = ["pytorch_model*.bin"]  # and pickles, which are read with weights_only, only for want of better


def local_or_hub(name: str | os.PathLike[str]) -> str:
    """A model's folder if there is one, else its name on the hub, as transformers takes both.

    Args:
        name: a folder, or `owner/name`.

    Raises:
        UserError: a path without a folder, a file, or a folder that holds no model.
    """
    text = os.fspath(name)
    if not text:
        raise UserError("no model is named: give a folder, or a hub name like owner/name")
    path = Path(text).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            held = ", ".join(sorted(entry.name for entry in path.iterdir())[:LINES]) or "nothing"
            raise UserError(f"{text}: no config.json in this folder, so no model; it holds {held}")
        return str(path)
    if path.exists():
        raise UserError(f"{text}: is a file; name the folder of a model")
    first = text.split("/")[0]
    if not HUB_NAME.fullmatch(text) or ("/" in text and Path(first).is_dir()) or text.count("..") > 0:
        raise UserError(f"no folder {text}; a hub name looks like owner/name")
    return text


def local_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a model, fetched from the hub (or found in its cache) if the name is one of the hub's.

    Args:
        name: a folder, or `owner/name`.

    Raises:
        UserError: no such folder, or the hub cannot be reached or has no such model.
    """
    where = local_or_hub(name)
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(where, allow_patterns=HUB_FILES))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(where, allow_patterns=HUB_PICKLES)
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: neither a folder nor to be had from the hub: {reason}") from error


def load_pretrained(
    kind: Any, name: str | os.PathLike[str], *, say: Callable[[str], None] = print, **options: Any
) -> Any:
    """`kind.from_pretrained(name)` with an account of the weights; runs no code from the folder.

    Args:
        kind: a model class of transformers.
        name: a folder or hub name.
        say: takes the account if anything does not match.
        **options: for `from_pretrained`.

    Raises:
        UserError: no such model, a damaged one, or over a tenth of its weights does not match.
    """
    from safetensors import SafetensorError

    where = local_or_hub(name)
    try:
        with no_bars():
            model, info = kind.from_pretrained(where, output_loading_info=True, **options)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: weights of other shapes
        damage = "damaged safetensors file: " if isinstance(error, SafetensorError) else ""
        reason = damage + " ".join(str(error).split())
        raise UserError(f"{name}: cannot be loaded as {kind.__name__}: {reason[:300]}") from error
    mismatched = [entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]]
    missing, unexpected = info["missing_keys"], info["unexpected_keys"]
    quiet = not (missing or unexpected or mismatched)
    load_account(
        missing, unexpected, mismatched, len(model.state_dict()), say=(lambda _: None) if quiet else say
    )
    return model


def load_account(
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Iterable[str],
    total: int,
    *,
    say: Callable[[str], None] = print,
    limit: float = LIMIT,
) -> Account:
    """Say which weights were loaded, and stop where a file hardly fits a model.

    Args:
        missing: names the model has and the file lacks.
        unexpected: names the file has and the model lacks.
        mismatched: names of both, with other shapes.
        total: how many weights the model has.
        say: takes the table.
        limit: greatest share of (missing + unexpected + mismatched) in all names.

    Raises:
        UserError: the share is greater.
    """
    lists = {"missing": sorted(missing), "unexpected": sorted(unexpected), "other shape": sorted(mismatched)}
    matched = total - len(lists["missing"]) - len(lists["other shape"])
    table = "\n".join([f"{'matched':<12}{matched:>6} of {total}", *_lines(lists)])
    say(table)
    bad, names = sum(map(len, lists.values())), total + len(lists["unexpected"])
    if bad > limit * names:
        counts = ", ".join(f"{len(found)} {heading}" for heading, found in lists.items())
        raise UserError(
            f"the weights do not fit the model: {matched} of {total} matched, {counts}; "
            f"{bad / max(names, 1):.0%} is over {limit:.0%}: another model, or other names?"
        )
    absent, extra, other = (tuple(found) for found in lists.values())
    return Account(matched, absent, extra, other, table)


def save_folder(
    model: Any,
    tokenizer: Any,
    folder: str | os.PathLike[str],
    card: str,
    *,
    state: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model, its tokenizer and its card as a folder, whole or not at all.

    Of several processes only the first one writes.

    Args:
        model: of transformers, or anything with `save_pretrained(folder)`.
        tokenizer: likewise; None for none.
        folder: where.
        card: text of README.md.
        state: weights to save instead of the model's own, which are shards under FSDP.
        overwrite: replace a folder that this function wrote.

    Returns:
        The folder.

    Raises:
        UserError: it exists, and holds something, and may not be replaced.
    """
    folder = Path(folder)
    if not _first_process():
        return folder
    _refuse_foreign(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    part, old = (folder.with_name(f".{folder.name}.{token}.{word}") for word in ("part", "old"))
    try:
        with no_bars():
            model.save_pretrained(part, **({} if state is None else {"state_dict": dict(state)}))
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        (part / "README.md").write_text(card, encoding="utf-8", newline="\n")
        let_read(*part.rglob("*.safetensors"))
        files = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
        write_json(part / MANIFEST, {"format": 1, "files": {name: sha256(part / name) for name in files}})
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the bars that transformers draws for each file."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _first_process() -> bool:
    import torch.distributed as distributed

    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _refuse_foreign(folder: Path, overwrite: bool) -> None:
    if folder.is_dir():
        held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if not held:
            return
        try:
            ours = {*json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST}
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{folder}: exists and is not a model folder of ours; name another") from None
        if not overwrite:
            raise UserError(f"{folder}: exists already; name another folder, or allow to overwrite it")
        if held - ours:
            first = min(held - ours)
            raise UserError(
                f"{folder}: holds {first}, which was not saved with the model; move it away first"
            )
    elif folder.exists():
        raise UserError(f"{folder}: is a file; name a folder for the model")


def _lines(lists: Mapping[str, list[str]]) -> Iterable[str]:
    """A heading with its number, and the names, alike ones of numbered layers as one."""
    for heading, names in lists.items():
        yield f"{heading:<12}{len(names):>6}"
        alike = Counter(re.sub(r"\b\d+\b", "*", name) for name in names)
        for name, count in list(alike.items())[:LINES]:
            yield f"{'':14}{name}" + (f" (x{count})" if count > 1 else "")
        if len(alike) > LINES:
            yield f"{'':14}... and {len(alike) - LINES} more kinds"
