"""Write the keyphrases of documents."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyphrase_plm.decoding_options import DecodeOptions
from nonet.errors import UserError

if TYPE_CHECKING:
    from keyphrase_plm.layouts import Reader

MANY_CUT = 0.2
"""share of documents that were cut, above which it is said where the limit stands"""
LONGEST = 3
"""words of a phrase that tfidf counts"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write keyphrases as JSON lines in the documents' order; an interrupted run goes on when given again."""

    input: tuple[Path, ...]
    """documents of any layout that `prepare` reads; gold phrases in them are not looked at; for a
    model, words and signs of plain text are set apart first, as `prepare` does"""
    out: Path
    """file for the predictions: id, phrases and, where there are any, scores, spans and cut of each"""
    model: str | None = None
    """folder of a trained model"""
    method: str | None = None
    """an unsupervised method instead of a model: yake, tfidf, textrank, ...; a wrong one lists all"""
    top: int = 10
    """phrases a document, with --method"""
    corpus: tuple[Path, ...] = ()
    """documents to count phrases in, for tfidf; none: the input itself"""
    language: str = "en"
    """of stop words and stems, with --method"""
    encoder: str | None = None
    """folder of a sentence encoder, for embedrank"""
    format: str = "auto"
    """layout of the input; auto: found by looking at it"""
    title_field: str | None = None
    """field with the title, for records of no known layout"""
    text_field: str | None = None
    """field with the text, for records of no known layout"""
    limit: int | None = None
    """predict the first so many documents alone"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    overwrite: bool = False
    """replace a file that is there"""
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """how phrases are written, and how many padded pieces a batch has"""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.method is None):
            raise UserError("give either --model FOLDER or --method NAME")
        if self.top < 1:
            raise UserError(f"top is {self.top}; it is at least 1")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; it is at least 1")


def run(options: Options) -> int:
    """Predict; counts of cut and empty documents go to standard error."""
    import sys

    from keyphrase_plm.layouts import PLAIN, read_documents
    from keyphrase_plm.prediction_files import PredictionFile
    from nonet.cli.progress import progress

    reader = read_documents(
        options.input, format=options.format, title_field=options.title_field, text_field=options.text_field,
        limit=options.limit,
    )  # fmt: skip
    file = PredictionFile(options.out, _settings(options), overwrite=options.overwrite)
    predictor = _model(options) if options.model is not None else _method(options, reader)
    documents = reader.prepared(gold=False) if options.model is not None else reader
    count = cut = empty = 0
    with file, progress(label="predicting", unit="documents") as bar:  # type: ignore[var-annotated]
        bar.advance(file.resumed)
        for prediction in predictor(file.remaining(documents)):
            file.write(prediction)
            count += 1
            cut += prediction.cut > 0
            empty += not prediction.phrases
            bar.advance(1)
    notes = [f"{count:,} documents"]
    if file.resumed:
        notes.append(f"{file.resumed:,} were there already")
    if cut:
        advice = "; the model's longest input is in its keyphrase.json" if cut > MANY_CUT * count else ""
        notes.append(f"{cut:,} cut ({cut / count:.1%}){advice}")
    if empty:
        notes.append(f"{empty:,} without phrases")
    if reader.counts[PLAIN]:
        notes.append(f"{reader.counts[PLAIN]:,} {PLAIN}")
    print("; ".join(notes), file=sys.stderr)
    return 0


def _settings(options: Options) -> dict[str, Any]:
    """What predictions depend on; batches and devices change none."""
    from dataclasses import asdict

    from keyphrase_plm.prediction_files import stamps, weight_stamps

    decode = {name: value for name, value in asdict(options.decode).items() if name != "batch_tokens"}
    found: dict[str, Any] = {
        "input": stamps(options.input), "format": options.format,
        "title_field": options.title_field, "text_field": options.text_field, "limit": options.limit,
    }  # fmt: skip
    if options.method is not None:
        corpus = [str(path) for path in options.corpus]
        names = {name: getattr(options, name) for name in ("method", "top", "language", "encoder")}
        return found | names | {"corpus": corpus}
    return found | {"model": options.model, "decode": decode, "weights": weight_stamps(str(options.model))}


def _model(options: Options) -> Any:
    """A function from documents to predictions, by a trained model."""
    from functools import partial

    from keyphrase_plm.loading import load_family
    from keyphrase_plm.predicting import predict
    from nonet.training.devices import pick_device

    device = pick_device(options.device)
    family = load_family(str(options.model)).to(device)
    return partial(predict, family, options=options.decode)


def _method(options: Options, reader: "Reader") -> Any:
    """A function from documents to predictions, by an unsupervised method."""
    from functools import partial

    from keyphrase_plm.unsupervised import extract

    more: dict[str, Any] = {}
    if options.method == "tfidf":
        more["frequencies"] = _frequencies(options, reader)
    elif options.corpus:
        raise UserError(f"method {options.method} counts no words in a corpus; leave --corpus out")
    if options.method == "embedrank":
        from keyphrase_plm.embedrank import sentence_encoder

        if options.encoder is None:
            raise UserError("method embedrank needs --encoder FOLDER, a model of sentence-transformers")
        more["encoder"] = sentence_encoder(options.encoder)
    method: Any = options.method
    return partial(extract, method, top=options.top, language=options.language, **more)


def _frequencies(options: Options, reader: "Reader") -> Any:
    """In how many documents phrases occur: of the corpus, or of the whole input even when a run goes on."""
    from keyphrase_plm.layouts import read_documents
    from keyphrase_plm.presence import stemmer
    from keyphrase_plm.stop_words import chosen
    from keyphrase_plm.tfidf import DocumentFrequencies

    if not options.corpus and any(str(path) == "-" for path in options.input):
        raise UserError("tfidf reads its input twice, which standard input does not allow: give --corpus")
    documents = read_documents(options.corpus) if options.corpus else reader
    stem = stemmer("porter" if options.language == "en" else "none")
    return DocumentFrequencies.of(documents, chosen(None, options.language), stem, longest=LONGEST)
