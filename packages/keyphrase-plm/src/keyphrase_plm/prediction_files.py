"""Files of predictions: written one by one and gone on with after a stop, and read in our form or by lines.

Our form is JSON lines, `{"id", "phrases", "scores", "spans", "cut"}`, of which all but the first two may be
missing.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keyphrase_plm.documents import Prediction
from keyphrase_plm.sequences import phrases_of, unique
from nonet.data.prediction_lines import PredictionLines
from nonet.data.text import Record, TextReader
from nonet.errors import UserError

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


def as_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction's fields, without those that are empty."""
    value: dict[str, Any] = {"id": prediction.id, "phrases": list(prediction.phrases)}
    if prediction.scores:
        value["scores"] = [round(score, 5) for score in prediction.scores]
    if prediction.spans:
        value["spans"] = [list(span) for span in prediction.spans]
    if prediction.cut:
        value["cut"] = prediction.cut
    return value


class PredictionFile(PredictionLines):
    """Predictions on their way into a file; what an earlier run has written is kept, see `PredictionLines`.

        with PredictionFile(out, options) as file:
            for prediction in predict(file.remaining(documents)):
                file.write(prediction)

    Args:
        path: the file; its folder is made.
        options: what the predictions depend on: model, input and decoding.
        overwrite: replace a file that is there, and begin again where an unfinished one has other options.

    Raises:
        UserError: the file is there, or an unfinished one was written with other options.
    """

    def __init__(self, path: Path | str, options: Mapping[str, Any], *, overwrite: bool = False) -> None:
        super().__init__(path, options, overwrite=overwrite, as_row=as_row)


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
