"""The output folder of a verification: new, or that of an endpoint's run that goes on. Source: ours."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from nonet.files import write_json

if TYPE_CHECKING:
    from double_i.keys import Key
    from double_i.queries import Query


class Run:
    """A verification that is under way in a folder.

    Args:
        folder: of the evidence.
        resumable: whether a run may go on in it.

    Raises:
        UserError: the folder holds something else.
    """

    def __init__(self, folder: Path, *, resumable: bool) -> None:
        self.folder, self.logs = folder, folder / "asking"
        self.file = self.logs / "run.json"
        self.sent = self.logs / "requests"
        """a byte for each request sent"""
        self.key_ids: list[str] = []
        """of the run that goes on; it burned them itself"""
        self._before: dict[str, Any] | None = None
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not resumable or not self.file.is_file() or (folder / "manifest.json").exists():
            raise UserError(f"{folder}: exists already; give another --out")
        try:
            self._before = json.loads(self.file.read_text(encoding="utf-8"))
            self.key_ids = [str(name) for name in self._before["key_ids"]]  # type: ignore[index]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.file}: damaged; give another --out") from None

    def begin(self, keys: "Sequence[Key]", queries: "Sequence[Query]", source: dict[str, Any]) -> None:
        """Note what is asked, or check that it is what was asked before.

        Raises:
            UserError: the run that is to go on asked other questions, or somebody else.
        """
        hashes = "\n".join(f"{query.number} {query.prompt_hash}" for query in queries)
        state = {
            "key_ids": [key.key_id for key in keys],
            "questions": hashlib.sha256(hashes.encode()).hexdigest(),
            "source": source,
        }
        if self._before is None:
            write_json(self.file, state)
        elif self._before != state:
            raise UserError(
                f"{self.folder}: a run with other questions or another suspect is under way there; "
                "give its options to go on, or another --out"
            )

    def done(self) -> None:
        """Remove the logs: the evidence has the answers."""
        if self.logs.is_dir():
            for path in [*self.logs.glob("asked-*.jsonl"), self.sent, self.file]:
                path.unlink(missing_ok=True)
            self.logs.rmdir()
