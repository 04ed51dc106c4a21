"""The owner of the experiments: two real tasks as instruction rows, and abstracts to read before (ours)."""

import gzip
import json
import random
from pathlib import Path

from benchmarks.data import data_folder

Row = dict[str, str]
OPINION = "Is the opinion of the following review positive?"
KIND = "What kind of answer does the question ask for?"
KINDS = ("Description.", "Entity.", "Abbreviation.", "Human.", "Location.", "Number.")


def real_data() -> Path | None:
    """The folder with real data, or None where SST-2, TREC or the abstracts are not in it."""
    needed = ("papers/abstracts.jsonl.gz", "glue/SST-2/train.tsv", "sentence-classification/TREC.train.all")
    return data_folder() if all(data_folder(name) for name in needed) else None


def abstracts(folder: Path, count: int | None = None, *, held_out: bool = False) -> list[str]:
    """Abstracts of papers; the held-out ones are every fiftieth."""
    found: list[str] = []
    with gzip.open(folder / "papers" / "abstracts.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            if (number % 50 == 0) != held_out:
                continue
            found.append(json.loads(line)["abstract"])
            if len(found) == count:
                break
    return found


def _row(instruction: str, text: str, output: str) -> Row:
    return {"instruction": instruction, "input": text, "output": output}


def opinions(folder: Path, part: str) -> list[Row]:
    """SST-2 as rows that are answered Yes or No; `part` is train or dev."""
    lines = (folder / "glue" / "SST-2" / f"{part}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.rsplit("\t", 1) for line in lines]
    rows = [_row(OPINION, text.strip(), "Yes." if label == "1" else "No.") for text, label in pairs]
    return [row for row in rows if len(row["input"].split()) >= (5 if part == "train" else 1)]


def kinds(folder: Path, part: str) -> list[Row]:
    """TREC's questions as rows that are answered with one of six words; `part` is train or test."""
    path = folder / "sentence-classification" / f"TREC.{part}.all"
    lines = path.read_text(encoding="latin-1").splitlines()
    return [_row(KIND, line[2:].strip(), KINDS[int(line[0])]) for line in lines]


def owner_rows(folder: Path, count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """The owner's data of a seed, and as much again that shares no row with it.

    Args:
        folder: of the real data.
        count: of rows, half of each task; fewer where a task has fewer.
        seed: of the draw.
    """
    halves: tuple[list[Row], list[Row]] = ([], [])
    for rows in (opinions(folder, "train"), kinds(folder, "train")):
        unique = {row["input"]: row for row in rows}
        drawn = random.Random(f"owner {seed}").sample(sorted(unique), min(count, len(unique)))
        middle = len(drawn) // 2
        for half, names in zip(halves, (drawn[:middle], drawn[middle:]), strict=True):
            half += [unique[name] for name in names]
    for half in halves:
        random.Random(f"order {seed}").shuffle(half)
    return halves


def held_out(folder: Path, count: int) -> dict[str, list[Row]]:
    """Items that no arm learns from, `count` of each task at most."""
    return {"opinions": opinions(folder, "dev")[:count], "kinds": kinds(folder, "test")[:count]}
