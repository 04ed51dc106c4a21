"""Files of predictions: written one by one and gone on with after a stop, and read in our form or by lines.

Our form is JSON lines, `{"id", "phrases", "scores", "spans", "cut"}`, of which all but the first two may be
missing. While it is written it is called OUT.part, and OUT.part.json holds the options it is written with.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.sequences import phrases_of, unique
from nonet.data.text import Record, TextReader
from nonet.errors import UserError
from nonet.files import write_json

NAMES = ("phrases", "predictions", "prediction", "keyphrases")
"""where phrases are looked for in files with fields"""


def read_predictions(path: Path | str) -> Iterator[Prediction]:
    """The predictions of a file, in its order.

    Args:
        path: JSON lines (or another format with fields) with `id` and `phrases`, a list or a text with `;`;
            or text with a line a document, phrases separated by `;`, whose ids are the numbers of the lines.
            An unknown suffix is text.

    Raises:
        UserError: the file or a record cannot be read, or an id comes twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; predictions are JSON lines, or lines of text")
    reader = TextReader([path], "line", keep_blank=True, format=_format(path))
    plain = reader.sources[0].format == "text"
    seen: set[str] = set()
    for number, record in enumerate(reader, 1):
        if plain:
            yield Prediction(str(number), tuple(phrases_of(record.fields["text"])))
            continue
        found = _prediction(record)
        if found.id in seen:
            raise UserError(
                f"{record.where}: the id {found.id!r} was there before; a document has one prediction"
            )
        seen.add(found.id)
        yield found


def _format(path: Path) -> str | None:
    known = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst")
    return None if path.suffix.lower() in known else "text"


def _prediction(record: Record) -> Prediction:
    key = record.field("id")
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise UserError(f"{record.where}: the id is {key!r}; it is a text or a whole number")
    name = next((name for name in NAMES if name in record.fields), "")
    if not name:
        raise UserError(f"{record.where}: no field 'phrases'; fields are {', '.join(record.fields)}")
    value = record.fields[name]
    if isinstance(value, str):
        phrases = phrases_of(value)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        phrases = unique(" ".join(item.split()) for item in value)
    else:
        raise UserError(f"{record.where}: field {name!r} is neither a list of texts nor a text with ';'")
    scores, spans = record.fields.get("scores") or (), record.fields.get("spans") or ()
    for what, given in (("scores", scores), ("spans", spans)):
        if not isinstance(given, list | tuple) or (given and len(given) != len(value)):
            raise UserError(f"{record.where}: field {what!r} has to hold one entry for each phrase")
    if (scores or spans) and len(phrases) != len(value):
        raise UserError(
            f"{record.where}: a phrase is empty or comes twice, so that {name} and scores do not fit"
        )
    try:
        numbers = tuple(float(score) for score in scores)
        places = tuple((int(first), int(end)) for first, end in spans)
        return Prediction(str(key), tuple(phrases), numbers, places, int(record.fields.get("cut") or 0))
    except (TypeError, ValueError):
        raise UserError(
            f"{record.where}: scores are numbers, spans are pairs of whole numbers, cut is one"
        ) from None


def as_json(prediction: Prediction) -> str:
    """A prediction as a line of JSON, without the fields that are empty."""
    value: dict[str, Any] = {"id": prediction.id, "phrases": list(prediction.phrases)}
    if prediction.scores:
        value["scores"] = [round(score, 5) for score in prediction.scores]
    if prediction.spans:
        value["spans"] = [list(span) for span in prediction.spans]
    if prediction.cut:
        value["cut"] = prediction.cut
    return json.dumps(value, ensure_ascii=False)


class PredictionFile:
    """Predictions on their way into a file; what an earlier run has written is kept.

        with PredictionFile(out, options) as file:
            for prediction in predict(file.remaining(documents)):
                file.write(prediction)

    When the block ends well the file gets its name; when it is interrupted, the next one with equal options
    goes on after the last whole line. Options are compared as JSON.

    Args:
        path: the file; its folder is made.
        options: what the predictions depend on: model, input and decoding.
        overwrite: replace a file that is there, and begin again where an unfinished one has other options.

    Attributes:
        done: predictions in the file.
        resumed: predictions that were in it at the start.

    Raises:
        UserError: the file is there, or an unfinished one was written with other options.
    """

    def __init__(self, path: Path | str, options: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.notes = self.path.with_name(self.path.name + ".part.json")
        self.options: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
        self._file: IO[str] | None = None
        self._ids: list[str] = []
        if self.path.exists() and not overwrite:
            raise UserError(f"{self.path} exists; give another name, or --overwrite to replace it")
        if self.part.exists() and self._same_options(overwrite):
            self._ids = _whole_lines(self.part)
        self.done = self.resumed = len(self._ids)

    def remaining(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents that have no prediction yet.

        Raises:
            UserError: the first ones are not those that the file has.
        """
        found = 0
        for document in documents:
            if found < self.resumed:
                if document.id != self._ids[found]:
                    raise UserError(
                        f"{self.part}: prediction {found + 1} is of {self._ids[found]!r}, but the input has "
                        f"{document.id!r} there; remove the .part file, or give --overwrite"
                    )
                found += 1
            else:
                yield document
        if found < self.resumed:
            raise UserError(
                f"{self.part}: {self.resumed:,} predictions, but the input has {found:,} documents"
            )

    def __enter__(self) -> "PredictionFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.resumed:
            self.part.unlink(missing_ok=True)
        write_json(self.notes, self.options)
        self._file = open(self.part, "a", encoding="utf-8", newline="\n")
        return self

    def write(self, prediction: Prediction) -> None:
        """Add a prediction; it is on disk, as far as the process goes, when this returns."""
        if self._file is None:
            raise ValueError("write() outside of the with block")
        self._file.write(as_json(prediction) + "\n")
        self._file.flush()
        self.done += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        if kind is None:
            os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        if kind is None:
            os.replace(self.part, self.path)
            self.notes.unlink()
        elif not self.done:  # nothing worth going on with
            self.part.unlink(missing_ok=True)
            self.notes.unlink(missing_ok=True)

    def _same_options(self, overwrite: bool) -> bool:
        try:
            before = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before == self.options:
            return True
        if overwrite:
            return False
        if not isinstance(before, dict):
            raise UserError(
                f"{self.part}: {self.notes.name} is missing or damaged; remove both to begin again"
            )
        names = sorted(before.keys() | self.options.keys())
        other = next(name for name in names if before.get(name) != self.options.get(name))
        raise UserError(
            f"{self.part} was begun with {other} = {before.get(other)!r}, and now it is "
            f"{self.options.get(other)!r}; give the same options, or --overwrite to begin again"
        )


def stamps(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Paths with sizes and times of files, so that a run does not go on with other content of their names.

    A folder has those of the files in it; what is no path here, such as `-`, has none.
    """
    found = {}
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [file.stat() for file in files if file.is_file()]
        found[str(path)] = [
            sum(each.st_size for each in stats), max((each.st_mtime_ns for each in stats), default=0)
        ]  # fmt: skip
    return found


def weight_stamps(folder: str) -> dict[str, list[int]]:
    """`stamps` of a model's weight files; empty for a hub name."""
    return stamps(sorted(Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else [])


def _whole_lines(path: Path) -> list[str]:
    """The ids of the whole lines of an unfinished file, which is cut after the last of them."""
    ids = []
    end = 0
    with open(path, "rb+") as file:
        for line in file:
            try:
                key = json.loads(line)["id"] if line.endswith(b"\n") else None
            except (ValueError, KeyError, TypeError):
                key = None
            if not isinstance(key, str):
                break
            ids.append(key)
            end += len(line)
        file.truncate(end)
    return ids
