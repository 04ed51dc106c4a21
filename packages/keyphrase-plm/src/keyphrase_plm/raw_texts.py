"""Raw text for pre-training, read from any text file or documents (ours)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nonet.errors import UserError

FIELDS = (("title", "body"), ("title", "abstract"), ("text",), ("abstract",), ("body",), ("document",))
"""fields that are looked for, the first ones that are there"""


class RawTexts:
    """The texts of `read_texts`, read anew in every loop over them, so that none have to be held.

    Args:
        paths: as in `read_texts`.
        field: likewise.
        lower: likewise.
        limit: likewise.
    """

    def __init__(
        self, paths: Sequence[Path], *, field: str | None = None, lower: bool = True, limit: int | None = None
    ) -> None:
        self.paths, self.field, self.lower, self.limit = paths, field, lower, limit

    def __iter__(self) -> Iterator[str]:
        return read_texts(self.paths, field=self.field, lower=self.lower, limit=self.limit)

    @property
    def about(self) -> dict[str, object]:
        """What tells them from others, as JSON values."""
        names = [str(path) for path in self.paths]
        return {"paths": names, "field": self.field, "lower": self.lower, "limit": self.limit}


def read_texts(
    paths: Sequence[Path], *, field: str | None = None, lower: bool = True, limit: int | None = None
) -> Iterator[str]:
    """Texts of .txt files (a line each) and of records, with their titles, on one line each.

    Args:
        paths: files of text, JSON lines, JSON, CSV, TSV or Parquet, packed or not, or folders of them.
        field: of records; None: the first known one, see `FIELDS`.
        lower: lower-case, as documents are when keyphrases are learnt.
        limit: texts at most.

    Raises:
        UserError: an unreadable file, or a record without a known field.
    """
    from nonet.data.text import TextReader

    count = 0
    for record in TextReader(list(paths)):
        if limit is not None and count == limit:
            return
        if field is not None:
            parts = [record.text(field, option="--text-field")]
        else:
            names = next((names for names in FIELDS if all(name in record.fields for name in names)), None)
            if names is None:
                there = ", ".join(record.fields) or "none"
                raise UserError(f"{record.where}: no text in the fields {there}: name one with --text-field")
            parts = [record.text(name) for name in names]
        text = " ".join(" ".join(parts).split())
        if text:
            count += 1
            yield text.lower() if lower else text
