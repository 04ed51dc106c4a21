"""Owner rows and marked rows into one training file, in an order that a seed decides (ours).

Rows go to a temporary file once; then their places are shuffled and copied in that order. So memory grows by 16
bytes a row, whatever the rows hold. An owner row whose format stays and whose columns are standard is copied
as it is (in JSON lines, line breaks between its fields become spaces); others are written anew.
"""

import hashlib
import json
import mmap
import random
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from double_i.examples import Example, OwnerRow, read_examples
from double_i.formats import reversible, to_value
from nonet.errors import UserError
from nonet.files import replacing, write_json

TARGETS = ("same", "alpaca", "sharegpt", "openai", "trl", "llamafactory")
_BREAK = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")  # JSON has no line breaks inside of strings
NAMED = 5  # rows that an account names


@dataclass
class Account:
    """What a merge did.

    Attributes:
        format: of the file that was written.
        owner, marked: rows of each kind.
        copied: owner rows that kept every byte (line breaks aside).
        dropped_columns: column that is not standard -> rows that had it.
        borders: owner rows whose border between instruction and input a chat format does not keep.
        border_rows: where the first of them are.
    """

    format: str = ""
    owner: int = 0
    marked: int = 0
    copied: int = 0
    dropped_columns: dict[str, int] = field(default_factory=dict)
    borders: int = 0
    border_rows: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Marked rows as a share of all."""
        return self.marked / max(1, self.owner + self.marked)


@dataclass(frozen=True)
class _Style:
    """How the owner's rows are written, so that marked rows do not stand out by it."""

    separators: tuple[str, str] = (", ", ": ")
    ascii: bool = False
    order: tuple[str, ...] = ()
    drop_empty_input: bool = False

    def text(self, example: Example, format: str, join: str) -> str:
        value = to_value(example, format, join)
        if self.drop_empty_input and not value.get("input", "x"):
            del value["input"]
        value = {name: value[name] for name in (*self.order, *value) if name in value}
        return json.dumps(value, ensure_ascii=self.ascii, separators=self.separators)


def _style(row: OwnerRow, line: str) -> _Style:
    value: dict[str, Any] = json.loads(row.raw)
    ascii = line.isascii() and not json.dumps(value, ensure_ascii=False).isascii()
    order = tuple(value)
    lacks = row.format == "alpaca" and "input" not in value
    for separators in ((", ", ": "), (",", ":"), (",", ": ")):
        if json.dumps(value, ensure_ascii=ascii, separators=separators) == line:
            return _Style(separators, ascii, order, lacks)
    return _Style((", ", ": "), ascii, order, lacks)


def merge(
    owner: Sequence[Path],
    marked: Sequence[Path],
    out: Path,
    *,
    to: str = "same",
    seed: int = 0,
    format: str = "auto",
    join: str = "\n\n",
    name: str = "",
) -> Account:
    """Write the training file.

    Args:
        owner: files of the owner's rows.
        marked: files of marked rows; none only converts and shuffles.
        out: .jsonl (one object a line) or .json (a list).
        to: one of `TARGETS`; `same` is the format of the owner's first row, `llamafactory` is Alpaca with an
            entry in `dataset_info.json` beside it (ShareGPT rows stay ShareGPT).
        seed: of the order.
        format: of the files that are read, or `auto`.
        join: between instruction and input in chat formats.
        name: of the data set in `dataset_info.json`; the file's name by default.

    Raises:
        UserError: a bad input row, an unfit suffix, an output that is an input, or rows that do not read back.
    """
    if to not in TARGETS:
        raise UserError(f"there is no format {to!r} to write; there are {', '.join(TARGETS)}")
    if out.suffix not in (".jsonl", ".json"):
        raise UserError(f"{out}: name the file .jsonl (one row a line) or .json (a list)")
    if to == "openai" and out.suffix != ".jsonl":
        raise UserError(f"{out}: OpenAI takes one row a line; name the file .jsonl")
    if out.resolve() in {path.resolve() for path in (*owner, *marked)}:
        raise UserError(f"{out}: is one of the files that are read; choose another name")
    account = Account()
    info = _dataset_info(out) if to == "llamafactory" else {}
    with replacing(out) as part, replacing(out.with_name(f".{out.name}.rows")) as spool:
        places, digests = array("Q", [0]), 0
        with open(spool, "wb") as file:
            for text, example in _texts(owner, marked, to, format, join, account):
                data = text.encode()
                file.write(data)
                places.append(places[-1] + len(data))
                digests = (digests + _digest(example)) % 2**64
        _copy(spool, part, places, seed, lines=out.suffix == ".jsonl")
        _check(part, out, account, join, digests, len(places) - 1)
        spool.write_bytes(b"")  # renamed below, then removed: it never holds rows under its own name
    out.with_name(f".{out.name}.rows").unlink(missing_ok=True)
    if to == "llamafactory":
        info[name or out.stem] = _entry(out, account.format)
        write_json(out.with_name("dataset_info.json"), info)
    return account


def _texts(
    owner: Sequence[Path], marked: Sequence[Path], to: str, format: str, join: str, account: Account
) -> Iterator[tuple[str, Example]]:
    style: _Style | None = None
    for row in read_examples(owner, format=format, join=join):
        if not account.format:
            keeps = to == "same" or (to == "llamafactory" and row.format == "sharegpt")
            account.format = row.format if keeps else "alpaca" if to == "llamafactory" else to
        account.owner += 1
        example = row.example
        if row.format == account.format and not row.extra:
            text = _BREAK.sub(" ", row.raw)
            account.copied += 1
        else:
            for column in row.extra:
                account.dropped_columns[column] = account.dropped_columns.get(column, 0) + 1
            text = (style or _Style()).text(example, account.format, join)
        if row.format == "alpaca" != account.format and not reversible(example, join):
            account.borders += 1
            if len(account.border_rows) < NAMED:
                account.border_rows.append(row.where)
        if style is None:
            style = _style(row, text) if row.format == account.format and not row.extra else _Style()
        yield text, example
    for row in read_examples(marked, join=join):
        account.marked += 1
        yield (style or _Style()).text(row.example, account.format, join), row.example


def _copy(spool: Path, part: Path, places: "array[int]", seed: int, *, lines: bool) -> None:
    order = array("Q", range(len(places) - 1))
    random.Random(seed).shuffle(order)  # type: ignore[arg-type]
    first, between, last = (b"", b"\n", b"\n") if lines else (b"[\n", b",\n", b"\n]\n")
    with open(spool, "rb") as file, open(part, "wb") as out:
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as rows:
            for count, row in enumerate(order):
                out.write((between if count else first) + rows[places[row] : places[row + 1]])
        out.write(last)


def _digest(example: Example) -> int:
    """Of what a chat format keeps of a row: the texts of all turns."""
    text = json.dumps([example.instruction, example.input, example.output, example.system, example.history])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _check(part: Path, out: Path, account: Account, join: str, digests: int, count: int) -> None:
    """Read the file back; its rows are those that went in, in any order."""
    from double_i.formats import PARSERS
    from double_i.raw_records import raw_records

    found, total = 0, 0
    link = part.with_name(f"{part.name}{out.suffix}")  # the reader goes by the suffix
    link.hardlink_to(part)
    try:
        for text, line in raw_records(link):
            example, _ = PARSERS[account.format](json.loads(text), f"{out}:{line}", join)
            total, found = (total + _digest(example)) % 2**64, found + 1
    finally:
        link.unlink()
    if found != count or (account.borders == 0 and total != digests):
        raise UserError(
            f"{out}: the rows do not read back as they went in ({found:,} of {count:,}); nothing is kept"
        )


def _dataset_info(out: Path) -> dict[str, Any]:
    path = out.with_name("dataset_info.json")
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object of data sets; mend it, or write to another folder")
    return value


def _entry(out: Path, format: str) -> dict[str, Any]:
    if format == "sharegpt":
        columns = {"messages": "conversations"}
    else:
        columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
        columns["history"] = "history"
    return {"file_name": out.name, "formatting": format, "columns": columns}
