"""Collections of the `ir_datasets` catalogue, which fetches them when they are read (optional)."""

from collections.abc import Iterator
from typing import Any

from nonet.data.text_sources import Tally
from nonet.errors import UserError, needs
from prop_ir.documents import Document, checked_id, joined
from prop_ir.options import ReadOptions
from prop_ir.record_files import document_of

PREFIX = "ir_datasets:"


class Dataset:
    """The documents of `ir_datasets:NAME`.

    Raises:
        UserError: ir_datasets is not installed, or knows no such collection of documents.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        catalogue: Any = needs("ir_datasets", to="read ir_datasets collections", install="prop-ir[datasets]")
        try:
            self._dataset = catalogue.load(name.removeprefix(PREFIX))
        except KeyError as error:
            raise UserError(f"{name}: ir_datasets has no such collection") from error
        if not self._dataset.has_docs():
            raise UserError(f"{name}: this entry of ir_datasets has no documents")

    def documents(self, tally: Tally, options: ReadOptions) -> Iterator[Document]:
        """Documents with title and body; where a record has neither, with the text it calls its own.

        Args:
            tally: counts what is met, and raises or counts what is bad.
            options: which fields are the text.
        """
        for number, record in enumerate(self._dataset.docs_iter(), start=1):
            where = f"{self.name}:{number}"
            fields = record._asdict()
            if not options.fields and "text" not in fields and "body" not in fields:
                name = checked_id(record.doc_id, where, tally)
                document = None if name is None else Document(name, joined([record.default_text()]), where)
            else:
                document = document_of(fields, where, tally, options.fields)
            if document is not None:
                yield document
