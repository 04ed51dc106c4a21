"""How far a long loop is: a bar on a terminal, a plain line now and then elsewhere, on stderr.

`NONET_PROGRESS=0` silences it, `NONET_PROGRESS=plain` wants lines on a terminal, too.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
SHARE = 0.1  # of the whole, between two plain lines
FRAME = 0.05  # seconds at least between two states of the bar
PAUSE = 10.0  # seconds at least between two plain lines; where the whole is unknown, three times that


class Progress(Generic[T]):
    """A loop with a known or unknown end; iterate over it, or enter it and call `advance`."""

    def __init__(self, iterable: Iterable[T] | None, total: float | None, label: str, unit: str) -> None:
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.done, self.total, self.label, self.unit = 0.0, total, label, unit
        self._iterable = iterable
        self._idle = iterable is None and total == 0  # such as a fit of 0 steps, which was not asked for
        self._start = self._said = time.monotonic()
        self._share = 0.0
        self._bar: Any = None
        self._task: Any = None
        self._open = False
        wish = os.environ.get("NONET_PROGRESS", "")
        self._silent = wish == "0" or os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0"
        self._plain = wish == "plain" or not sys.stderr.isatty()

    def __iter__(self) -> Iterator[T]:
        if self._iterable is None:
            raise TypeError("progress() without an iterable is a context manager: call advance()")
        with self:
            for item in self._iterable:
                yield item
                self.advance()

    def __enter__(self) -> "Progress[T]":
        self._start = self._said = time.monotonic()
        self._open = True
        if not self._silent and not self._plain and not self._idle:
            self._start_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, count=self._count())
            self._bar.stop()
            self._bar = None
        elif not self._silent and (self.done or (kind is None and not self._idle)):  # a refusal is one line
            self._say("" if kind is None else "stopped at ")

    def advance(self, count: float = 1) -> None:
        """Count what is done."""
        self.done += count
        if self._silent or not self._open:
            return
        now = time.monotonic()
        if self._bar is not None:
            if now - self._said >= FRAME:
                self._said = now
                self._bar.update(self._task, completed=self.done, count=self._count())
            return
        share = self.done / self.total if self.total else 0.0
        pause = PAUSE if self.total else 3 * PAUSE
        if now - self._said >= pause and (not self.total or share - self._share >= SHARE) and share < 1:
            self._said, self._share = now, share
            self._say()

    def _say(self, word: str = "") -> None:
        seconds = time.monotonic() - self._start
        share = f" ({self.done / self.total:.0%})" if self.total else ""
        rate = f", {_short(self.done / seconds)} {self.unit}/s" if seconds >= 0.1 and self.done else ""
        text = f"{self.label}: {word}{self._count()}{share} in {_clock(seconds)}{rate}"
        print(text, file=sys.stderr, flush=True)

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        ends = [TimeElapsedColumn(), TimeRemainingColumn()] if self.total else [TimeElapsedColumn()]
        names = TextColumn("{task.description}", markup=False)
        counts = TextColumn("{task.fields[count]}", markup=False)
        self._bar = Bar(SpinnerColumn(), names, BarColumn(), counts, *ends, console=Console(stderr=True))
        self._task = self._bar.add_task(self.label, total=self.total, count=self._count())
        self._bar.start()

    def _count(self) -> str:
        return f"{_short(self.done)}{f' of {_short(self.total)}' if self.total else ''} {self.unit}"


def progress(
    iterable: Iterable[T] | None = None, *, total: float | None = None, label: str, unit: str
) -> Progress[T]:
    """Show how far a loop is.

    `for text in progress(texts, label="read", unit="documents")` counts by itself; with `progress(total=n,
    ...)` as a context manager, call `.advance(count)`.

    Args:
        iterable: what to go through.
        total: how much there is; by default the iterable's length, if it has one.
        label: what is going on, in a word or two.
        unit: what is counted, in the plural.
    """
    return Progress(iterable, total, label, unit)


def _short(number: float) -> str:
    if float(number).is_integer() and abs(number) < 1e6:
        return f"{int(number):,}"
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if suffix == 'k' else limit):.4g}{suffix}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"
