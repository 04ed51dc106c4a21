"""Flags over files over defaults: the options of one verb from its command line, by way of tyro.

Layers, the last one on top: the dataclass's defaults, `--preset NAME`, every `--config FILE`, the flags.
Files are laid over the defaults before tyro runs, so that help shows the values that will hold.

One field of a dataclass may have the metadata `{"positional": True}`: words that belong to no flag are its
values, so that `atlas compare ALBEF BLIP` is `atlas compare --names ALBEF BLIP`.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin

from nonet.conversion import convert, describe, plain, show
from nonet.errors import UserError
from nonet.options import (
    Layer,
    build,
    documentation,
    dump,
    names,
    nearest,
    overlay,
    read,
    skeleton,
    undocumented,
)

__all__ = [
    "Layer", "Parsed", "build", "dump", "option_help", "parse", "positional", "presets_in", "read",
    "undocumented",
]  # fmt: skip

T = TypeVar("T")
OWN = ("preset", "config", "print-config", "help")  # what every verb takes beside its own options
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class _Refused(Exception):
    """What is wrong with the flags, on its way out of tyro."""


class Parsed(NamedTuple, Generic[T]):
    """What a command line asks for."""

    options: T
    print_config: bool


class _Split(NamedTuple):
    """A command line taken apart."""

    layers: list[Layer]
    flags: list[str]
    print_config: bool


def parse(cls: type[T], arguments: Sequence[str], *, command: str, presets: Path | None = None) -> Parsed[T]:
    """Build a verb's options from the words after it.

    Args:
        cls: the verb's options dataclass.
        arguments: the words after the verb.
        command: program and verb, such as `"pegasus gsg build"`; errors point to its help.
        presets: the folder with this verb's presets.

    Raises:
        UserError: an unknown flag (with the nearest name), a value of another type, a required option without
            a value, whatever is wrong with a file, or what the dataclass itself refuses.
    """
    import tyro

    split = _split(cls, arguments, presets)
    start = skeleton(cls, overlay(cls, split.layers), tyro.MISSING)
    options = _tyro(cls, _emptied(cls, _once(cls, _flagged(cls, split.flags))), command, start)
    return Parsed(options, split.print_config)


def option_help(
    cls: type[Any], arguments: Sequence[str], *, command: str, presets: Path | None = None
) -> str:
    """Every option with help, unit and the value that holds without a flag: plain text for the terminal."""
    import tyro

    split = _split(cls, [word for word in arguments if word not in ("-h", "--help")], presets)
    start = skeleton(cls, overlay(cls, split.layers), tyro.MISSING)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        _tyro(cls, ["--help"], command, start)
    return _unboxed(shown.getvalue())


def positional(cls: type[Any]) -> dataclasses.Field[Any] | None:
    """The field that takes the words that belong to no flag, if there is one."""
    found = [field for field in dataclasses.fields(cls) if field.metadata.get("positional")]
    if len(found) > 1:
        raise TypeError(f"{cls.__module__}.{cls.__qualname__} has more than one positional option")
    return found[0] if found else None


def presets_in(folder: Path | None) -> dict[str, str]:
    """The presets in a folder by name, each with its file's first comment line."""
    if folder is None or not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        with open(path, encoding="utf-8") as file:
            first = file.readline().strip()
        found[path.stem] = first.lstrip("# ") if first.startswith("#") else ""
    return found


def _split(cls: type, arguments: Sequence[str], presets: Path | None) -> _Split:
    """Take the words that every verb understands out of the command line, and read the files they name."""
    clash = {name.replace("_", "-") for name in names(cls)} & set(OWN)
    if clash:
        raise TypeError(f"{cls.__module__}.{cls.__qualname__} may not have the options {sorted(clash)}")
    preset: str | None = None
    configs: list[str] = []
    flags: list[str] = []
    print_config = False
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, given, value = word.partition("=")
        name = name.replace("_", "-")
        if name == "--print-config":
            if given:
                raise UserError("--print-config takes no value")
            print_config = True
        elif name in ("--preset", "--config"):
            values = [value] if given else list(_values(words, 1 if name == "--preset" else None))
            if not values or not all(values):
                raise UserError(f"{name} needs {'a name' if name == '--preset' else 'a YAML file'}")
            if name == "--config":
                configs += values
            elif preset is not None:
                raise UserError(
                    f"--preset is given twice ({preset}, {values[0]}); lay --config files over one"
                )
            else:
                preset = values[0]
        else:
            flags.append(word)
    layers = [_preset(preset, presets)] if preset is not None else []
    return _Split([*layers, *(read(Path(config)) for config in configs)], flags, print_config)


def _flagged(cls: type, flags: list[str]) -> list[str]:
    """The command line with its loose words behind the flag of the option that takes them."""
    field = positional(cls)
    if field is None:
        return flags
    known = names(cls)
    loose: list[str] = []
    rest: list[str] = []
    words = list(flags)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            loose.append(word)
            continue
        rest.append(word)
        flag, given, _ = word.partition("=")
        name = _name(flag)
        leaf = re.sub(r"(^|\.)no_([^.]+)$", r"\1\2", name)
        kind = plain(known.get(name, known.get(leaf, object)))
        if not given and kind is not bool:
            one = name in known and get_origin(kind) not in (tuple, list, dict)
            rest += _values(words, 1 if one else None)
        if name == field.name and loose:
            raise UserError(f"{flag} is given twice: as {show(loose[0])} and with its name")
    own = f"--{field.name.rstrip('_').replace('_', '-')}"
    return [own, *loose, *rest] if loose else rest


def _once(cls: type, flags: list[str]) -> list[str]:
    """The command line, in which no list is given twice: the later one would replace the earlier unsaid."""
    known = names(cls)
    seen: set[str] = set()
    for flag in (word.partition("=")[0] for word in flags if word.startswith("--")):
        kind = plain(known.get(_name(flag), object))
        if tuple not in (get_origin(part) for part in (kind, *get_args(kind))):
            continue
        if _name(flag) in seen:
            raise UserError(f"{flag} is given twice; give all its values after one {flag}")
        seen.add(_name(flag))
    return flags


def _emptied(cls: type, flags: list[str]) -> list[str]:
    """The command line with tyro's word for no value where an optional one is `none` or `null`, in any case.

    A choice that has the word itself keeps it.
    """
    known = names(cls)
    found: list[str] = []
    for word in flags:
        before, after = found[-1] if found else "", word
        if word.startswith("--"):
            before, _, after = word.partition("=")
        if before.startswith("--") and after.lower() in ("none", "null"):
            kinds = [plain(kind) for kind in get_args(plain(known.get(_name(before), object)))]
            choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
            if NoneType in kinds and after not in choices:
                word = word.removesuffix(after) + "None"
        found.append(word)
    return found


def _values(words: list[str], most: int | None) -> Iterator[str]:
    """Take the words up to the next flag."""
    taken = 0
    while words and not words[0].startswith("--") and taken != most:
        taken += 1
        yield words.pop(0)


def _preset(name: str, folder: Path | None) -> Layer:
    known = presets_in(folder)
    if folder is None or name not in known:
        close = nearest(name, [*known])
        meant = f"; did you mean {close!r}?" if close else f"; there are {', '.join(known)}" if known else ""
        raise UserError(f"no preset {name!r}{meant}" if known else f"no preset {name!r}: this verb has none")
    return Layer(read(folder / f"{name}.yaml").values, f"preset {name}")


def _tyro(cls: type[T], flags: list[str], command: str, start: T) -> T:
    """Let tyro lay the flags over `start`; what it refuses is one line."""
    import tyro

    stderr = io.StringIO()
    try:
        with _on_error(lambda event: _complain(event, cls, flags)), contextlib.redirect_stderr(stderr):
            return tyro.cli(  # type: ignore[no-any-return]
                cls,
                prog=command,
                description="",
                args=flags,
                default=start,
                config=(tyro.conf.AvoidSubcommands,),
                registry=_registry(),
            )
    except _Refused as refused:
        raise UserError(f"{refused} (see '{command} --help')") from None
    except SystemExit as exit:
        if not exit.code:
            raise
        text = " ".join(line.strip() for line in _unboxed(stderr.getvalue()).splitlines())
        raise UserError(" ".join(text.split())) from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def _on_error(hook: Any) -> contextlib.AbstractContextManager[Any]:
    """The hook of tyro for parse errors; private, so without it tyro's own text is shown."""
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return contextlib.nullcontext()
    return on_parse_error(hook)  # type: ignore[no-any-return]


def _registry() -> Any:
    """Whole numbers as in a file: `--steps 1e6` is a million."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    registry = ConstructorRegistry()

    @registry.primitive_rule  # type: ignore[untyped-decorator]
    def whole(info: Any) -> Any:
        if info.type is not int:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: convert(words[0], int),
            is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _complain(event: Any, cls: type, flags: list[str]) -> None:
    """Say in one line what tyro is about to reject; an event of an unknown kind keeps tyro's text."""
    what = type(event).__name__
    known = names(cls)
    unknown = getattr(event, "tokens", None) or getattr(event, "unrecognized_tokens", None)
    if unknown:
        raise _Refused(_unknown(unknown, known))
    if what == "MissingArgs":
        flagged = [_flag(missing.arg) for missing in event.missing_arguments]
        helps = documentation(cls).get(_name(flagged[0]), "")
        more = f": {helps}" if helps and len(flagged) == 1 else ""
        raise _Refused(f"{' and '.join(flagged)} {'is' if len(flagged) == 1 else 'are'} required{more}")
    argument = getattr(event, "argument", None)
    if argument is not None:
        flag = _flag(argument)
        kind = plain(known.get(_name(flag), object))
        if what == "BadValue" and event.reason == "too_few_values":
            raise _Refused(f"{flag} needs a value: {describe(kind)}")
        value = event.value if what == "InvalidChoice" else _given(flag, flags)
        raise _Refused(f"{flag} takes {describe(kind)}, not {show(value)}")
    if what == "InstantiationFailure":
        raise UserError(event.message)


def _unknown(tokens: Sequence[str], known: dict[str, Any]) -> str:
    word = tokens[0].partition("=")[0]
    if not word.startswith("-"):
        return f"no option takes the word {word!r}; options begin with --"
    negated = [re.sub(r"([^.]+)$", r"no_\1", name) for name, kind in known.items() if kind is bool]
    plain_names = [name.replace("-", "_") for name in OWN]
    close = nearest(word.lstrip("-").replace("-", "_"), [*known, *negated, *plain_names])
    return f"no option {word}" + (f"; did you mean --{close.replace('_', '-')}?" if close else "")


def _flag(argument: Any) -> str:
    """The long flag of tyro's argument, such as `--trainer.steps`."""
    return str(argument.lowered.name_or_flags[0])


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _given(flag: str, flags: list[str]) -> str:
    """The value that the command line has for a flag, for the error."""
    for place in range(len(flags) - 1, -1, -1):
        name, given, value = flags[place].partition("=")
        if name.replace("_", "-") == flag:
            return value if given else " ".join(_values(flags[place + 1 :], None))
    return ""


def _unboxed(text: str) -> str:
    """The help or error of tyro without the frames and rules that it draws around its groups."""
    lines: list[str] = []
    for line in ANSI.sub("", text).splitlines():
        titled = re.fullmatch(r"[╭+][─-] (.*?) [─-]+[╮+]", line.rstrip())
        line = f"{titled[1]}:" if titled else line.strip("╭╮╰╯│|+").rstrip()
        if re.fullmatch(r" *[─-]{3,}", line):  # the line above is a group's title, or the text below a title
            if lines and not line.startswith("  ") and not lines[-1].endswith(":"):
                lines[-1] = f"{lines[-1].strip()}:"
        elif not line.startswith("usage:"):
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"
