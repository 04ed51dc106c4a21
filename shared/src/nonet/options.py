"""A command's options as data: YAML and mappings laid over a dataclass, and a dataclass written as YAML.

The dataclass is the single source: files, flags and Python build the same object. `nonet.cli.options` adds
the flags.
"""

import ast
import dataclasses
import difflib
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from nonet.conversion import Mismatch, convert, plain, show
from nonet.errors import UserError

T = TypeVar("T")
MASK = "***"  # what a secret's value is written as
_ABSENT = object()


class Layer(NamedTuple):
    """Values to lay over those below, and where they come from: a file's name, for the error."""

    values: Mapping[str, Any]
    source: str


class _Nested(dict[str, Any]):
    """Values for the fields of a nested dataclass; a plain dict is the value of a dict field."""


def read(path: Path) -> Layer:
    """Read a YAML file of options, safely; an empty file has none.

    Raises:
        UserError: no such file, not UTF-8, broken YAML, a name given twice, not a mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    try:
        values = yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: broken YAML: {error.problem or error.context}") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # a character YAML forbids; a date like 2024-99-99
        raise UserError(f"{path}: broken YAML: {' '.join(str(error).split())}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected 'option: value' lines, not {show(values)}")
    return Layer(values, str(path))


def build(cls: type[T], layers: Sequence[Layer | tuple[Mapping[str, Any], str]] = ()) -> T:
    """Build the dataclass from its defaults and the layers above, the last one on top.

    Args:
        cls: a dataclass; nested dataclasses are nested mappings.
        layers: (values, source) pairs. Names may have dashes for underscores.

    Raises:
        UserError: an unknown name, a value of another type, a required option without a value, or what the
            dataclass itself refuses.
    """
    values = overlay(cls, layers)
    missing: list[str] = []

    def absent(name: str) -> object:
        missing.append(name)
        return _ABSENT

    made = _make(cls, values, None, _construct, absent, "")
    if missing:
        raise UserError(f"no value for {', '.join(missing)}")
    return made  # type: ignore[no-any-return]


def overlay(cls: type, layers: Sequence[Layer | tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    """The layers' values by field name, converted to the declared types, the last layer on top."""
    values = _Nested()
    for layer, source in layers:
        _lay(cls, layer, source, "", values, cls)
    return values


def skeleton(cls: type[T], values: Mapping[str, Any], absent: object) -> T:
    """An instance for showing and for laying flags over: nothing is checked, required values are `absent`."""
    return _make(cls, values, None, _hollow, lambda _: absent, "")  # type: ignore[no-any-return]


def dump(options: Any, hide: Collection[str] = (), *, comments: bool = False) -> str:
    """Write an options dataclass as YAML that `build` and `--config` read back to an equal object.

    Args:
        options: an instance of a dataclass.
        hide: dotted names whose values are written as `***`, as those of fields with the metadata
            `{"secret": True}` always are.
        comments: put each option's help above it.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
    )
    Dumper.add_representer(str, _quoted)
    helps = documentation(type(options)) if comments else {}

    def lines(instance: Any, prefix: str, indent: str) -> Iterator[str]:
        for field in dataclasses.fields(instance):
            if not field.init:
                continue
            name, value = prefix + field.name, getattr(instance, field.name)
            if comments and (text := helps.get(name)):
                width = max(100 - len(indent), 40)
                yield from (f"{indent}# {line}" for line in textwrap.wrap(text, width))
            if dataclasses.is_dataclass(value):
                nested = list(lines(value, name + ".", indent + "  "))
                yield from [f"{indent}{field.name}:", *nested] if nested else [f"{indent}{field.name}: {{}}"]
                continue
            secret = (field.metadata.get("secret") or name in hide) and value is not None
            data = {field.name: MASK if secret else _data(value)}
            text = yaml.dump(data, Dumper=Dumper, allow_unicode=True, width=float("inf"), sort_keys=False)
            yield from (indent + line for line in text.splitlines())

    return "".join(line + "\n" for line in lines(options, "", ""))


def names(cls: type, prefix: str = "") -> dict[str, Any]:
    """Every option's dotted name and declared type, in order: `{"images": Path, "trainer.steps": int}`."""
    found: dict[str, Any] = {}
    for field, kind in _fields(cls):
        inner = _dataclass_in(kind)
        found |= names(inner, f"{prefix}{field.name}.") if inner else {prefix + field.name: kind}
    return found


def documentation(cls: type) -> dict[str, str]:
    """Every option's help, the string below its field, by dotted name; also those of nested dataclasses."""
    texts: dict[str, str] = {}
    for field, kind in _fields(cls):
        owners = [base for base in cls.__mro__ if field.name in inspect.get_annotations(base)]
        own = _strings_below(owners[0]).get(field.name, "") if owners else ""
        texts[field.name] = own
        if inner := _dataclass_in(kind):
            texts |= {f"{field.name}.{name}": text for name, text in documentation(inner).items()}
    return texts


def undocumented(cls: type) -> list[str]:
    """The dotted names of options without a help string, for a conformance test that wants `[]`."""
    wanted, texts = names(cls), documentation(cls)
    return [name for name in wanted if not texts.get(name, "").strip()]


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known dotted name that was probably meant: a slip of the keys, or a name without its prefix."""
    name = name.replace("-", "_")
    leaves = [option for option in known if option.rpartition(".")[2] == name.rpartition(".")[2]]
    if leaves:
        return leaves[0]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    by_leaf = {option.rpartition(".")[2]: option for option in known}
    close = difflib.get_close_matches(name.rpartition(".")[2], by_leaf, n=1, cutoff=0.75)
    return by_leaf[close[0]] if close else None


@cache
def _fields(cls: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(cls, include_extras=True)
    return [(field, plain(hints[field.name])) for field in dataclasses.fields(cls) if field.init]


def _dataclass_in(kind: Any) -> type | None:
    """The dataclass of a nested field, also of an optional one."""
    options = [kind]
    if get_origin(kind) in (Union, UnionType):
        options = [option for option in get_args(kind) if option is not NoneType]
    if len(options) == 1 and isinstance(options[0], type) and dataclasses.is_dataclass(options[0]):
        return options[0]
    return None


def _lay(
    cls: type, layer: Mapping[str, Any], source: str, prefix: str, values: dict[str, Any], root: type
) -> None:
    fields, given = {field.name: kind for field, kind in _fields(cls)}, set()
    for key, value in layer.items():
        name = key.replace("-", "_") if isinstance(key, str) else key
        if name not in fields:
            raise UserError(f"{source}: no option {prefix + str(key)!r}{_meant(prefix + str(key), root)}")
        if name in given:
            raise UserError(f"{source}: {prefix + str(key)!r} is given twice")
        given.add(name)
        kind, dotted = fields[name], prefix + name
        inner = _dataclass_in(kind)
        if inner is not None and (isinstance(value, Mapping) or (value is None and inner is kind)):
            nested = values.get(name)
            values[name] = nested = nested if isinstance(nested, _Nested) else _Nested()
            _lay(inner, value or {}, source, dotted + ".", nested, root)
        elif inner is not None and (inner is kind or value is not None):
            raise UserError(f"{source}: {dotted} takes a mapping of options, not {show(value)}")
        else:
            try:
                values[name] = convert(value, NoneType if inner else kind)
            except Mismatch as error:
                where = dotted + error.place
                raise UserError(
                    f"{source}: {where} takes {error.expected}, not {show(error.value)}"
                ) from None


def _meant(name: str, root: type) -> str:
    known = names(root)
    close = nearest(name, known)
    if close is not None:
        return f"; did you mean {close!r}?"
    return f"; options are {', '.join(known)}" if len(known) <= 12 else ""


def _make(
    cls: type,
    values: Mapping[str, Any],
    base: Any,
    make: Callable[[type, dict[str, Any]], Any],
    absent: Callable[[str], object],
    prefix: str,
) -> Any:
    """An instance from `values`, then from `base` (a default instance), then from the class's defaults.

    `make(cls, arguments)` makes each instance; `absent(name)` stands in for a required value that nobody
    gave.
    """
    arguments: dict[str, Any] = {}
    for field, kind in _fields(cls):
        value = values.get(field.name, dataclasses.MISSING)
        if base is not None:
            default = getattr(base, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = field.default
        inner = _dataclass_in(kind)
        if inner is not None and (isinstance(value, _Nested) or value is default is dataclasses.MISSING):
            below = default if isinstance(default, inner) else None
            chosen = value if isinstance(value, _Nested) else {}
            kind = type(below) if below is not None else inner
            arguments[field.name] = _make(kind, chosen, below, make, absent, f"{prefix}{field.name}.")
        elif value is not dataclasses.MISSING:
            arguments[field.name] = value
        elif default is not dataclasses.MISSING:
            arguments[field.name] = default
        else:
            arguments[field.name] = absent(prefix + field.name)
    return make(cls, arguments)


def _construct(cls: type, values: dict[str, Any]) -> Any:
    if any(value is _ABSENT for value in values.values()):
        return _ABSENT
    try:
        return cls(**values)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def _hollow(cls: type[Any], values: dict[str, Any]) -> Any:
    instance: Any = object.__new__(cls)  # without __post_init__: flags may still change what it checks
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def _data(value: Any) -> Any:
    """The value as YAML's own types."""
    if isinstance(value, Mapping):
        return {key: _data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _quoted(dumper: Any, text: str) -> Any:
    """Text on one line: with line breaks or control characters in it, it is quoted and escaped."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


@cache
def _strings_below(cls: type) -> dict[str, str]:
    """The string that follows each field in the class's source, on one line."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, below in pairwise(statements):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
        ):
            value = below.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split())
    return found


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses a name given twice; plain YAML takes the last without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: dict[Any, Any] = {}
            for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if key in seen and key != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key!r} is given twice", key_node.start_mark
                    )
                if key is not None:
                    seen[key] = True
            return super().construct_mapping(node, deep)

    return Loader
