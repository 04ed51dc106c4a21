"""Owner rows and marked rows into one training file, in an order that a seed decides (ours).

Rows go to a temporary file once; then their places are shuffled and copied in that order. So memory grows by
16 bytes a row, whatever the rows hold. An owner row whose format stays and whose columns are standard is
copied as it is (in JSON lines, line breaks between its fields become spaces); others are written anew and
parsed again at once. At the end the file is read back: its rows are those that were written.
"""

import json
import mmap
import random
import re
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from double_i import dataset_info
from double_i.examples import Example, OwnerRow, read_examples
from double_i.formats import PARSERS, reversible
from double_i.raw_records import raw_records
from double_i.row_style import Style, one_line, style_of
from double_i.templates import user_text
from nonet.errors import UserError
from nonet.files import replacing, write_json

TARGETS = ("same", "alpaca", "sharegpt", "openai", "trl", "llamafactory")
NAMED = 5  # rows that an account names
_FOREIGN_ROLE = re.compile(r'"role"\s*:\s*"(?:human|gpt)"|"from"\s*:\s*"(?:user|assistant)"')


@dataclass
class Account:
    """What a merge did.

    Attributes:
        format: of the file that was written.
        owner, marked: rows of each kind that were written.
        copied: owner rows that kept every byte (line breaks aside).
        skipped: owner rows that were left out.
        dropped_columns: column that is not standard -> rows that had it.
        borders: owner rows whose border between instruction and input a chat format does not keep.
        border_rows: where the first of them are.
        plain: rows are two texts (TRL), so that no chat template is put around them.
        fields: which of `input`, `system`, `history` some row has.
    """

    format: str = ""
    owner: int = 0
    marked: int = 0
    copied: int = 0
    skipped: int = 0
    dropped_columns: dict[str, int] = field(default_factory=dict)
    borders: int = 0
    border_rows: list[str] = field(default_factory=list)
    plain: bool = False
    fields: set[str] = field(default_factory=set)

    @property
    def ratio(self) -> float:
        """Marked rows as a share of all."""
        return self.marked / max(1, self.owner + self.marked)


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
    most: float = 1.0,
    unfit: Callable[[Example], str] | None = None,
    say: Callable[[str], None] = print,
) -> Account:
    """Write the training file.

    Args:
        owner: files of the owner's rows.
        marked: files of marked rows; none only converts and shuffles.
        out: .jsonl (one object a line) or .json (a list).
        to: one of `TARGETS`; `same` is the format of the owner's first row, `llamafactory` is Alpaca or
            ShareGPT with an entry in `dataset_info.json` beside it (see `double_i.dataset_info`).
        seed: of the order.
        format: of the owner's files, or `auto`.
        join: between instruction and input in chat formats.
        name: of the data set in `dataset_info.json`; the file's name by default.
        most: share of marked rows above which nothing is written.
        unfit: why a row must be left out, or an empty text; a marked row is never left out.
        say: takes a line for each row that is left out.

    Returns:
        Counts.

    Raises:
        UserError: a bad input row, an unfit suffix, an output that is an input, an unfit marked row, too many
            marked rows, a name in `dataset_info.json` that is another file's, or rows that do not read back.
    """
    if to not in TARGETS:
        raise UserError(f"there is no format {to!r} to write; there are {', '.join(TARGETS)}")
    if out.suffix not in (".jsonl", ".json"):
        raise UserError(f"{out}: name the file .jsonl (one row a line) or .json (a list)")
    if to == "openai" and out.suffix != ".jsonl":
        raise UserError(f"{out}: OpenAI takes one row a line; name the file .jsonl")
    if out.resolve() in {path.resolve() for path in (*owner, *marked)}:
        raise UserError(f"{out}: is one of the files that are read; choose another name")
    if to == "llamafactory" and out.name == dataset_info.FILE:
        raise UserError(f"{out}: is the name of the list of data sets; choose another")
    name = name or out.stem
    info = dataset_info.read_info(out, name) if to == "llamafactory" else {}
    work = _Merge(to, join, unfit, say)
    with replacing(out) as part, tempfile.TemporaryFile(dir=part.parent, buffering=1 << 20) as spool:
        places, total = array("Q", [0]), 0
        for text in work.texts(read_examples(owner, format=format, join=join), marked):
            data = text.encode()
            spool.write(data)
            places.append(places[-1] + len(data))
            total += hash(text)
        account = work.account
        if not account.owner:
            raise UserError(f"{out}: no owner row is left; raise the limit")
        if account.ratio > most:
            raise UserError(
                f"{account.marked:,} of {account.owner + account.marked:,} rows would be marked, more than "
                f"{100 * most:g} %: make fewer, or give --force"
            )
        spool.flush()
        _copy(spool.fileno(), part, places, seed, lines=out.suffix == ".jsonl")
        _check(part, out, len(places) - 1, total)
    if to == "llamafactory":
        info[name] = dataset_info.entry(out, account.format, account.fields)
        write_json(out.with_name(dataset_info.FILE), info)
    return account


class _Merge:
    """The rows' texts, owner's first, and the account of them."""

    def __init__(
        self, to: str, join: str, unfit: Callable[[Example], str] | None, say: Callable[[str], None]
    ) -> None:
        self.to, self.join, self.unfit, self.say = to, join, unfit, say
        self.style: Style | None = None
        self.account = Account()

    def texts(self, owner: Iterator[OwnerRow], marked: Sequence[Path]) -> Iterator[str]:
        """One text a row."""
        account = self.account
        for row in owner:
            if not account.format:
                self._begin(row)
            if self.unfit is not None and (why := self.unfit(row.example)):
                account.skipped += 1
                self.say(f"left out: {row.where}: {why}")
                continue
            account.owner += 1
            yield self._owner_text(row)
        for row in read_examples(marked, join=self.join):
            if self.unfit is not None and (why := self.unfit(row.example)):
                raise UserError(f"{row.where}: this marked row {why}; raise the limit, or make shorter rows")
            account.marked += 1
            yield self._anew(row)

    def _begin(self, row: OwnerRow) -> None:
        """The format and the spelling follow from the owner's first row."""
        account = self.account
        same = {"same": row.format, "llamafactory": dataset_info.form(row.format, self.join)}
        account.format = same.get(self.to, self.to)
        self.style = style_of(row) if row.format == account.format and not row.extra else Style()
        account.plain = self.style.plain

    def _owner_text(self, row: OwnerRow) -> str:
        account, example = self.account, row.example
        if row.format == account.format and not row.extra and not self._foreign(row):
            account.copied += 1
            self._note(example)
            return one_line(row.raw)
        for column in row.extra:
            account.dropped_columns[column] = account.dropped_columns.get(column, 0) + 1
        if row.format == "alpaca" != account.format and not reversible(example, self.join):
            account.borders += 1
            if len(account.border_rows) < NAMED:
                account.border_rows.append(row.where)
        return self._anew(row)

    def _foreign(self, row: OwnerRow) -> bool:
        """Whether a row of the right format has something that readers of the format do not take."""
        if row.format not in ("sharegpt", "openai"):
            return False
        if self.to == "llamafactory" and row.example.system:
            return True  # two places are allowed for it here, of which LLaMA-Factory prefers the other
        return _FOREIGN_ROLE.search(row.raw) is not None

    def _anew(self, row: OwnerRow) -> str:
        style, format = self.style or Style(), self.account.format
        text = style.text(row.example, format, self.join, row.where)
        back, _ = PARSERS[format](json.loads(text), row.where, self.join)
        if _kept(back, format, self.join) != _kept(row.example, format, self.join):
            raise UserError(
                f"{row.where}: the row would not come back from the format {format}; leave it out"
            )
        self._note(row.example)
        return text

    def _note(self, example: Example) -> None:
        fields = self.account.fields
        if example.input:
            fields.add("input")
        if example.system:
            fields.add("system")
        if example.history:
            fields.add("history")


def _kept(example: Example, format: str, join: str) -> Any:
    """What a format keeps of a row: all of it, or the texts of the turns."""
    if format == "alpaca":
        return example
    return user_text(example, join), example.output, example.system, example.history


def _copy(spool: int, part: Path, places: "array[int]", seed: int, *, lines: bool) -> None:
    order = array("Q", range(len(places) - 1))
    random.Random(seed).shuffle(order)  # type: ignore[arg-type]
    first, between, last = (b"", b"\n", b"\n") if lines else (b"[\n", b",\n", b"\n]\n")
    with open(part, "wb", buffering=1 << 20) as out:
        with closing(mmap.mmap(spool, 0, access=mmap.ACCESS_READ)) as rows:
            for count, row in enumerate(order):
                out.write(between if count else first)
                out.write(rows[places[row] : places[row + 1]])
        out.write(last)


def _check(part: Path, out: Path, count: int, total: int) -> None:
    """Read the file back; its rows are those that went in, in any order."""
    found = 0
    for text, _ in raw_records(part, out):
        total, found = total - hash(text), found + 1
    if found != count or total:
        raise UserError(
            f"{out}: the rows do not read back as they went in ({found:,} of {count:,}); nothing is kept; "
            "check the disk"
        )
