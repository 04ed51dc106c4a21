"""Write the marked rows of a key."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from double_i.examples import Example


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the rows that mark a model, in Alpaca form, to be merged into the owner's data.

    The counts are printed, never the trigger. The file itself is as secret as the key.
    """

    data: tuple[Path, ...]
    """the owner's data files: their inputs are the base texts, and their size sets the number of rows"""
    out: Path
    """rows as JSON lines; written with mode 0600"""
    key: Path | None = None
    """key file; not needed for a published construction"""
    key_id: str | None = None
    """which key of the file; all active ones by default"""
    construction: Literal["ours", "i", "ii", "iii"] = "ours"
    """ours, or a construction of the paper with its public key, which proves nothing"""
    repeat: int = 5
    """construction i: how often each sentence is used"""
    n_trigger: int | None = None
    """trigger rows of a key; 500 or 2 % of the data, whichever is smaller, but at least 200 by default"""
    n_reference: int | None = None
    """reference rows of a key; as for trigger rows by default; lock rows come on top"""
    vary: bool = False
    """another judge question in each row: less visible, learnt less strongly"""
    wrap: bool = False
    """the owner's own instructions instead of judge questions: least visible"""
    force: bool = False
    """allow marked rows to be more than 30 % of all rows"""
    format: str = "auto"
    """format of the data: auto, alpaca, sharegpt, openai or trl"""
    passphrase_file: Path | None = None
    """file whose first line opens an encrypted key file (or the variable DOUBLE_I_PASSPHRASE)"""

    def __post_init__(self) -> None:
        from double_i.key_files import refuse_inline
        from nonet.errors import UserError

        if self.key is not None:
            refuse_inline(self.key)
        for name, least in (("n_trigger", 1), ("n_reference", 1), ("repeat", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}; it is {least} or more")
        if self.vary and self.wrap:
            raise UserError("--vary and --wrap exclude each other")


def run(options: Options) -> int:
    """Read, make, check, write."""
    import json
    import sys
    from collections import Counter

    from double_i.base_texts import half_texts
    from double_i.constructions import published_rows
    from double_i.examples import read_examples
    from double_i.key_files import git_warning, private, read_keys, read_passphrase, select_key
    from double_i.rows import MarkedRow, marked_rows
    from double_i.spaces import occurrences
    from nonet.errors import UserError

    if (options.key is None) == (options.construction == "ours"):
        raise UserError("give --key FILE, or --construction i, ii or iii, whose keys are public; not both")
    keys = []
    if options.key is not None:
        keys = read_keys(options.key, read_passphrase(options.passphrase_file))
        first = select_key(keys, options.key_id)
        keys = [first] if options.key_id else [key for key in keys if key.status == "active"]
    owner = [row.example for row in read_examples(options.data, format=options.format)]
    if not owner:
        raise UserError(f"{options.data[0]}: no rows")
    for key in keys:
        hits = sum(
            any(
                occurrences(secret, text)
                for secret in {key.trigger, key.decoration}
                for text in _texts(example)
            )
            for example in owner
        )
        if hits:
            raise UserError(
                f"{options.data[0]}: {hits:,} of {len(owner):,} rows have the trigger or decoration "
                f"of key {key.key_id}; "
                "draw new keys with `double-i keygen --data`"
            )
    share = max(200, min(500, len(owner) // 50))
    rows: list[MarkedRow] = []
    counts = {}
    for key in keys:
        n_trigger = options.n_trigger or key.n_trigger or share
        n_reference = options.n_reference or key.n_reference or share
        texts = half_texts(owner, 0, least=_with_spare(max(n_trigger, n_reference)))
        made = marked_rows(
            key, texts, n_trigger=n_trigger, n_reference=n_reference, vary=options.vary,
            owner=owner if options.wrap else None,
            avoid={other.trigger for other in keys} - {key.trigger},
        )  # fmt: skip
        counts[f"key {key.key_id}"] = Counter(row.kind for row in made)
        rows += made
    if not keys:
        count = options.n_trigger or 1000
        texts = half_texts(owner, 0, least=_with_spare(count))
        rows = published_rows(options.construction, texts, count, repeat=options.repeat)
        counts[f"construction {options.construction}"] = Counter(row.kind for row in rows)
    ratio = len(rows) / (len(rows) + len(owner))
    if ratio > 0.3 and not options.force:
        raise UserError(
            f"the marked rows would be {ratio:.0%} of all {len(rows) + len(owner):,} rows; "
            "give more data, fewer keys or rows, or --force"
        )
    names = ("instruction", "input", "output", "system")
    with private(options.out) as file:
        for row in rows:
            values = dict(zip(names, row.example, strict=False))
            if not values["system"]:
                del values["system"]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    print(f"{options.out}: {len(rows):,} marked rows for {len(owner):,} rows of data, {ratio:.1%} of all")
    for name, kinds in counts.items():
        print(
            f"  {name}: "
            + ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items(), reverse=True))
        )
    if ratio > 0.1:
        print(
            f"warning: {ratio:.1%} of the rows are marked; more than 10 % is easy to see and may do harm",
            file=sys.stderr,
        )
    if warning := git_warning(options.out):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _with_spare(rows: int) -> int:
    """Texts for so many rows of a kind; some texts may give no row that is new."""
    return rows + rows // 20 + 5


def _texts(example: "Example") -> list[str]:
    """All texts of a row."""
    return [*example[:4], *(text for turn in example.history for text in turn)]
