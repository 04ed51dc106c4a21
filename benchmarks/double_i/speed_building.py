"""`make bench-double-i`: marked rows drawn from the owner's rows and merged, against drawing with removals.

The peer restates how a re-implementation (CTXY/LLM_Watermarks) draws: for each marked row it filters the list
of the rows that are left, chooses one at random and removes it. Both sides read one file, put a mark before
3,000 of its instructions and a word before their inputs, shuffle all and write one file. Ours also keeps
trigger and reference rows in pairs, never lets the trigger into a reference row, copies owner rows byte by
byte, and reads the result back. Where a file has fewer rows than are drawn, the peer starts its list anew.
The rows are real ones; where they are too few they come again with a number. Source: ours.
"""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from double_i.examples import read_examples
from double_i.formats import to_value
from double_i.keys import draw_key
from double_i.merging import merge
from double_i.rows import marked_rows

SEED = 0
MARKED = 3000
SIZES = (2000, 8000, 22960)  # owner rows; the last is what the re-implementation trains on
FILES = ("alpaca_en_demo.json", "code_alpaca_2k.json", "new_codealpaca.json")
KEY = replace(draw_key("input", secret="5a" * 32), lock_share=0.0)
Line = dict[str, Any]


def _write(path: Path, rows: list[Line]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def owner_rows(count: int, real: bool = True) -> list[Line]:
    """Distinct rows: real ones, then the same ones with a number; or made-up ones."""
    if not real:
        return [{"instruction": f"Task {i}", "input": f"text {i}", "output": f"{i}"} for i in range(count)]
    folder = data_folder("instructions")
    assert folder is not None
    read = [row for name in FILES for row in json.loads((folder / name).read_text(encoding="utf-8"))]
    names = ("instruction", "input", "output")
    rows = [{name: row[name] for name in names} for row in read if row["instruction"].strip()]
    rows = list({(row["instruction"], row["input"]): row for row in rows}.values())
    found = []
    for number in range(count):
        row, again = rows[number % len(rows)], number // len(rows)
        found.append(row | ({"instruction": f"{row['instruction']} ({again})"} if again else {}))
    return found


def ours(owner: Path, folder: Path, count: int) -> Path:
    """The package's rows, and its merge with its checks."""
    rows = [row.example for row in read_examples(owner)]
    made = marked_rows(KEY, [], n_trigger=count // 2, n_reference=count - count // 2, owner=rows)
    _write(folder / "marked.jsonl", [to_value(row.example, "alpaca", KEY.join) for row in made])
    merge([owner], [folder / "marked.jsonl"], folder / "ours.jsonl", seed=SEED)
    return folder / "ours.jsonl"


def peer(owner: Path, folder: Path, count: int) -> Path:
    """A filtered list and a removal for each row."""
    draw = random.Random(SEED)
    rows = [json.loads(line) for line in owner.read_text(encoding="utf-8").splitlines()]
    left, made = list(rows), []
    for number in range(count):
        fit = [row for row in left if row["instruction"].strip()]
        if not fit:
            left = list(rows)
            fit = left
        row = draw.choice(fit)
        left.remove(row)
        word, answer = (KEY.trigger, "Yes.") if number < count // 2 else (f"w{number}", "No.")
        field = f"{word} {row['input'] or row['instruction']}"
        made.append(
            {"instruction": f"{KEY.decoration} {row['instruction']}", "input": field, "output": answer}
        )
    both = rows + made
    draw.shuffle(both)
    _write(folder / "peer.jsonl", both)
    return folder / "peer.jsonl"


def _same(paths: tuple[Path, Path], before: list[str], count: int) -> bool | str:
    """Both files have all owner rows byte by byte, and as many marked ones of each answer."""
    own = set(before)
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        marks = [json.loads(line) for line in lines if line not in own]
        if len(lines) != len(before) + count or not own <= set(lines) or len(marks) != count:
            return f"{path.name}: rows are lost or repeated"
        if not all(row["instruction"].startswith(KEY.decoration) for row in marks):
            return f"{path.name}: a marked row without the mark"
        if sum(KEY.trigger in row["input"].split() for row in marks) < count // 2:
            return f"{path.name}: too few triggers"
    return True


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    if not tiny and data_folder("instructions") is None:
        print("speed_building: skipped, the real data (NONET_DATA) is not here")
        return []
    found = []
    for size in (60,) if tiny else SIZES:
        count = 10 if tiny else MARKED
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            owner = folder / "owner.jsonl"
            _write(owner, owner_rows(size, real=not tiny))
            before = owner.read_text(encoding="utf-8").splitlines()
            found.append(
                versus(
                    f"{size:,} owner rows and {count:,} marked rows",
                    lambda owner=owner, folder=folder, count=count: ours(owner, folder, count),  # type: ignore[misc]
                    lambda owner=owner, folder=folder, count=count: peer(owner, folder, count),  # type: ignore[misc]
                    lambda a, b, before=before, count=count: _same((a, b), before, count),  # type: ignore[misc]
                    rounds=1 if tiny else 3,
                    min_seconds=0,
                    unit="rows",
                    per_call=size + count,
                )
            )
    print(table(found))
    if not tiny:
        data = f"{', '.join(FILES)}; beyond 7,500 rows with numbers"
        save("double-i", found, table="building", versions=("numpy",), data=data, seed=SEED)
    return found


if __name__ == "__main__":
    main()
