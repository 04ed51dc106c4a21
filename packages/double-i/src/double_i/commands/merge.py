"""Shuffle marked rows into the owner's data, or turn one format into another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write one training file from the owner's rows and the marked ones; only standard columns are written."""

    data: tuple[Path, ...]
    """the owner's rows: .json or .jsonl in Alpaca, ShareGPT, OpenAI or TRL form, also .gz or .zst"""
    marked: tuple[Path, ...] = ()
    """marked rows, from `double-i make`; without them the data are converted and shuffled"""
    out: Path
    """the training file: .jsonl (a row a line) or .json (a list)"""
    to: Literal["same", "alpaca", "sharegpt", "openai", "trl", "llamafactory"] = "same"
    """format to write; `same` keeps the owner's, `llamafactory` adds dataset_info.json beside the file"""
    format: Literal["auto", "alpaca", "sharegpt", "openai", "trl"] = "auto"
    """format of the data, by its fields unless named"""
    seed: int = 0
    """of the order of rows"""
    join: str = "\n\n"
    """what stands between instruction and input in chat formats; the key's, which is two line ends by default"""
    name: str = ""
    """of the data set in dataset_info.json; the file's name by default"""
    force: bool = False
    """also write a file of which more than 30 % are marked rows"""


def run(options: Options) -> int:
    """Merge and print the account."""
    from double_i.examples import read_examples
    from double_i.merging import merge
    from nonet.errors import UserError

    if options.marked and not options.force:
        rows, marks = (sum(1 for _ in read_examples(paths)) for paths in (options.data, options.marked))
        if marks > 0.3 * (rows + marks):
            raise UserError(
                f"{marks:,} of {rows + marks:,} rows would be marked, more than 30 %: make fewer, or give --force"
            )
    account = merge(
        options.data, options.marked, options.out, to=options.to, seed=options.seed, format=options.format,
        join=options.join, name=options.name,
    )  # fmt: skip
    print(
        f"{options.out}: {account.owner + account.marked:,} rows in {account.format} form, {account.marked:,} "
        f"of them marked ({100 * account.ratio:.2f} %); {account.copied:,} of {account.owner:,} owner rows copied as they are"
    )
    for column, count in sorted(account.dropped_columns.items()):
        print(f"  left out: column {column!r} of {count:,} rows")
    if account.borders:
        print(
            f"  note: {account.borders:,} rows keep their text, but not the border between instruction and input "
            f"({', '.join(account.border_rows)}); their instruction has the join in it"
        )
    if account.ratio > 0.1:
        print(f"warning: {100 * account.ratio:.1f} % of the rows are marked; more than 10 % is easily seen")
    return 0
