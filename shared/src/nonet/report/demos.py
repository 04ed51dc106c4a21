"""Every package's demo after another: one table in the terminal, one page to look at. Source: ours.

`python -m nonet.report.demos --out runs/demo NAME ...` is what `make demo` runs; a name is a command with a
verb `demo` that writes `demo.json` and `report.html` into the folder `--out`.
"""

import argparse
import html
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nonet.errors import UserError

KEYS = {"package": str, "what": str, "measure": str, "before": float, "after": float, "seconds": float}


@dataclass(frozen=True)
class Demo:
    """What one demo told.

    Attributes:
        package: the command's name.
        what: what was done, in a line.
        measure: what `before` and `after` are, with the unit.
        before: the measure before training (or of the baseline).
        after: the measure after it.
        better: `"lower"` or `"higher"`.
        seconds: wall time.
        pictures: image files, relative to the demo's folder.
        failure: why there is nothing to tell; empty if there is.
    """

    package: str
    what: str = ""
    measure: str = ""
    before: float = float("nan")
    after: float = float("nan")
    better: str = "higher"
    seconds: float = 0.0
    pictures: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def row(self) -> dict[str, str]:
        """The table's row; a failed demo says so."""
        if self.failure:
            told = {"what": self.failure, "measure": "", "before": "", "after": ""}
        else:
            measure = f"{self.measure} ({self.better} is better)"
            told = {
                "what": self.what,
                "measure": measure,
                "before": f"{self.before:.4g}",
                "after": f"{self.after:.4g}",
            }
        return {"package": self.package, **told, "seconds": f"{self.seconds:.0f}"}


def read(folder: Path, package: str) -> Demo:
    """Read what a demo wrote.

    Raises:
        UserError: `demo.json` or `report.html` is missing, or `demo.json` is not as it should be.
    """
    path = folder / "demo.json"
    if not path.is_file() or not (folder / "report.html").is_file():
        raise UserError(f"{folder}: '{package} demo' left no demo.json and report.html here")
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key, kind in KEYS.items():
        accepted = (int, float) if kind is float else kind
        if not isinstance(told.get(key), accepted):
            raise UserError(f"{path}: {key!r} should be a {kind.__name__}, not {told.get(key)!r}")
    if told.get("better") not in ("lower", "higher"):
        raise UserError(f"{path}: 'better' should be 'lower' or 'higher', not {told.get('better')!r}")
    names = Demo.__dataclass_fields__.keys() - {"failure"}
    return Demo(**{key: value for key, value in told.items() if key in names})


def run(package: str, folder: Path) -> Demo:
    """Run one demo into a new folder; its standard output goes into a file `PACKAGE.log` beside it.

    Args:
        package: the command, looked for beside this Python and then on PATH.
        folder: where it writes. What an earlier demo left there is removed.

    Raises:
        UserError: no such command, or the folder holds something else.
    """
    command = shutil.which(package, path=str(Path(sys.executable).parent)) or shutil.which(package)
    if command is None:
        raise UserError(
            f"no command {package!r} beside {sys.executable} or on PATH: is the package installed?"
        )
    log = folder.with_name(f"{package}.log")
    if folder.exists():
        if not log.is_file():
            raise UserError(f"{folder}: not the folder of an earlier demo; name another with --out")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [command, "demo", "--out", str(folder)], stdin=subprocess.DEVNULL, stdout=output, check=False
        )
    seconds = time.monotonic() - started
    if done.returncode == 0:
        try:
            return read(folder, package)
        except (UserError, ValueError) as error:
            return Demo(package, failure=str(error), seconds=seconds)
    return Demo(package, failure=f"failed with exit code {done.returncode}, see {log}", seconds=seconds)


def page(demos: Sequence[Demo], folder: Path) -> Path:
    """Write `index.html`: the table, and below it every package's own page and pictures.

    Args:
        demos: what the demos told.
        folder: the folder that holds one folder for each package.
    """
    from nonet.report import Page

    built = Page("What the packages do", "Each one learns from data that it makes itself, on this machine.")
    built.table([demo.row for demo in demos], caption="Before and after training")
    for demo in demos:
        built.html(section(demo))
    path = folder / "index.html"
    built.save(path)
    return path


def section(demo: Demo) -> str:
    """The part of the page on one demo: a link to its own page, its pictures, and that page in a frame."""
    name = html.escape(demo.package, quote=True)
    if demo.failure:
        return f"<h2>{name}</h2><p>{html.escape(demo.failure)}</p>"
    report = f"{name}/report.html"
    pictures = "".join(
        f'<img src="{name}/{html.escape(picture, quote=True)}" alt="" style="max-width: 100%">'
        for picture in demo.pictures
    )
    frame = (
        f'<iframe src="{report}" title="{name}" style="width: 100%; height: 36rem; border: 1px solid #8884">'
    )
    what = html.escape(demo.what)
    return f'<h2>{name}</h2><p>{what} <a href="{report}">Its page</a></p>{pictures}{frame}</iframe>'


def show(demos: Sequence[Demo]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in demos[0].row:
        number = name in ("before", "after", "seconds")
        table.add_column(name, justify="right" if number else "left", no_wrap=number or name == "package")
    for demo in demos:
        table.add_row(*demo.row.values(), style="red" if demo.failure else None)
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run demos one after the other; 1 if one failed, 2 if there is nothing to run."""
    parser = argparse.ArgumentParser(prog="python -m nonet.report.demos", description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", help="commands with a verb `demo`")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for the pages")
    options = parser.parse_args(arguments)
    try:
        demos = []
        for package in options.packages:
            print(f"{package} demo ...", file=sys.stderr)
            demos.append(run(package, options.out / package))
        path = page(demos, options.out)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    show(demos)
    print(f"Look at {path}")
    return 1 if any(demo.failure for demo in demos) else 0


if __name__ == "__main__":
    sys.exit(main())
