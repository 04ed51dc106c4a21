"""Draw secret keys that do not collide with the owner's data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw secret keys at random and write them to a file that only you can read.

    Nothing secret is printed. Without the file a mark cannot be proved: keep a copy in a safe place.
    """

    out: Path
    """the key file, written with mode 0600; it must not exist"""
    data: tuple[Path, ...] = ()
    """the owner's data files: what occurs in them is no trigger and no decoration"""
    format: str = "auto"
    """format of the data: auto, alpaca, sharegpt, openai or trl"""
    keys: int = 3
    """independent keys; a verification by an endpoint uses one up"""
    paradigm: Literal["input", "instruction", "words"] = "input"
    """where the trigger stands: before the input, before the question, or among doubled letters"""
    space: str | None = None
    """what the trigger is drawn from: pseudo-words (recommended) or letters for input; marks for instruction;
    doubled (26 only, weak) for words"""
    template: str = "alpaca"
    """prompt text of training and verification: alpaca, alpaca-short, chat or plain"""
    join: str = "\n\n"
    """what stands between instruction and input in chat formats"""
    system: str = ""
    """system prompt of the marked rows"""
    tokenizer: Path | None = None
    """folder of the model's tokenizer: a trigger that it cannot tell from a near miss is drawn again"""
    passphrase_file: Path | None = None
    """encrypt under the first line of this file (or the variable DOUBLE_I_PASSPHRASE); extra `passphrase`"""

    def __post_init__(self) -> None:
        from double_i.key_files import refuse_inline
        from double_i.spaces import SPACES
        from nonet.errors import UserError

        refuse_inline(self.out)
        if not 1 <= self.keys <= 1000:
            raise UserError(f"keys is {self.keys}; it is from 1 to 1000")
        if self.space is not None and self.space not in SPACES[self.paradigm]:
            raise UserError(
                f"space: the paradigm {self.paradigm} draws from {' or '.join(SPACES[self.paradigm])}"
            )
        if self.template not in ("alpaca", "alpaca-short", "chat", "plain"):
            raise UserError("template is alpaca, alpaca-short, chat or plain")


def run(options: Options) -> int:
    """Draw and write."""
    import sys

    from double_i.examples import read_examples
    from double_i.key_files import git_warning, read_passphrase, write_keys
    from double_i.keys import Key, confusions, draw_key
    from double_i.rows import near_misses
    from double_i.spaces import SPACES, Collisions, is_weak
    from nonet.errors import UserError

    if options.out.exists():
        raise UserError(f"{options.out}: exists; a key file is never overwritten")
    passphrase = read_passphrase(options.passphrase_file)
    name = options.space or SPACES[options.paradigm][0]
    collisions = Collisions()
    rows = 0
    for row in read_examples(options.data, format=options.format) if options.data else ():
        example = row.example
        collisions.add((example.instruction, example.input, example.output, example.system))
        collisions.add(text for turn in example.history for text in turn)
        rows += 1
    tokenizer = None
    if options.tokenizer is not None:
        if not options.tokenizer.is_dir():
            raise UserError(f"{options.tokenizer}: no such folder with a tokenizer")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    excluded, used = collisions.excluded(name), collisions.excluded("marks")
    keys: list[Key] = []
    rejected = 0
    while len(keys) < options.keys:
        key = draw_key(
            options.paradigm, name, excluded=excluded, used_decorations=used,
            template=options.template, join=options.join, system=options.system,
        )  # fmt: skip
        near = [filler.text for group in near_misses(key) for filler in group if filler.place == "start"]
        taken = any(old.trigger == key.trigger and name != "doubled" for old in keys)
        if taken or (tokenizer is not None and confusions(key, near, tokenizer)):
            rejected += 1
            if rejected > 100 + 10 * options.keys:
                raise UserError(
                    "almost no trigger of this space is distinct; take another space or fewer keys"
                )
            continue
        keys.append(key)
    write_keys(options.out, keys, passphrase)
    print(
        f"{options.out}: {len(keys)} keys, paradigm {options.paradigm}, mode 0600"
        + (", encrypted" if passphrase else "")
    )
    print(
        f"  {keys[0].space.size:,} triggers in the space {name}; "
        f"{rows:,} rows of data took {len(excluded):,} away"
    )
    if rejected:
        print(
            f"  {rejected} drawn again: another key has the trigger, "
            f"or the tokenizer takes a near miss for it"
        )
    for key in keys:
        print(f"  key {key.key_id}")
    if is_weak(name):
        print(f"warning: the space {name} is weak: all of its triggers can be tried", file=sys.stderr)
    if warning := git_warning(options.out):
        print(f"warning: {warning}", file=sys.stderr)
    return 0
