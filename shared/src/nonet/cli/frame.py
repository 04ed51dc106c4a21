"""The frame of every command: finds the verb, builds its options, runs it, and turns errors into one line.

Help of the program itself imports nothing but the standard library; a verb's module is imported when it is
named.
"""

import difflib
import importlib
import importlib.util
import os
import select
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import RunFailed, UserError, is_mistake

DONE, FAILED, WRONG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141  # exit codes


class Verb(NamedTuple):
    """One verb of a program, as far as help needs it.

    Attributes:
        summary: what it does, in a few words, for the program's help.
        module: the module with a dataclass `Options` and `run(options) -> int`.
        example: a command line that works.
    """

    summary: str
    module: str
    example: str


def main(
    prog: str,
    about: str,
    version: str,
    verbs: Mapping[str, Verb],
    presets: str | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a program's command line.

    Args:
        prog: the program's name.
        about: one or two sentences for its help.
        version: what `--version` says after the name.
        verbs: the verbs by name, in the order of help; a name may be two words (`"gsg build"`).
        presets: the package that has `presets/<verb with dashes>/<name>.yaml`.
        argv: the words after the program's name; those of this process by default.

    Returns:
        The exit code: what the verb's `run` returned, 2 for a mistake on the command line or in a file, or
        for a file that cannot be read or written, 1 for a failed run, 130 after Ctrl-C, 141 if the reader of
        the output went away. Other exceptions go through.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = prog
    try:
        verb, rest = _find(prog, verbs, words)
        if verb is None:
            return _about(prog, about, version, verbs, presets, words)
        command = f"{prog} {verb}"
        code = _run(command, verbs[verb], rest, _folder(presets, verb))
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(command, error, WRONG)
    except RunFailed as error:
        return _say(command, error, FAILED)
    except KeyboardInterrupt as error:  # what a run says with it is how to go on
        return _say(command, f"interrupted; {error}" if error.args else "interrupted", INTERRUPTED)
    except BrokenPipeError:
        if not _reader_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        return PIPE_CLOSED
    except OSError as error:
        if not is_mistake(error):
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        return _say(command, f"{where}{error.strerror}", WRONG)


def _find(prog: str, verbs: Mapping[str, Verb], words: list[str]) -> tuple[str | None, list[str]]:
    """The verb that the words begin with, and the words after it; None where the program itself is meant."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in verbs:
            return name, words[length:]
    if not words or words[0] in ("-h", "--help", "--version"):
        return None, words
    first = words[0]
    if first.startswith("-"):
        raise UserError(
            f"no option {first} before the verb; write '{prog} VERB {first} ...' (see '{prog} --help')"
        )
    group = [name for name in verbs if name.split()[0] == first]
    if group:
        second = words[1] if len(words) > 1 else ""
        if second in ("", "-h", "--help"):
            return None, words
        close = difflib.get_close_matches(f"{first} {second}", group, n=1, cutoff=0.5)
        meant = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(group)}"
        raise UserError(f"no verb '{first} {second}'; {meant} (see '{prog} --help')")
    known = {name: name for name in verbs} | {name.split()[0]: name for name in verbs if " " in name}
    close = difflib.get_close_matches(" ".join(words[:2]), verbs, n=1, cutoff=0.7)
    close = close or [known[near] for near in difflib.get_close_matches(first, known, n=1, cutoff=0.5)]
    meant = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(verbs)}"
    raise UserError(f"no verb '{first}'; {meant} (see '{prog} --help')")


def _about(
    prog: str, about: str, version: str, verbs: Mapping[str, Verb], presets: str | None, words: list[str]
) -> int:
    """The program's own help, also of a group of verbs (`gsg` for `gsg build`), or its version."""
    if words[:1] == ["--version"]:
        print(f"{prog} {version}")
        return DONE
    group = words[0] if words and not words[0].startswith("-") else ""
    shown = {name: verb for name, verb in verbs.items() if not group or name.split()[0] == group}
    first = shown.get("demo") or next(iter(shown.values()))
    width = max(map(len, shown))
    lines = [f"example: {first.example}", "", about, ""]
    lines += [
        f"usage: {prog} VERB [--preset NAME] [--config FILE.yaml ...] [--option value ...]",
        "",
        "verbs:",
    ]
    lines += [f"  {name:{width}}  {verb.summary}" for name, verb in shown.items()]
    named = {name: [path.stem for path in _yaml_files(_folder(presets, name))] for name in shown}
    if any(named.values()):
        lines += ["", "presets:"]
        lines += [f"  {name:{width}}  {', '.join(files)}" for name, files in named.items() if files]
    lines += ["", f"'{prog} VERB --help' names every option; '{prog} --version' says the version"]
    asked = "-h" in words or "--help" in words
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    sys.stdout.flush()
    return DONE if asked else WRONG


def _run(command: str, verb: Verb, words: list[str], presets: Path | None) -> int:
    module = importlib.import_module(verb.module)
    from nonet.cli import options

    if "-h" in words or "--help" in words:
        print(_verb_help(command, verb, module, words, presets))
        return DONE
    parsed = options.parse(module.Options, words, command=command, presets=presets)
    if parsed.print_config:
        print(
            f"# {shlex.join([*command.split(), *words])}\n{options.dump(parsed.options, comments=True)}",
            end="",
        )
        return DONE
    _refuse_no_place(getattr(parsed.options, "out", None))
    return int(module.run(parsed.options) or DONE)


def _refuse_no_place(out: Any) -> None:
    """Complain before the work where nothing can be written.

    Raises:
        UserError: the folder that `out`, a Path, would be made in is none, or may not be written to.
    """
    from nonet.runs import first_process

    if not isinstance(out, Path) or not first_process():  # others write nothing, and may not see the place
        return
    there = next((place for place in (out, *out.absolute().parents) if place.exists()), out)
    if there == out and not there.is_dir():
        return  # a file that is replaced, or not; the verb knows
    if not there.is_dir():
        raise UserError(f"out is {out}, and {there} is a file: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"out is {out}, and nothing may be written in {there}: name another place")


def _verb_help(command: str, verb: Verb, module: Any, words: list[str], presets: Path | None) -> str:
    import inspect

    from nonet.cli import options

    text = inspect.cleandoc(module.Options.__doc__ or verb.summary)
    lines = [f"example: {verb.example}", "", text, ""]
    words_first = _loose_words(options.positional(module.Options))
    lines += [
        f"usage: {command} {words_first}[--preset NAME] [--config FILE.yaml ...] [--option value ...]",
        "",
    ]
    known = options.presets_in(presets)
    if known:
        width = max(map(len, known))
        lines += ["presets:", *(f"  {name:{width}}  {about}".rstrip() for name, about in known.items()), ""]
    lines += [
        "layers, the last one on top:",
        "  --preset NAME        "
        + ("one of the presets above" if known else "a named file of options; this verb has none"),
        "  --config FILE.yaml   a file of options; several are laid one over the other",
        "  --print-config       print the options that would hold as YAML, and stop",
        "",
    ]
    return (
        "\n".join(lines)
        + "\n"
        + options.option_help(module.Options, words, command=command, presets=presets).rstrip()
    )


def _loose_words(field: Any) -> str:
    """How the usage line writes the option that needs no flag."""
    import dataclasses

    if field is None:
        return ""
    name = field.name.rstrip("_").replace("_", "-").upper()
    many = "tuple" in str(field.type) or "list" in str(field.type)
    needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    text = f"{name} ..." if many else name
    return f"{text} " if needed else f"[{text}] "


def _folder(package: str | None, verb: str) -> Path | None:
    """The folder of a verb's presets inside the package, which is not imported."""
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    return (root if root.name == "presets" else root / "presets") / verb.replace(" ", "-")


def _yaml_files(folder: Path | None) -> list[Path]:
    return sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else []


def _say(command: str, what: object, code: int) -> int:
    """One line on stderr, whatever the text was."""
    print(f"{command}: {' '.join(str(what).split())}", file=sys.stderr)
    return code


def _reader_gone() -> bool:
    """Whether it is standard output that nobody reads any more, rather than some pipe inside the run."""
    if not hasattr(select, "poll"):
        return True
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False
