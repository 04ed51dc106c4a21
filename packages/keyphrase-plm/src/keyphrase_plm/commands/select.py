"""Add sampled phrases to the greedy ones: decode-select."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyphrase_plm.select_options import SelectOptions
from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Add to a model's greedy phrases the sampled ones that a one-phrase model finds as likely (DeSel):
    JSON lines in the documents' order; an interrupted run goes on when given again.
    """

    input: tuple[Path, ...]
    """documents of any layout that `prepare` reads; gold phrases in them are not looked at; words
    and signs of plain text are set apart first, as `prepare` does"""
    out: Path
    """file for the predictions: id, phrases and scores (the scorer's, nats a piece)"""
    model: str
    """folder of a trained model that writes all phrases: seq2seq, b2b or prefix-lm"""
    scorer: str
    """folder of a model of the same kinds that was trained with targets one2one"""
    stemmer: str = "porter"
    """for what is the same phrase and what is present: porter, none or snowball:LANGUAGE"""
    format: str = "auto"
    """layout of the input; auto: found by looking at it"""
    title_field: str | None = None
    """field with the title, for records of no known layout"""
    text_field: str | None = None
    """field with the text, for records of no known layout"""
    limit: int | None = None
    """the first so many documents alone"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    overwrite: bool = False
    """replace a file that is there"""
    select: SelectOptions = field(default_factory=SelectOptions)
    """how many candidates are drawn, and which stay"""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; it is at least 1")


def run(options: Options) -> int:
    """Select; counts go to standard error."""
    import sys

    from keyphrase_plm.desel import Counts, select
    from keyphrase_plm.layouts import PLAIN, read_documents
    from keyphrase_plm.prediction_files import PredictionFile
    from keyphrase_plm.presence import stemmer
    from nonet.cli.progress import progress
    from nonet.training.devices import pick_device

    stem = stemmer(options.stemmer)
    reader = read_documents(
        options.input, format=options.format, title_field=options.title_field, text_field=options.text_field,
        limit=options.limit,
    )  # fmt: skip
    file = PredictionFile(options.out, _settings(options), overwrite=options.overwrite)
    device = pick_device(options.device)
    model, scorer = (_generating(name, device) for name in (options.model, options.scorer))
    targets = getattr(scorer, "targets", None) or scorer.options.targets
    if targets != "one2one":
        print(f"{options.scorer}: was trained with targets {targets}, not one2one", file=sys.stderr)
    counts = Counts()
    with file, progress(label="selecting", unit="documents") as bar:  # type: ignore[var-annotated]
        bar.advance(file.resumed)
        documents = file.remaining(reader.prepared(gold=False))
        for selection in select(model, scorer, documents, options.select, stem=stem):
            file.write(selection.prediction)
            counts.add(selection)
            bar.advance(1)
    plain = f"; {reader.counts[PLAIN]:,} {PLAIN}" if reader.counts[PLAIN] else ""
    print(counts.describe(file.resumed) + plain, file=sys.stderr)
    return 0


def _generating(name: str, device: Any) -> Any:
    """A model that writes phrases.

    Raises:
        UserError: it tags, and writes none.
    """
    from keyphrase_plm.loading import load_family

    family = load_family(name)
    if not hasattr(family, "phrase_log_likelihoods"):
        raise UserError(f"{name}: a {family.name} model writes no phrases; take seq2seq, b2b or prefix-lm")
    return family.to(device)


def _settings(options: Options) -> dict[str, Any]:
    """What the phrases depend on; batches and devices change none."""
    from dataclasses import asdict

    from keyphrase_plm.prediction_files import stamps, weight_stamps

    chosen = {name: value for name, value in asdict(options.select).items() if name != "batch_tokens"}
    names = "format", "title_field", "text_field", "limit", "model", "scorer", "stemmer"
    return {
        "verb": "select",
        "input": stamps(options.input),
        "select": chosen,
        "weights": [weight_stamps(options.model), weight_stamps(options.scorer)],
        **{name: getattr(options, name) for name in names},
    }
