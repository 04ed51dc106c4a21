"""The folder of one run: options, where and how it ran, numbers by step, a log, checkpoints and the model.

    runs/<package>/<verb>-<time>/
        options.yaml    the effective options; `--config` reads them back
        run.json        command, versions, commit, machine, seed, times and exit code of every session
        metrics.jsonl   one object a line: step, seconds, and the numbers by name
        log.txt         what the run said, with times
        checkpoints/    last and best
        model/          the result as a Hugging Face folder

A run that is resumed goes on in its folder: `run.json` has one session for each start. Nothing is
overwritten. Where several processes share a run, the one of rank 0 writes and the others only read.
"""

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from nonet.errors import UserError, is_mistake
from nonet.files import replacing, write_json, write_text
from nonet.machine import commit, machine, versions

INTERRUPTED = 130
GOING_ON = "was going on when this page was drawn"  # on the page of a run that has not ended
FOLDER = "NONET_RUN"  # rank 0 leaves its folder in this variable, for processes that it starts
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no numbers for these


class Run:
    """One run and its folder; as a context manager it notes how the run ended.

    Where the run is interrupted and its options have a `resume`, the KeyboardInterrupt says how to go on.

    Attributes:
        folder: the run's folder.
        package: the package that runs.
        verb: what it does.
        writes: whether this process writes; only rank 0 does.
    """

    def __init__(self, folder: Path, package: str, verb: str, *, writes: bool) -> None:
        self.folder, self.package, self.verb, self.writes = folder, package, verb, writes
        self._start = time.monotonic()
        self._resumable = False  # whether its verb has --resume
        self._before = 0.0  # seconds of the sessions before this one, up to the last metrics line

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints; whoever writes there makes it."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The folder for the resulting model; whoever writes there makes it."""
        return self.folder / "model"

    @classmethod
    def create(
        cls, package: str, verb: str, options: Any, *, seed: int | None = None, folder: Path | None = None
    ) -> "Run":
        """Start a run in a new folder.

        Args:
            package: the import name of the package that runs.
            verb: what it does, such as `"gsg build"`.
            options: the dataclass of effective options.
            seed: the seed, for the record.
            folder: where; `runs/<package>/<verb>-<time>` by default.

        Raises:
            UserError: the folder exists and is not empty; or several processes were started from outside,
                and none can know the folder of the first.
        """
        writes = first_process()
        if not writes:
            if folder is None and FOLDER not in os.environ:
                raise UserError("several processes need one run folder: name it with --out")
            return cls(folder or Path(os.environ[FOLDER]), package, verb, writes=False)
        folder = _new_folder(package, verb) if folder is None else _empty_folder(folder)
        os.environ[FOLDER] = str(folder.absolute())
        run = cls(folder, package, verb, writes=True)
        run._resumable = hasattr(options, "resume")
        run._write_options("options.yaml", options)
        record = {"package": package, "verb": verb, "seed": seed, "sessions": [run._session(seed)]}
        write_json(folder / "run.json", record)
        return run

    @classmethod
    def resume(cls, folder: Path, options: Any = None) -> "Run":
        """Go on with a run in its folder.

        Args:
            folder: the run's folder.
            options: the effective options of this session; kept as `options-2.yaml`, `options-3.yaml`, ...
                where they differ from those that the run began with.

        Raises:
            UserError: it is not the folder of a run.
        """
        record = read_record(folder)
        run = cls(folder, record["package"], record["verb"], writes=first_process())
        if not run.writes:
            return run
        run._resumable = hasattr(options, "resume")
        os.environ[FOLDER] = str(folder.absolute())
        run._end_page(record["sessions"][-1])  # of a session that was killed after it drew its page
        run.rewind(None)
        lines = read_metrics(folder)
        run._before = float(lines[-1].get("seconds", 0.0)) if lines else 0.0
        record["sessions"].append(run._session(record["seed"]))
        write_json(folder / "run.json", record)
        if options is not None:
            run._write_options(f"options-{len(record['sessions'])}.yaml", options)
        run.say(f"resumed: session {len(record['sessions'])}")
        return run

    def log(self, step: int, **metrics: float) -> None:
        """Append the numbers of a step to `metrics.jsonl`, at once on disk.

        Args:
            step: the optimiser step.
            **metrics: numbers by name; tensors and arrays of one element are numbers, too.

        Raises:
            ValueError: a number is named `seconds`, which is the run's own.
        """
        if "seconds" in metrics:
            raise ValueError("'seconds' is the run's own clock: name the number otherwise")
        if not self.writes:
            return
        seconds = round(self._before + time.monotonic() - self._start, 3)
        line: dict[str, Any] = {"step": int(step), "seconds": seconds}
        line |= {name: _number(value) for name, value in metrics.items()}
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rewind(self, step: int | None) -> None:
        """Drop the metrics beyond a step (and half a line that a killed run left), at once or not at all."""
        path = self.folder / "metrics.jsonl"
        if not self.writes or not path.exists():
            return
        kept = [line for line in read_metrics(self.folder) if step is None or line["step"] <= step]
        with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
            for line in kept:
                file.write(json.dumps({name: _number(value) for name, value in line.items()}) + "\n")

    def say(self, text: str) -> None:
        """Write a line to `log.txt`, with the time, and to stderr."""
        if not self.writes:
            return
        print(text, file=sys.stderr)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{_now()} {text}\n")

    def finish(self, exit: int) -> None:
        """Note when and how this session ended; the first call counts."""
        if not self.writes:
            return
        record = read_record(self.folder)
        session = record["sessions"][-1]
        if session["end"] is None:
            # Once more: libraries that the run has loaded since say more about themselves and the machine.
            session |= {"end": _now(), "seconds": round(time.monotonic() - self._start, 3), "exit": exit}
            session |= {"versions": versions(self.package), "machine": machine()}
            write_json(self.folder / "run.json", record)
            self._end_page(session)
        if is_open(self.folder):
            del os.environ[FOLDER]

    def _end_page(self, session: Mapping[str, Any]) -> None:
        """Say on a page that was drawn before the run ended how it ended."""
        page = self.folder / "report.html"
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        if GOING_ON in text:
            seconds = session["seconds"]
            how = ended(session["exit"]) + (f" after {seconds:,.1f} s" if seconds is not None else "")
            write_text(page, text.replace(GOING_ON, how))

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.finish(INTERRUPTED)
            if self._resumable and not error.args:  # nonet.cli ends its line with it
                error.args = (f"go on with the same options and --resume {shlex.quote(str(self.folder))}",)
        elif isinstance(error, SystemExit):
            self.finish(error.code if isinstance(error.code, int) else int(error.code is not None))
        else:
            self.finish(0 if error is None else 2 if is_mistake(error) else 1)

    def _session(self, seed: int | None) -> dict[str, Any]:
        return {
            "command": _command(),
            "start": _now(),
            "end": None,
            "seconds": None,
            "exit": None,
            "seed": seed,
            "versions": versions(self.package),
            "source": commit(self.package),
            "machine": machine(wake=False),
        }

    def _write_options(self, name: str, options: Any) -> None:
        from nonet.options import dump

        text, first = dump(options), self.folder / "options.yaml"
        if not first.exists() or first.read_text(encoding="utf-8") != text:
            write_text(self.folder / name, text)


def ended(code: int | None) -> str:
    """How a session ended, in a word, by its exit code; None: nobody noted it."""
    return {None: "no end noted", 0: "done", INTERRUPTED: "interrupted"}.get(code, f"failed ({code})")


def first_process() -> bool:
    """Whether this is the first of the processes that share a run; known before they form a group."""
    return _rank() == 0


def is_open(folder: Path) -> bool:
    """Whether this process, or the one that started it, has a run open in a folder."""
    return os.environ.get(FOLDER) == str(folder.absolute())


def folder_of(resume: Path | None) -> Path | None:
    """The run folder behind `--resume`: itself, or the newest of the runs below it.

    Raises:
        UserError: there is no run.
    """
    if resume is None or (resume / "run.json").exists():
        return resume
    found = sorted(resume.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"{resume}: no run to go on with (no run.json)")
    return found[-1].parent


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; half a line at the end, of a run that was killed, is left out.

    Raises:
        UserError: a line before the end is not an object with a step.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line) if line else None
        except ValueError:
            values = line
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            found.append({name: NOT_FINITE.get(value, value) for name, value in values.items()})
        elif values is not None and number < len(lines):
            raise UserError(f"{path}:{number}: not a line of metrics; remove it to go on")
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """What `run.json` says about a run.

    Raises:
        UserError: it is not the folder of a run.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder}: not the folder of a run (no run.json in it)") from None
    except ValueError as error:
        raise UserError(f"{folder / 'run.json'}: broken: {error}") from None
    if (
        not isinstance(record, Mapping)
        or not record.get("sessions")
        or not {"package", "verb"} <= record.keys()
    ):
        raise UserError(f"{folder / 'run.json'}: not the record of a run")
    return dict(record)


def _command() -> str:
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def _number(value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int):
        value = float(value)
        if not math.isfinite(value):
            return str(value)
    return value  # type: ignore[no-any-return]


def _new_folder(package: str, verb: str) -> Path:
    name = f"{verb.replace(' ', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        folder = Path("runs", package, name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"runs/{package}/{name}: exists already, a thousand times")


def _empty_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder}: is a file, not a folder for a run") from None
    if any(folder.iterdir()):
        if (folder / "run.json").exists():
            raise UserError(
                f"{folder}: has a run already; continue it with --resume {folder}, or name another folder"
            )
        raise UserError(
            f"{folder}: exists already and is not empty; name another folder (--resume is for runs)"
        )
    return folder


def _rank() -> int:
    """This process's place among those that share the run; 0 where there is one."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return int(os.environ.get("NODE_RANK", 0)) or int(os.environ.get("LOCAL_RANK", 0))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
