"""Users' own examples: CSV, TSV, JSON lines, JSON or Parquet with `text`, maybe `text2`, and `label` (ours).

Bad rows stop the reading, with the first one's place and their number; nothing is left out silently.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cap_prune.saved_datasets import is_saved, saved_rows
from cap_prune.tasks import Task
from cap_prune.texts import HIDDEN, Faults, Texts, label_number, not_utf8
from nonet.data.text import TextReader
from nonet.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""of files with named fields, each but the last also with .gz or .zst"""
OWN = ("text", "text2")
"""fields of users' files"""
STEMS = {"dev": ("dev", "validation", "valid", "val"), "train": ("train",), "test": ("test",)}
"""names of files in a folder, without their suffix"""

Found = Iterator[tuple[str, dict[str, Any]]]


def record_file(path: Path, side: str) -> Path | None:
    """The file of a side: the path itself if it is one; `train.jsonl`, `dev.csv`, ... of a folder; or None.

    Raises:
        UserError: a folder has two files for the side.
    """
    if path.is_file():
        return path if _suffix(path) in SUFFIXES else None
    stems = STEMS.get(side, (side,))
    found = [
        each
        for each in (sorted(path.iterdir()) if path.is_dir() else [])
        if each.is_file() and _suffix(each) in SUFFIXES and each.name.split(".")[0] in stems
    ]
    if len(found) > 1:
        raise UserError(
            f"{path}: both {found[0].name} and {found[1].name} could be the {side} side; name one"
        )
    return found[0] if found else None


def read_records(task: Task, path: Path, side: str, *, labelled: bool = True) -> Texts:
    """The texts and labels of a file with named fields, or of a folder that `datasets` saved.

    Args:
        task: its own columns are looked for, then `text` and `text2`.
        path: a file, a folder with a file for the side, or a saved folder.
        side: train, dev or test.
        labelled: whether labels are needed; if not, they are left out.

    Returns:
        The examples in the file's order; blanks at the ends of texts are taken off.

    Raises:
        UserError: nothing to read, a field is missing, or bad rows.
    """
    first: list[str] = []
    second: list[str] = []
    labels: list[int | float] = []
    faults = Faults()
    columns: tuple[str, ...] | None = None
    for where, fields in rows_of(task, path, side):
        if columns is None:
            columns = columns_of_record(task, where, fields)
            label = _label(task, where, fields) if labelled else ""
        try:
            texts = [_text(fields, name) for name in columns]
            number = label_number(task, _value(fields, label)) if labelled else 0
        except ValueError as error:
            faults.add(where, str(error))
            continue
        first.append(texts[0])
        second += texts[1:]
        labels.append(number)
    faults.stop()
    if columns is None:
        raise UserError(f"{path}: holds no examples")
    return Texts(first, second if len(columns) > 1 else None, labels if labelled else None)  # type: ignore[arg-type]


def labels_found(task: Task, path: Path, side: str = "train") -> tuple[str, ...]:
    """The labels that occur in a file: by number if all are whole numbers, else by the alphabet.

    Raises:
        UserError: as `read_records`; or -1, which means hidden, among names, beside 0 to C - 1 or alone.
            Beside other numbers, as in 1 and -1, it is a label.
    """
    found: dict[str, None] = {}
    faults, hidden = Faults(), Faults()
    label = ""
    for where, fields in rows_of(task, path, side):
        label = label or _label(task, where, fields)
        try:
            value = _value(fields, label)
        except ValueError as error:
            faults.add(where, str(error))
            continue
        if value == str(HIDDEN):
            hidden.add(where, f"label is {HIDDEN}: it is hidden, as in GLUE's test sets; leave such rows out")
        found.setdefault(value)
    faults.stop()
    numbers = all(name.removeprefix("-").isdecimal() for name in found)
    others = {int(name) for name in found} - {HIDDEN} if numbers else set()
    if others == set(range(len(others))):
        hidden.stop()
    return tuple(sorted(found, key=(lambda name: int(name)) if numbers else None))  # type: ignore[arg-type]


def rows_of(task: Task, path: Path, side: str) -> Found:
    """`file:line` and the fields of each record.

    Raises:
        UserError: no file, or one that cannot be read, is not UTF-8, or has broken rows.
    """
    if is_saved(path):
        yield from saved_rows(path, side)
        return
    file = record_file(path, side)
    if file is None:
        stems = " or ".join(STEMS.get(side, (side,))[:2])
        what = f"no {stems} with one of the suffixes" if path.is_dir() else "no file with one of the suffixes"
        raise UserError(f"{path}: {what} {', '.join(SUFFIXES)}; task {task.name} needs one")
    reader = TextReader([file], on_bad="skip")
    quoted: list[str] = []
    tabs = reader.sources[0].format == "tsv"
    for record in reader:
        if tabs and any(_looks_quoted(cell) for cell in record.fields.values()):
            quoted.append(record.where)
        yield record.where, record.fields
    if reader.counts["skipped"]:
        rows = "1 bad row" if reader.counts["skipped"] == 1 else f"{reader.counts['skipped']:,} bad rows"
        raise UserError(f"{reader.skipped_examples[0]}; {rows} in all")
    if quoted:
        raise UserError(
            f"{quoted[0]}: a cell is quoted the way of CSV, but quotes are characters like others in TSV "
            f"({len(quoted):,} such rows): save the file as .csv"
        )
    if reader.counts["invalid_utf8"]:
        _refuse_bytes(file)


def _refuse_bytes(file: Path) -> None:
    """Stop at bytes that are not UTF-8; JSON's lone surrogates, which are mended, are none."""
    if _suffix(file) == ".parquet" or file.suffix in (".gz", ".zst"):
        raise UserError(f"{file}: holds text that is not UTF-8; convert it first")
    data = file.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(not_utf8(file, data)) from None


def _looks_quoted(cell: Any) -> bool:
    """Whether a cell is in quotes, with every quote inside written twice."""
    if not isinstance(cell, str) or len(cell) < 2 or not cell[0] == cell[-1] == '"':
        return False
    inside = cell[1:-1]
    return '""' in inside and '"' not in inside.replace('""', "")


def columns_of_record(task: Task, where: str, fields: dict[str, Any]) -> tuple[str, ...]:
    """The task's own columns, else `text` and, for tasks of pairs, `text2`; users' files may lack that."""
    choices = [task.texts, OWN[: len(task.texts)]]
    if task.name == "mnli":
        choices.append(("premise", "hypothesis"))
    if task.texts == OWN:
        choices.append(OWN[:1])
    for names in choices:
        if all(name in fields for name in names):
            return names
    wanted = " and ".join(map(repr, choices[-1] if task.texts == OWN else task.texts))
    raise UserError(
        f"{where}: no field {wanted} of task {task.name}; fields are {', '.join(fields) or 'none'}"
    )


def _label(task: Task, where: str, fields: dict[str, Any]) -> str:
    for name in (task.label, "label", "score") if task.kind == "regression" else (task.label, "label"):
        if name in fields:
            return name
    raise UserError(
        f"{where}: no field {task.label!r} with the label; fields are {', '.join(fields) or 'none'}"
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {'missing' if value is None else repr(value)[:40]}; it is a text")
    return value.strip()


def _value(fields: dict[str, Any], name: str) -> str:
    """A label as text; JSON may have numbers."""
    value = fields.get(name)
    if value is None or isinstance(value, bool | list | dict) or not str(value).strip():
        raise ValueError(f"{name} is {value!r}; it is a name or a number")
    return str(value).strip()


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
