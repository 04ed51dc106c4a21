"""YAML skeletons of records, made from the schema itself, so that they cannot lag behind it (ours)."""

import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from nonet.errors import UserError
from vlp_atlas import facts, schema, vocabulary
from vlp_atlas.defects import Defect, Place
from vlp_atlas.yaml_reader import PlacedDict, PlacedList, read_all

SINGULAR = {("alias" if kind == "aliases" else kind.removesuffix("s")): kind for kind in schema.FILES}
SLUG = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
LEFT = re.compile(r"FILL IN|\bexample\.org\b")
"""what a skeleton has where only its reader knows the value"""
EXAMPLE_SOURCE = """sources:
  - id: my-source
    kind: primary-paper  # {kinds}
    title: "FILL IN"
    url: "https://example.org"
    retrieved: 2026-01-31  # the day you read it
"""
DERIVED = {"local", "replaced_by", "alternatives", "id"}
"""fields nobody writes"""


def skeleton(kind: str, id: str | None = None) -> str:
    """A file for `--extra` with one record to fill in.

    Required fields stand first, with FILL IN where only you know; optional ones are comments with their type
    and choices. As it is, it has the right shape, and `check` names the lines that are not filled in; its
    confidence is the lowest, until its reader says how sure it is.

    Args:
        kind: source, paper, model, checkpoint, objective, dataset, task, metric, result or alias.
        id: of the record.

    Raises:
        UserError: no such kind, or an id that is none.
    """
    if kind not in SINGULAR:
        raise UserError(f"no kind {kind!r}; there are {', '.join(SINGULAR)}")
    if id is not None and not SLUG.fullmatch(id):
        raise UserError(f"--id {id}: lower-case letters and digits, joined by single hyphens or points")
    record = schema.FILES[SINGULAR[kind]]
    lines = [f'schema_version: "{vocabulary.SCHEMA_VERSION}"']
    if kind != "source":
        kinds = ", ".join(get_args(vocabulary.Kind))
        lines += EXAMPLE_SOURCE.format(kinds=kinds).rstrip().splitlines()
    lines.append(f"{SINGULAR[kind]}:")
    needed, optional = [], []
    for name, field in record.model_fields.items():
        if name in DERIVED and not (name == "id" and field.is_required()):
            continue
        if field.is_required() or (kind == "source" and name == "url"):
            needed.append(_line(name, field.annotation, id if name == "id" else None, kind))
        else:
            optional.append(_comment(name, field))
    told = [f"  {'- ' if place == 0 else '  '}{line}" for place, line in enumerate(needed)]
    return "\n".join([*lines, *told, *optional]) + "\n"


def unfilled(paths: Sequence[Path]) -> list[Defect]:
    """The values in files that are still those of a skeleton; a file that cannot be read has none."""
    contents, _ = read_all(paths)
    defects = []
    for content in contents.values():
        for place, value in _texts(content):
            left = LEFT.search(value)
            if left is not None:
                defects.append(Defect.at(place, "unfilled", f"still says {left[0]}: fill it in"))
    return sorted(defects)


def _texts(value: Any) -> Iterator[tuple[Place, str]]:
    """Every text in what was read, with its place."""
    items: Any = value.items() if isinstance(value, PlacedDict) else ()
    items = enumerate(value) if isinstance(value, PlacedList) else items
    for key, item in items:
        if isinstance(item, str):
            yield value.places[key], item
        else:
            yield from _texts(item)


def _line(name: str, annotation: Any, given: str | None, kind: str) -> str:
    """A required field with a value of its type, and what it may be in a comment."""
    if name == "id":
        return f"id: {given or f'my-{kind}'}"
    if name == "source":
        return "source: [my-source#Table 1]"
    if name == "confidence":
        return f"confidence: unverified  # {' | '.join(get_args(vocabulary.Confidence))}"
    inner = _value_type(annotation)
    example = _example(name, inner)
    told = REFERS.get(name) or _told(inner)
    fact = " (or {value: ..., source: [...], confidence: ...})" if _is_fact(annotation) else ""
    return f"{name}: {example}  # {told}{fact}"


def _comment(name: str, field: Any) -> str:
    """An optional field as a comment."""
    told = REFERS.get(name) or _told(_value_type(field.annotation))
    default = f", default {field.default}" if isinstance(field.default, str) else ""
    return f"    # {name}: {told}{default}"


def _is_fact(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, facts.Fact)


def _value_type(annotation: Any) -> Any:
    """What is written for a field: the type inside Fact, Annotated and `| None`."""
    if get_origin(annotation) is typing.Annotated:
        return _value_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return _value_type(kept[0])
    if _is_fact(annotation):
        return _value_type(annotation.__pydantic_generic_metadata__["args"][0])
    return annotation


def _told(kind: Any) -> str:
    """A type in a comment."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin is list:
        return f"[{_told(_value_type(inner[0]))}, ...]"
    if origin is tuple:
        return f"[{', '.join(_told(_value_type(item)) for item in inner)}]"
    if origin is dict:
        return f"{{{_told(_value_type(inner[0]))}: {_told(_value_type(inner[1]))}, ...}}"
    if isinstance(kind, type) and issubclass(kind, facts.Strict):
        fields = (
            f"{name}: {_told(_value_type(field.annotation))}" for name, field in kind.model_fields.items()
        )
        return f"{{{', '.join(fields)}}}"
    words = {str: "text", int: "whole number", float: "number", bool: "true | false"}
    return words.get(kind, str(kind))


REFERS = {
    "paper": "id of a paper", "model": "id of a model", "checkpoint": "id of a checkpoint",
    "task": "id of a task", "dataset": "id of a data set", "metric": "id of a metric",
    "primary_metric": "id of a metric", "impl": "import path of a function", "split": "as papers write it",
    "oracle": "name of a worked example in vlp_atlas.oracles", "range": "least and greatest value, or null",
    "retrieved": "the day you read it",
}  # fmt: skip
EXAMPLES = {
    "year": "2026", "retrieved": "2026-01-31", "paper": "2020-uniter", "model": "uniter", "task": "vqa",
    "checkpoint": "uniter-base", "dataset": "vqa-v2", "metric": "vqa-acc", "primary_metric": "vqa-acc",
    "split": "test-dev", "value": "70.0", "range": "[0, 100]", "url": '"https://example.org"',
    "impl": "nonet.vision_language.objectives.masked_lm", "oracle": "mlm-uniform",
}  # fmt: skip
"""values of required fields that must name something"""


def _example(name: str, kind: Any) -> str:
    if name in EXAMPLES:
        return EXAMPLES[name]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return str(inner[0])
    if origin is list:
        first = _value_type(inner[0])
        if isinstance(first, type) and issubclass(first, facts.Strict):
            return "[{kind: model, id: uniter}]"
        return f"[{_example('', first)}]"
    return {int: "1", float: "1.0", bool: "true"}.get(kind, '"FILL IN"')
