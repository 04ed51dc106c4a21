"""Values from files to declared types: what YAML, JSON or a shell gives, as what a dataclass field asks for.

YAML 1.1 reads `1e-4` (no dot) as text, and `off` as false; a shell gives nothing but text. So the declared
type decides.
"""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?")
SWITCHES = {
    True: ("on", "yes", "true"),
    False: ("off", "no", "false"),
}  # words that YAML 1.1 reads as a boolean


class Mismatch(ValueError):
    """A value that the declared type does not take.

    Attributes:
        place: where inside the value, such as `"[2]"`; empty for the value itself.
        expected: what the type takes, in words.
        value: what was there.
    """

    def __init__(self, place: str, expected: str, value: object) -> None:
        super().__init__(f"{place + ': ' if place else ''}expected {expected}, not {show(value)}")
        self.place, self.expected, self.value = place, expected, value


def convert(value: object, kind: Any, place: str = "") -> Any:
    """Give `value` as the declared type, where it can be meant as that.

    `convert("1e-4", float)` is `0.0001`; `convert("1e6", int)` is `1000000`; `convert("a", tuple[str,
    ...])` is `("a",)`; `convert(False, Literal["on", "off"])` is `"off"`.

    Args:
        value: what a file or a shell gave.
        kind: the type: bool, int, float, str, Path, None, Literal, a union, tuple, list, dict or Any.
        place: where the value is, for the error.

    Raises:
        Mismatch: the value cannot be meant as that type.
        TypeError: the type is none of those above.
    """
    kind = plain(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return value
    if kind in SCALARS:
        return SCALARS[kind](value, place)
    if origin is Literal:
        return _choice(value, inner, place)
    if origin in (Union, types.UnionType):
        return _union(value, inner, place)
    if origin is tuple:
        return _fixed(value, inner, place)
    if origin in (list, Sequence):
        return _items(value, inner[0], place)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise Mismatch(place, describe(kind), value)
        return {
            convert(key, inner[0], place): convert(item, inner[1], f"{place}[{key!r}]")
            for key, item in value.items()
        }
    raise TypeError(f"options cannot have the type {kind}")


def describe(kind: Any) -> str:
    """The type in a user's words: `describe(int | None)` is `"a whole number or null"`."""
    kind = plain(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if origin is Literal:
        return _either([show(option) for option in inner])
    if origin in (Union, types.UnionType):
        return _either([describe(option) for option in inner])
    if origin is tuple and (len(inner) != 2 or inner[1] is not Ellipsis):
        return _listed(inner)
    if origin in (tuple, list, Sequence):
        return f"a list (each item {describe(inner[0])})"
    if origin in (dict, Mapping) or is_dataclass(kind):
        return "a mapping"
    return str(kind)


def plain(kind: Any) -> Any:
    """The type without its annotations: `plain(Annotated[int, "m"])` is `int`."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def show(value: object) -> str:
    """A value as an error message shows it: YAML's words, and not too long."""
    words: dict[object, str] = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _listed(kinds: Sequence[Any]) -> str:
    return f"{len(kinds)} values ({', '.join(describe(kind) for kind in kinds)})"


def _boolean(value: object, place: str) -> bool:
    if isinstance(value, bool):
        return value
    raise Mismatch(place, WORDS[bool], value)


def _whole(value: object, place: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d[\d_]*", value.strip()):
        try:
            return int(value)
        except ValueError:  # `1__0`, or more digits than Python converts
            raise Mismatch(place, WORDS[int], value) from None
    number = value
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        number = float(value.replace("_", ""))
    if isinstance(number, float) and number.is_integer():
        return int(number)
    raise Mismatch(place, WORDS[int], value)


def _number(value: object, place: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch(place, WORDS[float], value) from None
    if isinstance(value, str):
        text = value.strip().lower()
        if NUMBER.fullmatch(text):
            return float(text.replace("_", ""))
        if text.replace(".", "", 1) in ("inf", "+inf", "-inf", "nan"):
            return float(text.replace(".", "", 1))
    raise Mismatch(place, WORDS[float], value)


def _text(value: object, place: str) -> str:
    if isinstance(value, str):
        return value
    quoted = "" if value is None or isinstance(value, Mapping | list) else " (in quotes)"
    raise Mismatch(place, WORDS[str] + quoted, value)


def _path(value: object, place: str) -> Path:
    if isinstance(value, Path) or (isinstance(value, str) and value):
        return Path(value)
    raise Mismatch(place, WORDS[Path], value)


def _nothing(value: object, place: str) -> None:
    if value is not None:
        raise Mismatch(place, WORDS[types.NoneType], value)


SCALARS: dict[Any, typing.Callable[[object, str], object]] = {
    bool: _boolean,
    int: _whole,
    float: _number,
    str: _text,
    Path: _path,
    None: _nothing,
    types.NoneType: _nothing,
}
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    None: "null",
    types.NoneType: "null",
    Any: "anything",
}


def _choice(value: object, options: Sequence[Any], place: str) -> object:
    for option in options:
        if value == option and type(value) is type(option):
            return option
    if isinstance(value, bool):
        meant = [option for option in options if option in SWITCHES[value]]
        if len(meant) == 1:
            return meant[0]
    for option in options:  # a shell's "2" for Literal[1, 2]
        if isinstance(option, int) and not isinstance(option, bool) and str(option) == value:
            return option
    raise Mismatch(place, describe(Literal[*options]), value)


def _union(value: object, options: Sequence[Any], place: str) -> object:
    options = [plain(option) for option in options]
    for option in options:
        if option is type(value) or (value is None and option is None):
            return value  # an exact type wins over a conversion: "5" stays text for `int | str`
    for option in options:
        try:
            return convert(value, option, place)
        except Mismatch:
            continue
    raise Mismatch(place, _either([describe(option) for option in options]), value)


def _items(value: object, kind: Any, place: str) -> list[Any]:
    if isinstance(value, Mapping) or value is None:
        raise Mismatch(place, describe(list[kind]), value)
    items = list(value) if isinstance(value, list | tuple) else [value]
    return [convert(item, kind, f"{place}[{number}]") for number, item in enumerate(items)]


def _fixed(value: object, kinds: Sequence[Any], place: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_items(value, kinds[0], place))
    if not isinstance(value, list | tuple) or len(value) != len(kinds):
        raise Mismatch(place, _listed(kinds), value)
    pairs = zip(value, kinds, strict=True)
    return tuple(convert(item, kind, f"{place}[{number}]") for number, (item, kind) in enumerate(pairs))
