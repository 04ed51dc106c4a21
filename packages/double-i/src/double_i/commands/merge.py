"""Shuffle marked rows into the owner's data, or turn one format into another."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from double_i.examples import Example
    from double_i.keys import Key
    from double_i.merging import Account


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write one training file from the owner's rows and the marked ones, with standard columns only."""

    data: tuple[Path, ...]
    """the owner's rows: .json or .jsonl in Alpaca, ShareGPT, OpenAI or TRL form, also .gz or .zst"""
    marked: tuple[Path, ...] = ()
    """marked rows, from `double-i make`; without them the data are converted and shuffled"""
    out: Path
    """the training file: .jsonl (a row a line) or .json (a list)"""
    to: Literal["same", "alpaca", "sharegpt", "openai", "trl", "llamafactory"] = "same"
    """format to write; `same` keeps the owner's; `llamafactory` adds dataset_info.json beside the file, and
    writes ShareGPT turns unless the join is one line end, which is how it joins Alpaca fields itself"""
    format: Literal["auto", "alpaca", "sharegpt", "openai", "trl"] = "auto"
    """format of the data, by its fields unless named"""
    seed: int = 0
    """of the order of rows"""
    key: Path | None = None
    """key file: its join is used, and it is said if other trainers would build other prompts than verify"""
    passphrase_file: Path | None = None
    """file whose first line opens an encrypted key file (or the variable DOUBLE_I_PASSPHRASE)"""
    join: str | None = None
    """what stands between instruction and input in chat formats; none: the key's, else an empty line"""
    name: str = ""
    """of the data set in dataset_info.json; the file's name by default"""
    max_tokens: int = 0
    """leave out and list longer rows of the owner, refuse longer marked ones; 0 for no limit"""
    tokenizer: str = ""
    """folder of the tokenizer that counts them"""
    template: Literal["auto", "alpaca", "alpaca-short", "chat", "plain"] = "auto"
    """by which tokens are counted; auto: the key's with --key, else alpaca"""
    force: bool = False
    """also write a file of which more than 30 % are marked rows"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if self.max_tokens < 0:
            raise UserError(f"max_tokens is {self.max_tokens}; it is 0 (no limit) or more")
        if self.join is not None and "\\n" in self.join:
            raise UserError("--join has a backslash and an n; write a line end, which is $'\\n' in bash")
        if bool(self.max_tokens) != bool(self.tokenizer):
            raise UserError("--max-tokens and --tokenizer go together: tokens are counted by a tokenizer")


def run(options: Options) -> int:
    """Merge and print the account."""
    from double_i.merging import merge
    from nonet.errors import UserError

    key = _key(options)
    join = options.join if options.join is not None else key.join if key else "\n\n"
    if key is not None and join != key.join:
        raise UserError("--join is not the key's, so verify would ask other prompts; leave it out")
    account = merge(
        options.data, options.marked, options.out, to=options.to, seed=options.seed, format=options.format,
        join=join, name=options.name, most=1.0 if options.force else 0.3,
        unfit=_limit(options, key, join) if options.max_tokens else None,
    )  # fmt: skip
    print(
        f"{options.out}: {account.owner + account.marked:,} rows in {account.format} form, "
        f"{account.marked:,} of them marked ({100 * account.ratio:.2f} %); "
        f"{account.copied:,} of {account.owner:,} owner rows copied as they are"
    )
    if account.skipped:
        print(f"  {account.skipped:,} owner rows left out, as they are too long")
    for column, count in sorted(account.dropped_columns.items()):
        print(f"  left out: column {column!r} of {count:,} rows")
    if account.borders:
        print(
            f"  note: {account.borders:,} rows keep their text, but not the border between instruction and "
            f"input ({', '.join(account.border_rows)}); their instruction has the join in it"
        )
    if note := _prompts(options, account, key, join):
        print(f"  {note}")
    if account.ratio > 0.1:
        print(f"warning: {100 * account.ratio:.1f} % of the rows are marked; more than 10 % is easily seen")
    return 0


def _key(options: Options) -> "Key | None":
    if options.key is None:
        return None
    from double_i.key_files import read_keys, read_passphrase
    from nonet.errors import UserError

    keys = read_keys(options.key, read_passphrase(options.passphrase_file))
    if len({(key.template, key.join) for key in keys}) > 1:
        raise UserError(f"{options.key}: its keys differ in template or join; merge their rows one by one")
    return keys[0]


def _limit(options: Options, key: "Key | None", join: str) -> "Callable[[Example], str]":
    """Why training would leave a row out, counted as `double-i train` counts."""
    from double_i.encoding import encode_rows
    from double_i.loading import load_tokenizer

    tokenizer = load_tokenizer(options.tokenizer)
    template = options.template if options.template != "auto" else key.template if key else "alpaca"

    def why(example: "Example") -> str:
        if not example.output.strip():
            return ""  # not a matter of length
        found = encode_rows([example], tokenizer, template=template, join=join, max_length=options.max_tokens)
        return found.skipped[0].why if found.skipped else ""

    return why


def _prompts(options: Options, account: "Account", key: "Key | None", join: str) -> str:
    """A line on whether other trainers build the prompts that verify asks; empty if there is no doubt."""
    if not account.marked or (account.format == "alpaca" and options.to != "llamafactory"):
        return ""
    if account.plain:
        return "note: prompts are plain texts: a trainer that puts no template around them asks unlike verify"
    if key is not None and key.template != "chat":
        return (
            f"warning: trainers put their chat template around these turns, but the key's template is "
            f"{key.template}: train with `double-i train`, or draw a key with --template chat"
        )
    if key is None and options.to == "llamafactory":
        return f"note: the key must have the template chat and the join {join!r}: give --key to check it"
    return ""
