"""The folders of GLUE as they are downloaded: tab-separated, without quoting (Wang et al. 2018).

A quote is a character like others: nothing is merged or dropped for it. Where a labelled copy of the test set
lies beside the hidden one it is read. MRPC is built from the Microsoft files where they are there, as a copy
of `train.tsv` in circulation lacks a row; QQP has broken rows, which are left out and counted.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cap_prune.tasks import Task
from cap_prune.texts import Faults, Texts, label_number, read_utf8
from nonet.errors import UserError

MAY_SKIP = frozenset({"qqp"})
"""tasks whose files are known to have broken rows"""
SIDES = ("train", "dev", "test", "dev-mismatched", "test-mismatched")
"""parts of a task; the mismatched ones are MNLI's"""


class Layout(NamedTuple):
    """Where a file has what: names of columns, or their numbers where there is no header."""

    texts: tuple[str | int, ...]
    label: str | int | None


_FILES = {
    ("sst2", "test"): ("test-labeled.tsv", "test.tsv"),
    ("stsb", "test"): ("original/sts-test.tsv", "sts-test.tsv", "test.tsv"),
    ("mrpc", "train"): ("msr_paraphrase_train.txt", "train.tsv"),
    ("mrpc", "dev"): ("dev.tsv", "msr_paraphrase_train.txt"),
    ("mrpc", "test"): ("msr_paraphrase_test.txt", "test.tsv"),
    ("mnli", "dev"): ("dev_matched.tsv",),
    ("mnli", "test"): ("test_matched.tsv",),
    ("mnli", "dev-mismatched"): ("dev_mismatched.tsv",),
    ("mnli", "test-mismatched"): ("test_mismatched.tsv",),
}
_LAYOUTS = {"mrpc": Layout(("#1 String", "#2 String"), "Quality")}
_COLA = Layout((3,), 1)
_STS = Layout((5, 6), 4)
_MRPC_ID = ("#1 ID", "#2 ID")

Rows = Iterator[tuple[str, list[str]]]


def sides_of(task: Task, side: str) -> list[str]:
    """The sides that are scored when one is asked for: MNLI's dev and test are two."""
    return [side, f"{side}-mismatched"] if task.name == "mnli" and side in ("dev", "test") else [side]


def glue_file(task: Task, folder: Path, side: str) -> Path:
    """The file of a side.

    Raises:
        UserError: the folder has none; the text names what was looked for.
    """
    names = _FILES.get((task.name, side), (f"{side}.tsv",))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: no {' or '.join(names)} of task {task.name}; give its folder, or a file")


def read_glue(task: Task, path: Path, side: str, *, labelled: bool = True) -> Texts:
    """One side of a GLUE task.

    Args:
        task: one of GLUE's.
        path: its folder, or one file of it.
        side: one of `SIDES`; of a file it does not matter.
        labelled: whether labels are needed; if not, they are left out where the file hides them.

    Returns:
        The examples in the file's order; blanks at the ends of texts are taken off.

    Raises:
        UserError: no such file or column, bad rows (with the first one's line and their number), hidden
            labels.
    """
    file = glue_file(task, path, side) if path.is_dir() else path
    keep = _mrpc_side(path, side) if task.name == "mrpc" and path.is_dir() and file.suffix == ".txt" else None
    rows = _rows(file)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{file}: is empty")
    layout, header = _layout(task, file, first[1])
    if header is None:
        rows = _rows(file)
    if layout.label is None and labelled:
        named = _LAYOUTS.get(task.name, Layout(task.texts, task.label)).label
        raise UserError(
            f"{file}:1: no column {named!r}, so no labels; columns are {', '.join(first[1])}: "
            "GLUE hides those of test sets"
        )
    return _texts(task, rows, layout, header, labelled, keep)


def _texts(
    task: Task,
    rows: Rows,
    layout: Layout,
    header: list[str] | None,
    labelled: bool,
    keep: Callable[[list[str], list[str]], bool] | None,
) -> Texts:
    columns = [_place(name, header) for name in layout.texts]
    label_at = None if layout.label is None else _place(layout.label, header)
    least = 1 + max([*columns, *([] if label_at is None else [label_at])])
    texts: list[list[str]] = [[] for _ in columns]
    labels: list[int | float] = []
    faults, skipped = Faults(), 0
    for where, cells in rows:
        if len(cells) < least if header is None else len(cells) != len(header):
            if task.name in MAY_SKIP:
                skipped += 1
                continue
            faults.add(where, f"{len(cells)} cells, expected {len(header) if header else least}")
            continue
        if keep is not None and header is not None and not keep(header, cells):
            continue
        if label_at is not None:
            try:
                labels.append(label_number(task, cells[label_at]))
            except ValueError as error:
                if labelled:
                    faults.add(where, str(error))
                    continue
                label_at = None
        for part, column in zip(texts, columns, strict=True):
            part.append(cells[column].strip())
    faults.stop()
    second = texts[1] if len(texts) > 1 else None
    return Texts(texts[0], second, labels if label_at is not None else None, skipped)  # type: ignore[arg-type]


def _rows(path: Path) -> Rows:
    """`file:line` and the cells of each line, which only a newline ends, whatever else Unicode has."""
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if line:
            yield f"{path}:{number}", line.split("\t")


def _layout(task: Task, file: Path, first: list[str]) -> tuple[Layout, list[str] | None]:
    """The layout, and the header if the file has one.

    Raises:
        UserError: a column is missing.
    """
    if task.name == "cola" and "sentence" not in first:
        return _COLA, None
    if task.name == "stsb" and "sentence1" not in first:
        return _STS, None
    layout = _LAYOUTS.get(task.name, Layout(task.texts, task.label))
    for name in layout.texts:
        if name not in first:
            raise UserError(
                f"{file}:1: no column {name!r} of task {task.name}; columns are {', '.join(map(repr, first))}"
            )
    return (layout if layout.label in first else layout._replace(label=None)), first


def _place(name: str | int, header: list[str] | None) -> int:
    return name if isinstance(name, int) else (header or []).index(name)


def _mrpc_side(folder: Path, side: str) -> Callable[[list[str], list[str]], bool] | None:
    """Which rows of the Microsoft files belong to a side; `dev_ids.tsv` or `dev.tsv` name the dev pairs.

    Raises:
        UserError: neither file is there.
    """
    if side == "test":
        return None
    ids, dev = folder / "dev_ids.tsv", folder / "dev.tsv"
    pairs: set[tuple[str, ...]]
    if ids.is_file():
        pairs = {tuple(cells[:2]) for _, cells in _rows(ids)}
    elif dev.is_file():
        rows = [cells for _, cells in _rows(dev)]
        try:
            places = [rows[0].index(name) for name in _MRPC_ID]
        except (IndexError, ValueError):
            raise UserError(f"{dev}:1: no columns {' and '.join(_MRPC_ID)}") from None
        pairs = {tuple(cells[place] for place in places) for cells in rows[1:] if len(cells) > max(places)}
    else:
        raise UserError(f"{folder}: neither dev_ids.tsv nor dev.tsv says which pairs are the dev set's")

    def keep(header: list[str], cells: list[str]) -> bool:
        return (tuple(cells[header.index(name)] for name in _MRPC_ID) in pairs) == (side == "dev")

    return keep
