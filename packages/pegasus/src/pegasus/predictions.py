"""Files of summaries to be scored: one a line, or JSON lines and tables with a field for them."""

from collections.abc import Sequence
from pathlib import Path

from nonet.data.text import TextReader
from nonet.errors import UserError

PREDICTION_FIELDS = ("prediction", "summary", "output", "generated", "text")
"""where a prediction is looked for in files with fields, in this order"""


def read_lines(path: Path, fields: Sequence[str] = PREDICTION_FIELDS, *, escaped: bool = False) -> list[str]:
    r"""The texts of a file in order, blank ones included.

    Args:
        path: text with one entry a line, or any format with fields; `-` is standard input.
        fields: names of the field, the first that is there counts.
        escaped: in lines, the two characters `\n` are a line end, as `summarize --newline keep` writes them.

    Raises:
        UserError: the file cannot be read, or a record has no such field or no text in it.
    """
    reader = TextReader([path], "line", keep_blank=True, format=_format(path))
    found: list[str] = []
    plain = all(source.format == "text" for source in reader.sources)
    for record in reader:
        name = "text" if plain else next((name for name in fields if name in record.fields), "")
        if not name:
            there = ", ".join(record.fields) or "none"
            raise UserError(f"{record.where}: no field {' or '.join(map(repr, fields))}; fields are {there}")
        text = record.fields[name]
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise UserError(f"{record.where}: field {name!r} is a {type(text).__name__}, not text")
        found.append(text.replace("\\n", "\n") if plain and escaped else text)
    return found


def read_numbers(path: Path, items: int) -> set[int]:
    """Items to leave out: a file with one number a line, counted from 1; blank lines and `#` comments are
    passed over.

    Returns:
        The numbers, from 0.

    Raises:
        UserError: a line is no number, or no item has that number.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `pegasus overlap --exclude-list` writes one")
    found = set()
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not text.isdecimal() or not 1 <= int(text) <= items:
            raise UserError(f"{path}:{place}: {text!r} is not the number of an item, 1 to {items:,}")
        found.add(int(text) - 1)
    return found


def _format(path: Path) -> str | None:
    """Files with unknown suffixes (predictions.hypo) are text."""
    known = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst")
    return None if path.suffix.lower() in known or path.is_dir() else "text"
