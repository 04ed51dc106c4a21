"""Answers of an endpoint on disk, line by line, so that a stopped run loses none. Source: ours."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from double_i.queries import Answer
from nonet.errors import UserError


class AnswerLog:
    """JSON lines with `number`, `prompt_hash`, `raw`, `latency`, `time`, `model`; entered, it can be written.

    Args:
        path: of the file; it is made with mode 0600. What a kill left of a last line is cut off.

    Raises:
        UserError: another process writes it, or a line is no answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._kept: dict[int, tuple[str, Answer]] = {}

    def __enter__(self) -> "AnswerLog":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock()
            whole = self.path.read_bytes()
            end = whole.rfind(b"\n") + 1
            if end < len(whole):
                os.ftruncate(self._file, end)
            for number, line in enumerate(whole[:end].decode("utf-8", "replace").split("\n"), 1):
                if line.strip():
                    answer, digest = self._parse(number, line)
                    self._kept[answer.number] = (digest, answer)
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def matching(self, questions: Sequence[tuple[int, str]]) -> dict[int, Answer]:
        """Answers that are there, by number.

        Args:
            questions: number and hash of each.

        Raises:
            UserError: the log holds a number under another hash, or one that is not asked.
        """
        hashes = dict(questions)
        for number, (digest, _) in self._kept.items():
            if hashes.get(number) != digest:
                raise UserError(
                    f"{self.path}: answer {number} is to another question; the log is of another run, "
                    "so give another --out or remove it"
                )
        return {number: answer for number, (_, answer) in self._kept.items()}

    def write(self, answer: Answer, digest: str) -> None:
        """Append an answer; it is on disk when this returns."""
        record = {
            "number": answer.number,
            "prompt_hash": digest,
            "raw": answer.raw,
            "latency": answer.latency,
            "time": answer.time,
            "model": answer.model,
        }
        os.write(self._file, json.dumps(record, ensure_ascii=True).encode() + b"\n")
        os.fsync(self._file)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two runs on one log are the user's to avoid
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{self.path}: another run is writing this log; wait for it") from error

    def _parse(self, number: int, line: str) -> tuple[Answer, str]:
        try:
            value = json.loads(line)
            answer = Answer(
                int(value["number"]),
                str(value["raw"]),
                value.get("latency"),
                value.get("time"),
                value.get("model"),
            )
            return answer, str(value["prompt_hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path}:{number}: no answer of an endpoint; remove the file or the line"
            ) from error
