"""Rows to and from the formats of instruction data (ours).

Chat formats have one text where Alpaca has two. It is instruction + join + input, and the first place of
`join` splits it again. So a row whose instruction has the join in it (or has no input, or ends with a piece
of the join) keeps its text but not the border: `reversible` says which rows come back as they were.
"""

from collections.abc import Callable
from typing import Any

from double_i.examples import Example
from double_i.templates import messages, user_text
from nonet.errors import UserError

Parsed = tuple[Example, tuple[str, ...]]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_NAMES = {"user": "human", "assistant": "gpt", "system": "system"}


def detect(value: dict[str, Any], where: str) -> str:
    """The format that a row's fields are of. Raises UserError if they are of none."""
    for name, format in (("conversations", "sharegpt"), ("messages", "openai"), ("prompt", "trl")):
        if name in value:
            return format
    if "instruction" in value or "output" in value:
        return "alpaca"
    there = ", ".join(sorted(map(repr, value))[:6]) or "none"
    raise UserError(
        f"{where}: fields {there} are of no known format; a row has instruction and output, conversations, "
        "messages, or prompt and completion"
    )


def split(content: str, join: str) -> tuple[str, str]:
    """A chat text as (instruction, input), split at the first `join`."""
    instruction, found, rest = content.partition(join) if join else (content, "", "")
    return (instruction, rest) if found and rest else (content, "")


def reversible(example: Example, join: str) -> bool:
    """Whether the row comes back from a chat format with the same instruction and input."""
    return split(user_text(example, join), join) == (example.instruction, example.input)


def _str(value: dict[str, Any], name: str, where: str, *, default: str | None = None) -> str:
    found = value.get(name, default)
    if found is None and default is not None:
        found = default
    if found is None:
        raise UserError(f"{where}: the field {name!r} is missing; add it, or name another format")
    if not isinstance(found, str):
        raise UserError(
            f"{where}: the field {name!r} is a {type(found).__name__}, not text; put it in quotes"
        )
    return found


def _extra(value: dict[str, Any], *own: str) -> tuple[str, ...]:
    return tuple(sorted(set(value) - set(own)))


def _alpaca(value: dict[str, Any], where: str, join: str) -> Parsed:
    turns = value.get("history") or []
    good = isinstance(turns, list) and all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
        for turn in turns
    )
    if not good:
        raise UserError(f"{where}: the field 'history' is to be a list of [user, assistant] texts")
    example = Example(
        _str(value, "instruction", where),
        _str(value, "input", where, default=""),
        _str(value, "output", where),
        _str(value, "system", where, default=""),
        tuple((user, answer) for user, answer in turns),
    )
    return example, _extra(value, "instruction", "input", "output", "system", "history")


def _talk(turns: Any, where: str, join: str, names: tuple[str, str]) -> Example:
    """A conversation as a row: system first, then user and assistant in turns, assistant last."""
    role_name, text_name = names
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UserError(
            f"{where}: a conversation is to be a list of objects with {role_name} and {text_name}"
        )
    said: list[tuple[str, str]] = []
    for turn in turns:
        role = _ROLES.get(_str(turn, role_name, where))
        if role is None:
            raise UserError(
                f"{where}: a turn by somebody who is not user, assistant or system; leave such rows out"
            )
        said.append((role, _str(turn, text_name, where)))
    system = said.pop(0)[1] if said and said[0][0] == "system" else ""
    if (
        len(said) < 2
        or len(said) % 2
        or [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2)
    ):
        raise UserError(f"{where}: turns are to be user, assistant, user, ... and end with the assistant")
    texts = [text for _, text in said]
    history = tuple(zip(texts[:-2:2], texts[1:-2:2], strict=True))
    return Example(*split(texts[-2], join), texts[-1], system, history)


def _sharegpt(value: dict[str, Any], where: str, join: str) -> Parsed:
    turns = value.get("conversations")
    example = _talk(turns, where, join, ("from", "value"))
    if "system" in value:
        example = example._replace(system=_str(value, "system", where, default="") or example.system)
    return example, _extra(value, "conversations", "system")


def _openai(value: dict[str, Any], where: str, join: str) -> Parsed:
    return _talk(value.get("messages"), where, join, ("role", "content")), _extra(value, "messages")


def _trl(value: dict[str, Any], where: str, join: str) -> Parsed:
    extra = _extra(value, "prompt", "completion")
    prompt, completion = value.get("prompt"), value.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        return _talk(prompt + completion, where, join, ("role", "content")), extra
    text = _str(value, "prompt", where)
    return Example(*split(text, join), _str(value, "completion", where)), extra


PARSERS: dict[str, Callable[[dict[str, Any], str, str], Parsed]] = {
    "alpaca": _alpaca, "sharegpt": _sharegpt, "openai": _openai, "trl": _trl,
}  # fmt: skip
"""format -> reader of one object: (value, where, join) -> (example, names of other columns)"""


def to_value(example: Example, format: str, join: str, *, plain: bool = False) -> dict[str, Any]:
    """A row as an object of a format, with standard columns only.

    Args:
        example: the row.
        format: `alpaca`, `sharegpt`, `openai` or `trl` (a conversational prompt and completion).
        join: between instruction and input in chat formats.
        plain: `trl` with two texts instead of two lists of turns; it has no place for system and history.
    """
    if format == "alpaca":
        value: dict[str, Any] = {
            "instruction": example.instruction, "input": example.input, "output": example.output,
        }  # fmt: skip
        if example.system:
            value["system"] = example.system
        if example.history:
            value["history"] = [list(turn) for turn in example.history]
        return value
    turns = [*messages(example, join), {"role": "assistant", "content": example.output}]
    if format == "sharegpt":
        return {"conversations": [{"from": _NAMES[turn["role"]], "value": turn["content"]} for turn in turns]}
    if format == "openai":
        return {"messages": turns}
    if plain:
        return {"prompt": user_text(example, join), "completion": example.output}
    return {"prompt": turns[:-1], "completion": turns[-1:]}
