"""Score predicted keyphrases against gold ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyphrase_plm.documents import Document
    from keyphrase_plm.evaluation import Evaluation
    from nonet.metrics.keyphrase_semantics import Encode
    from nonet.metrics.keyphrases import Convention

    Split = Callable[[str], list[str]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score predictions under a convention, whose name is printed beside every number; no model is needed."""

    pred: Path
    """predictions: JSON lines with id and phrases, joined by id; or text, a line a document, `a ; b`"""
    gold: tuple[Path, ...]
    """documents with gold phrases, of any layout that `prepare` reads"""
    convention: Literal["chan", "meng", "kpeval"] = "chan"
    """chan: DeepKPG's numbers; meng: OpenNMT-kpg's; kpeval: as chan, with SemF1 where there is an encoder"""
    k: tuple[str, ...] = ("5", "10", "M", "O")
    """cuts: a number, M (all predictions), O (as many as gold phrases), G (the larger of both)"""
    padded: bool | None = None
    """whether precision at k divides by k with fewer predictions; none: as the convention has it"""
    average: Literal["corpus", "documents"] | None = None
    """corpus: F1 of mean P and mean R; documents: mean of F1; none: as the convention has it"""
    documents: Literal["all", "with gold"] | None = None
    """which documents the means are over; none: as the convention has it"""
    compat_empty: bool = False
    """an empty line counts as one absent phrase, as in the original; for equality to the last digit"""
    stemmer: str = "auto"
    """porter (English), none, or snowball:LANGUAGE; but for porter the numbers lose the convention's name;
    auto: porter, and where most letters are not English ones they lose it, too"""
    tokenize: Literal["auto", "yes", "no", "characters"] = "auto"
    """take signs apart from words first; auto: where the gold file's layout is of plain texts; characters:
    each is a word, for languages without spaces"""
    source_limit: int | None = None
    """a phrase is present if it occurs in so many first words; the original has 510 for taggers"""
    order: Literal["given", "text"] = "given"
    """text: predictions of a tagger in the order of their places, as in the original, not by confidence"""
    alpha_ndcg: bool = False
    """add alpha-NDCG"""
    compare: Path | None = None
    """another system's predictions, for a paired bootstrap"""
    encoder: str | None = None
    """folder or hub name of a sentence encoder, for SemF1; KPEval's is uclanlp/keyphrase-mpnet-v1"""
    threshold: float = 0.0
    """cosines below it count 0 in SemF1"""
    semf1_legacy: bool = False
    """SemF1 as KPEval's code has it, where equal stems do not count 1 in recall"""
    missing: Literal["error", "empty", "skip"] = "error"
    """documents without a prediction: refuse, score as if nothing was said, or leave out"""
    format: str = "auto"
    """layout of the gold file; auto: found by looking at it"""
    title_field: str | None = None
    """field with the title, for records of no known layout"""
    text_field: str | None = None
    """field with the text, for records of no known layout"""
    keywords_field: str | None = None
    """field with the gold phrases, for records of no known layout"""
    limit: int | None = None
    """score the first so many documents alone"""
    level: float = 0.95
    """of the intervals, 0 to 1"""
    resamples: int = 1000
    """bootstrap samples of the intervals; the comparison takes ten times as many"""
    seed: int = 0
    """of the bootstrap"""
    examples: int = 8
    """documents shown on the page"""
    device: str = "auto"
    """of the encoder: cpu, cuda, ...; auto: the first GPU if there is one"""
    out: Path | None = None
    """run folder: scores.json, items.jsonl, report.html; none: print only"""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"level is {self.level}; it lies between 0 and 1")
        for name in ("resamples", "limit", "source_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")
        if self.examples < 0:
            raise UserError(f"examples is {self.examples}; it cannot be negative")

    @property
    def stems(self) -> str:
        """The stemmer, where auto stands, too."""
        return "porter" if self.stemmer == "auto" else self.stemmer


def run(options: Options) -> int:
    """Read, join, score, print, and write the files."""
    from contextlib import nullcontext

    from keyphrase_plm.evaluation import join
    from keyphrase_plm.evaluation_page import comparison_text, text
    from nonet.metrics.keyphrase_intervals import compare
    from nonet.runs import Run

    used = _convention(options)
    documents, plain = _documents(options)
    limited = options.limit is not None
    joined = [
        join(
            documents, path, missing=options.missing, order=options.order, compat_empty=used.compat_empty,
            limited=limited,
        )
        for path in (options.pred, options.compare)
        if path is not None
    ]  # fmt: skip
    if len(joined) == 2 and options.missing == "skip":
        joined = _both(*joined)
    tokenise = _tokeniser(options, plain)
    encode = _encoder(options)
    record = None
    if options.out is not None:
        record = Run.create("keyphrase_plm", "evaluate", options, seed=options.seed, folder=options.out)
    with record or nullcontext():
        names = (options.pred, options.compare)
        results = [
            _evaluate(options, one, used, str(name), tokenise, encode)
            for one, name in zip(joined, names, strict=False)
        ]
        found = results[0]
        print(text(found))
        compared = []
        if len(results) == 2:
            print(f"\n{options.compare}\n{text(results[1], found.remarks)}\n")
            compared = compare(
                found.scores, results[1].scores, options.seed, options.level, 10 * options.resamples
            )
            print(comparison_text(compared, (str(options.pred), str(options.compare)), found.label))
        if record is not None:
            _write(record.folder, options, results, compared, tokenise)
            print(record.folder / "report.html")
    return 0


def _convention(options: Options) -> "Convention":
    from nonet.metrics.keyphrase_matches import stemmer_called
    from nonet.metrics.keyphrases import convention, parse_k

    stemmer_called(options.stems)  # a wrong name is noticed before anything is read
    for k in options.k:
        parse_k(k)
    return convention(
        options.convention,
        padded=options.padded,
        average=options.average,
        documents=options.documents,
        compat_empty=options.compat_empty,
        stemmer=options.stems,
    )


def _documents(options: Options) -> tuple[list["Document"], bool]:
    """The gold documents, and whether their layout is one of plain texts."""
    import sys

    from keyphrase_plm.layouts import read_documents
    from keyphrase_plm.presence import stemmer

    reader = read_documents(
        list(options.gold),
        format=options.format,
        title_field=options.title_field,
        text_field=options.text_field,
        keywords_field=options.keywords_field,
        stem=stemmer(options.stems),
        limit=options.limit,
    )
    documents = list(reader)
    print(reader.describe(), file=sys.stderr)
    if not documents:
        raise UserError(f"{', '.join(map(str, options.gold))}: no document that can be scored")
    prepared = {"canonical", "parallel", "lines", "midas", "ldkp", "openkp"}
    return documents, not set(reader.layouts.values()) <= prepared


def _tokeniser(options: Options, plain: bool) -> "Split | None":
    """What splits texts and phrases into words; None: spaces do."""
    from keyphrase_plm.sequences import apart, characters

    if options.tokenize == "characters":
        return characters
    return apart if options.tokenize == "yes" or (options.tokenize == "auto" and plain) else None


def _both(first: Any, second: Any) -> list[Any]:
    """Both systems on the documents that both have a prediction for."""
    from dataclasses import replace

    ids = {document.id for document in first.documents} & {document.id for document in second.documents}
    out = []
    for joined in (first, second):
        kept = [i for i, document in enumerate(joined.documents) if document.id in ids]
        out.append(
            replace(
                joined,
                documents=[joined.documents[i] for i in kept],
                phrases=[joined.phrases[i] for i in kept],
            )
        )
    return out


def _evaluate(
    options: Options, joined: Any, used: "Convention", name: str, tokenise: "Split | None",
    encode: "Encode | None",
) -> "Evaluation":  # fmt: skip
    from keyphrase_plm.evaluation import evaluate

    return evaluate(
        joined,
        used,
        options.k,
        name=name,
        tokenise=tokenise,
        stemmer_given=options.stemmer != "auto",
        source_limit=options.source_limit,
        alpha=options.alpha_ndcg,
        encode=encode,
        threshold=options.threshold,
        legacy=options.semf1_legacy,
        level=options.level,
        resamples=options.resamples,
        seed=options.seed,
    )


def _encoder(options: Options) -> "Encode | None":
    """The encoder as a function of phrases."""
    if options.encoder is None:
        return None
    from nonet.errors import needs
    from nonet.training.hub import local_or_hub, no_bars

    library = needs("sentence_transformers", to="score by SemF1", install="keyphrase-plm[semantic]")
    folder = local_or_hub(options.encoder)
    device = None if options.device == "auto" else options.device
    try:
        with no_bars():
            model = library.SentenceTransformer(folder, device=device)
    except (OSError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{options.encoder} is no sentence encoder that can be loaded: {why}") from error
    model.eval()

    def encode(phrases: list[str]) -> Any:
        return model.encode(phrases, show_progress_bar=False, convert_to_numpy=True)

    return encode


def _write(
    folder: Path, options: Options, results: list["Evaluation"], compared: Any, tokenise: "Split | None"
) -> None:  # fmt: skip
    import json

    from keyphrase_plm.evaluation_page import page
    from nonet.files import write_json, write_text

    found = results[0]
    value = {"predictions": str(options.pred), **found.as_dict()}
    if compared:
        value["against"] = {"predictions": str(options.compare), **results[1].as_dict()}
        value["comparison"] = [row._asdict() | {"convention": found.label} for row in compared]
    write_json(folder / "scores.json", value)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in found.items()]
    write_text(folder / "items.jsonl", "".join(lines))
    sheet = page(
        found,
        title=f"Keyphrases of {options.pred.name}",
        stemmer=options.stems,
        tokenise=tokenise if options.tokenize == "characters" else None,
        compared=compared,
        names=(str(options.pred), str(options.compare)),
        examples=options.examples,
    )
    sheet.save(folder / "report.html")
