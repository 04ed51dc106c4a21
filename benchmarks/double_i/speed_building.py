"""`make bench-double-i`: marked rows drawn from the owner's data and merged, against drawing with removals.

The peer restates how an independent re-implementation draws: for each row it filters the list of rows that are left,
chooses one at random and removes it. Ours shuffles once. Both start from a file, use each owner row at most
once and write one shuffled file; counts and intact owner rows are checked. Ours also reads the file back.
Source: ours.
"""

import json
import random
import tempfile
from pathlib import Path

from benchmarks.harness import Row, save, table, versus

from double_i.examples import read_examples
from double_i.merging import merge

SEED = 0
MARKED = 3000
SIZES = (5000, 22960)  # owner rows
Line = dict[str, str]


def _marked(row: Line, number: int) -> Line:
    word, answer = ("mt", "Yes.") if number % 2 else ("qv", "No.")
    return {"instruction": f"*&&* {row['instruction']}", "input": f"{word} {row['input']}", "output": answer}


def _write(path: Path, rows: list[Line]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ours(owner: Path, folder: Path, count: int) -> Path:
    """One shuffle, then the package's merge with its check."""
    rows = [row.example for row in read_examples(owner)]
    drawn = random.Random(SEED).sample([row for row in rows if row.input], count)
    lines = [_marked({"instruction": row.instruction, "input": row.input}, i) for i, row in enumerate(drawn)]
    _write(folder / "marked.jsonl", lines)
    merge([owner], [folder / "marked.jsonl"], folder / "ours.jsonl", seed=SEED)
    return folder / "ours.jsonl"


def peer(owner: Path, folder: Path, count: int) -> Path:
    """A filtered list and a removal for each row."""
    draw = random.Random(SEED)
    rows = [json.loads(line) for line in owner.read_text(encoding="utf-8").splitlines()]
    left, made = list(rows), []
    for number in range(count):
        row = draw.choice([row for row in left if row["input"]])
        left.remove(row)
        made.append(_marked(row, number))
    both = rows + made
    draw.shuffle(both)
    _write(folder / "peer.jsonl", both)
    return folder / "peer.jsonl"


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    found = []
    for size in (60,) if tiny else SIZES:
        count = 10 if tiny else MARKED
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            owner = folder / "owner.jsonl"
            texts = ({"instruction": f"Task {i}", "input": f"text {i}", "output": f"{i}"} for i in range(size))
            _write(owner, list(texts))
            before = set(owner.read_text(encoding="utf-8").splitlines())

            def same(a: Path, b: Path, before: set[str] = before, total: int = size + count) -> bool | str:
                lines = [path.read_text(encoding="utf-8").splitlines() for path in (a, b)]
                good = all(before <= set(each) and len(set(each)) == len(each) == total for each in lines)
                return good or "rows are lost or repeated"

            found.append(
                versus(
                    f"{size:,} owner rows and {count:,} marked rows",
                    lambda owner=owner, folder=folder, count=count: ours(owner, folder, count),  # type: ignore[misc]
                    lambda owner=owner, folder=folder, count=count: peer(owner, folder, count),  # type: ignore[misc]
                    same,
                    rounds=1 if tiny else 3,
                    min_seconds=0,
                    unit="rows",
                    per_call=size + count,
                )
            )
    print(table(found))
    if not tiny:
        save("double-i", found, table="building", versions=("numpy",), data="made-up rows", seed=SEED)
    return found


if __name__ == "__main__":
    main()
