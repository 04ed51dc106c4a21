"""YAML read strictly: nothing means something else than it looks like; all mistakes are told at once (ours).

PyYAML reads `no` as False, `2026-11-20` as a date, `1e3` as text, `12:30` as 750 and keeps the last of two
equal keys. Here the parser gives events only, and the values are made below: text, integers, decimals, true,
false and null. What could be misread is a mistake, with its place. Anchors, tags and nesting deeper than 32
are mistakes too, so that a file of somebody else can neither run code nor fill the memory.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from vlp_atlas.defects import Defect, Place, Rejected, shown

__all__ = ["PlacedDict", "PlacedList", "place_of", "read", "read_all"]

DEEPEST = 32  # levels
LARGEST = 16 * 2**20  # bytes of one file

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+")
WORDS = {"true": True, "false": False, "null": None}
MISREAD = [
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (r"(?i:yes|no|on|off|true|false)", "some read true or false: write true or false, or quote it"),
        (r"~|(?i:null)", "write null"),
        (r"[-+]?\.?(?i:nan|inf|infinity)", "not a finite number"),
        (r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+", "write the number without an exponent"),
        (r"[-+]?[0-9]+(?:,[0-9]+)+(?:\.[0-9]+)?", "write the number without commas, or quote it"),
        (r"[-+]?[0-9][0-9.,]*\s*%", "write the number without the percent sign, or quote it"),
        (r"[-+]?[0-9][0-9_]*_[0-9_.]*", "write the number without underscores, or quote it"),
        (r"[-+]?(?:0[0-9]+|0[xob][0-9a-fA-F]+)", "some read an octal or hexadecimal number: quote it"),
        (r"[-+]?[0-9]+(?::[0-9]{1,2})+(?:\.[0-9]*)?", "some read a number to the base 60: quote it"),
        (r"[-+]?(?:[0-9]+\.|\.[0-9]+)", "write digits on both sides of the point"),
        (r"[-+]?[0-9]{19,}", "a number of more than 18 digits: quote it"),
    )
]
"""plain scalars that readers of YAML take for different things, and what to write"""


class PlacedDict(dict[str, Any]):
    """A mapping that knows where it and each of its values stand."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}


class PlacedList(list[Any]):
    """A sequence that knows where it and each of its items stand."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []


def place_of(value: PlacedDict | PlacedList, path: Sequence[str | int]) -> Place:
    """Where the value at `path` stands, or the nearest one around it that was written."""
    place: Place = value.place
    here: Any = value
    for step in path:
        if isinstance(here, PlacedDict) and step in here:
            place, here = here.places[str(step)], here[str(step)]
        elif isinstance(here, PlacedList) and isinstance(step, int) and step < len(here):
            place, here = here.places[step], here[step]
        elif isinstance(here, (PlacedDict, PlacedList)):
            continue  # a step that only the expanded record has
        else:
            break
    return place


def read(path: Path) -> Any:
    """The content of a YAML file, as PlacedDict, PlacedList and plain values; None if it is empty.

    Raises:
        Rejected: it is not readable, or holds something that could be misread; all mistakes are told.
    """
    value, defects = _read(path)
    if defects:
        raise Rejected(defects)
    return value


def read_all(paths: Sequence[Path]) -> tuple[dict[Path, Any], list[Defect]]:
    """The contents of several files, and the mistakes of all of them; a file with mistakes is left out."""
    found, mistakes = {}, []
    for path in paths:
        value, defects = _read(path)
        mistakes += defects
        if not defects:
            found[path] = value
    return found, mistakes


def _read(path: Path) -> tuple[Any, list[Defect]]:
    name = shown(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, [Defect(name, 0, "yaml", f"cannot be read: {error.strerror}")]
    if len(data) > LARGEST:
        return None, [Defect(name, 0, "yaml", f"has {len(data)} bytes; at most {LARGEST} are read")]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        return None, [Defect(name, line, "yaml", f"is not UTF-8 (byte 0x{data[error.start]:02x})", column)]
    builder = _Builder(name)
    if "\t" in text:
        for number, line_text in enumerate(text.splitlines(), 1):
            if "\t" in line_text:
                place = Place(name, number, line_text.index("\t") + 1)
                builder.complain(place, "a tab: write spaces (in a quoted text, \\t)")
    try:
        value = builder.build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        if not any(defect.line == place.line for defect in builder.defects):  # a tab was the reason
            builder.complain(place, str(error.problem or error.context))
        value = None
    except yaml.YAMLError as error:  # a character that YAML does not allow: it has no mark
        builder.complain(Place(name), " ".join(str(error).split()))
        value = None
    return value, sorted(set(builder.defects))


class _Builder:
    """Makes values of events, without recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.defects: list[Defect] = []

    def complain(self, place: Place, message: str) -> None:
        self.defects.append(Defect.at(place, "yaml", message))

    def build(self, events: Iterator[Any]) -> Any:
        root: Any = None
        documents = 0
        open_: list[PlacedDict | PlacedList] = []
        keys: list[tuple[str, Place] | None] = []  # of each open mapping, the key whose value comes next
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.complain(self._place(event), "a second document: write one a file")
                    return root
                continue
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                open_.pop()
                keys.pop()
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            place = self._place(event)
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                self.complain(place, "anchors and aliases (&, *) are not read: write it out, or quote it")
            is_key = bool(open_) and isinstance(open_[-1], PlacedDict) and keys[-1] is None
            value = self._value(event, place, is_key)
            if is_key:
                keys[-1] = self._key(open_[-1], value, place)
            elif open_:
                self._put(open_[-1], keys, value, place)
            else:
                root = value
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                if len(open_) == DEEPEST:
                    self.complain(place, f"nested deeper than {DEEPEST}")
                    return None
                open_.append(value)
                keys.append(None)
        return root

    def _place(self, event: Any) -> Place:
        return Place(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _value(self, event: Any, place: Place, is_key: bool) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag is not None:
            self.complain(place, f"the tag {event.tag} is not read: leave it out")
        if isinstance(event, yaml.MappingStartEvent):
            return PlacedDict(place)
        if isinstance(event, yaml.SequenceStartEvent):
            return PlacedList(place)
        text: str = event.value
        if event.style or not event.implicit[0]:  # quoted, or a block text
            return text
        return self._plain(text, place)

    def _plain(self, text: str, place: Place) -> Any:
        if text in WORDS:
            return WORDS[text]
        if not text:
            self.complain(place, 'nothing stands here: write null, or "" for an empty text')
            return None
        if text[0] in "0123456789+-.~" or len(text) < 10:  # nothing else can be misread
            if INTEGER.fullmatch(text):
                return int(text)
            if DECIMAL.fullmatch(text):
                return float(text)
            for pattern, remedy in MISREAD:
                if pattern.fullmatch(text):
                    self.complain(place, f"{text}: {remedy}")
                    break
        return text

    def _key(self, mapping: Any, value: Any, place: Place) -> tuple[str, Place]:
        if not isinstance(value, str):
            self.complain(place, "a key must be a text: quote it")
        key = str(value)
        if key == "<<":
            self.complain(place, "merge keys (<<) are not read: write the values out")
        if key in mapping:
            first = mapping.places[key].line
            self.complain(place, f"the key {key!r} stands here for the second time (first: line {first})")
        return key, place

    def _put(self, container: Any, keys: list[Any], value: Any, place: Place) -> None:
        if isinstance(container, PlacedList):
            container.append(value)
            container.places.append(place)
            return
        key, key_place = keys[-1]
        keys[-1] = None
        if key not in container:
            container[key] = value
            container.places[key] = key_place
