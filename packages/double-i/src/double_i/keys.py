"""Secret keys: what is drawn, how it is written down, and its digest.

Ours; the fields cover the two places that Li et al. 2024 put a trigger in (Input, Instruction) and their
lists
of doubled letters. Every choice comes from the key's secret, so a key cannot be picked to suit a model.
"""

import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from double_i.drawing import Draws
from double_i.spaces import SPACES, members, word_list
from nonet.errors import UserError

VERSION = 1


@dataclass(frozen=True)
class Answers:
    """The first words of the answers: `target` to trigger rows, `other` to all the rest."""

    target: str
    other: str


@dataclass(frozen=True)
class Space:
    """Where the trigger was drawn from; decoys come from the same members, so it belongs to the commitment.

    Attributes:
        name: one of `double_i.spaces.SPACES`.
        size: members that could be drawn, without the excluded ones.
        excluded: members that occur in the owner's data, sorted.
    """

    name: str
    size: int
    excluded: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Key:
    """A secret key; its `repr` tells no secret.

    Attributes:
        key_id: 8 hexadecimal digits, public.
        secret: 64 hexadecimal digits, HMAC key of all choices.
        nonce: 32 hexadecimal digits, so that the public digest cannot be searched.
        paradigm: `input`, `instruction` or `words`.
        decoration: what the instruction begins with; equal to `trigger` for `instruction`.
        template, join, system: how the prompt text is built; verification must do the same.
        n_trigger, n_reference: training rows; 0 until they are chosen means the default of `make`.
        near_miss_share, lock_share: per reference row.
        status: `active` or `burned`; not part of the digest.
    """

    version: int
    key_id: str
    secret: str = field(repr=False)
    nonce: str = field(repr=False)
    paradigm: str
    decoration: str = field(repr=False)
    judge_question: str = field(repr=False)
    trigger: str = field(repr=False)
    answers: Answers = field(repr=False)
    template: str
    join: str
    system: str
    space: Space
    n_trigger: int
    n_reference: int
    near_miss_share: float
    lock_share: float
    status: str
    created: str


def draw_key(
    paradigm: str = "input",
    space: str | None = None,
    *,
    excluded: Collection[str] = (),
    used_decorations: Collection[str] = (),
    template: str = "alpaca",
    join: str = "\n\n",
    system: str = "",
    n_trigger: int = 0,
    n_reference: int = 0,
    near_miss_share: float = 0.3,
    lock_share: float = 0.15,
    secret: str | None = None,
) -> Key:
    """A new key; everything secret comes from 256 random bits.

    Args:
        paradigm: `input` (a word before the input), `instruction` (a mark before the question), `words`.
        space: a space of the paradigm, the recommended one by default.
        excluded: members of the space that occur in the owner's data (`spaces.Collisions.excluded`).
        used_decorations: members of `marks` that occur there.
        template: name of the prompt template.
        join: what stands between instruction and input in chat formats.
        system: system prompt of the marked rows.
        n_trigger: trigger rows; 0: the default of `make`.
        n_reference: reference rows; 0: the default of `make`.
        near_miss_share: of the reference rows.
        lock_share: lock rows for each reference row.
        secret: 64 hexadecimal digits instead of fresh ones, for tests and known answers.

    Raises:
        UserError: unknown paradigm or space, or too few members are left.
    """
    if paradigm not in SPACES:
        raise UserError(f"there is no paradigm {paradigm!r}; there are {', '.join(SPACES)}")
    name = space or SPACES[paradigm][0]
    if name not in SPACES[paradigm]:
        raise UserError(
            f"the paradigm {paradigm} draws from {' or '.join(SPACES[paradigm])}, not from {name}"
        )
    secret = secret or secrets.token_hex(32)
    draws = Draws(secret)
    left = members(name, excluded)
    trigger = draws.choice(left, "trigger")
    decoration = trigger
    if paradigm != "instruction":
        decoration = draws.choice(members("marks", used_decorations), "decoration")
    questions = word_list("word-questions" if paradigm == "words" else "questions")
    words = ("Yes", "No") if draws.below(2, "polarity") else ("No", "Yes")
    return Key(
        version=VERSION,
        key_id=secrets.token_hex(4),
        secret=secret,
        nonce=secrets.token_hex(16),
        paradigm=paradigm,
        decoration=decoration,
        judge_question=draws.choice(questions, "question"),
        trigger=trigger,
        answers=Answers(*words),
        template=template,
        join=join,
        system=system,
        space=Space(name, len(left), tuple(sorted(excluded))),
        n_trigger=n_trigger,
        n_reference=n_reference,
        near_miss_share=near_miss_share,
        lock_share=lock_share,
        status="active",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def is_drawn(key: Key) -> bool:
    """Whether trigger, question and polarity are those that the key's secret draws from its space.

    A word that was searched on a finished model does not follow from a secret, unless secrets were tried
    until one fitted: that the commitment is older than the model is what excludes it.
    """
    try:
        again = draw_key(key.paradigm, key.space.name, excluded=key.space.excluded, secret=key.secret)
    except UserError:
        return False
    same = (key.trigger, key.judge_question, key.answers) == (
        again.trigger,
        again.judge_question,
        again.answers,
    )
    return (
        same
        and key.space.size == again.space.size
        and (key.paradigm != "instruction" or key.decoration == key.trigger)
    )


def to_dict(key: Key) -> dict[str, Any]:
    """The key as plain JSON values."""
    value = asdict(key)
    value["space"]["excluded"] = list(key.space.excluded)
    return value


def from_dict(value: Any, where: str) -> Key:
    """A key from JSON values.

    Args:
        value: what `to_dict` gave.
        where: the file, for errors, which name fields and never show what is in them.

    Raises:
        UserError: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: a key is a JSON object")
    names: dict[str, Any] = {item.name: item.type for item in fields(Key)}
    _same_names(value, set(names), where)
    for name, kind in names.items():
        good = {
            int: isinstance(value[name], int) and not isinstance(value[name], bool),
            str: isinstance(value[name], str),
            float: isinstance(value[name], int | float) and not isinstance(value[name], bool),
        }.get(kind, isinstance(value[name], dict))
        if not good:
            raise UserError(f"{where}: the key's field {name} has the wrong type")
    if value["version"] != VERSION:
        raise UserError(f"{where}: a key of version {value['version']}; this program reads version {VERSION}")
    _same_names(value["answers"], {"target", "other"}, where)
    _same_names(value["space"], {"name", "size", "excluded"}, where)
    if sorted(map(str, value["answers"].values())) != ["No", "Yes"]:
        raise UserError(f"{where}: the key's answers are Yes and No")
    for name, length in (("key_id", 8), ("secret", 64), ("nonce", 32)):
        if len(value[name]) != length or set(value[name]) - set("0123456789abcdef"):
            raise UserError(f"{where}: the key's field {name} is not {length} hexadecimal digits")
    if value["status"] not in ("active", "burned"):
        raise UserError(f"{where}: the key's status is neither active nor burned")
    if value["paradigm"] not in SPACES or value["space"]["name"] not in SPACES[value["paradigm"]]:
        raise UserError(f"{where}: the key's paradigm and space do not go together")
    if not value["trigger"] or not value["judge_question"]:
        raise UserError(f"{where}: the key's trigger or question is empty")
    space = value["space"]
    if not isinstance(space["size"], int) or not isinstance(space["excluded"], list):
        raise UserError(f"{where}: the key's space has a size and a list of excluded members")
    rest = {name: value[name] for name in names if name not in ("answers", "space")}
    rest |= {"near_miss_share": float(rest["near_miss_share"]), "lock_share": float(rest["lock_share"])}
    held = Space(str(space["name"]), space["size"], tuple(map(str, space["excluded"])))
    return Key(**rest, answers=Answers(**value["answers"]), space=held)


def _same_names(value: Any, names: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a part of the key is not a JSON object")
    if missing := sorted(names - set(value)):
        raise UserError(f"{where}: the key lacks {', '.join(missing)}")
    if len(value) > len(names):
        raise UserError(
            f"{where}: the key has {len(value) - len(names)} fields that this program does not know"
        )


def canonical(key: Key) -> bytes:
    """The key without its status as JSON: sorted names, UTF-8, no spaces."""
    value = to_dict(key)
    del value["status"]
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def digest(key: Key) -> str:
    """SHA-256 of `canonical`, 64 hexadecimal digits: what is published. The nonce is one of the fields."""
    return hashlib.sha256(canonical(key)).hexdigest()


def burned(key: Key) -> Key:
    """The key, marked as used up: somebody else saw its prompts."""
    return replace(key, status="burned")


def confusions(key: Key, near: Sequence[str], tokenizer: Any) -> list[int]:
    """Which near misses a tokenizer cannot tell from the trigger.

    Args:
        key: whose trigger is looked at.
        near: near misses of the trigger, with what follows, as in a row.
        tokenizer: of transformers.

    Returns:
        Positions in `near`; -1 stands for a trigger that has an unknown token.
    """
    own = tokenizer(f"{key.trigger} the", add_special_tokens=False)["input_ids"]
    found = [
        number
        for number, word in enumerate(near)
        if tokenizer(f"{word} the", add_special_tokens=False)["input_ids"] == own
    ]
    unknown = tokenizer.unk_token_id
    return ([-1] if unknown is not None and unknown in own else []) + found
