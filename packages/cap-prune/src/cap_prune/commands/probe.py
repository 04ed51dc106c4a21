"""The verb `probe`: what general knowledge encoders kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure what general knowledge encoders kept: similarity of sentences, and linear probes."""

    model: tuple[str, ...]
    """folders of models or of levels of a run, or hub names; all are measured alike"""
    sts: Path | None = None
    """STS-B: its folder (the labelled test set, else dev), or a file of pairs with scores; none: left out"""
    sets: Path | None = None
    """folder with rt-polarity.all, custrev.all, mpqa.all, subj.all, TREC.*.all: lines of a label and a text,
    latin-1; what is there is probed; none: left out"""
    pooling: Literal["mean", "cls"] = "mean"
    """vector of a sentence: mean of its pieces, or the first piece"""
    folds: int = 5
    """of the cross-validation; TREC has a test set of its own"""
    limit: int = 0
    """texts of each probe at most, spread over the file; 0: all"""
    batch: int = 64
    """texts at a time"""
    max_length: int | None = None
    """pieces of a text; the rest is cut off; none: 128, or the model's positions if they are fewer"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where the encoder runs; auto: a GPU if there is one"""
    seed: int = 0
    """of the folds"""
    out: Path | None = None
    """JSON file for the numbers; none: only print"""
    json: bool = False
    """print JSON"""

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("batch", 1), ("limit", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")
        if self.max_length is not None and self.max_length < 8:
            raise UserError(f"max_length is {self.max_length}; it is 8 or more")
        if self.sts is None and self.sets is None:
            raise UserError("nothing to measure: give --sts, --sets or both")
        if not self.model:
            raise UserError("no model to probe: name at least one with --model")


def run(options: Options) -> int:
    """Print a row for each model."""
    import json

    from cap_prune.probe_files import LABELLED, read_labelled, read_sts
    from cap_prune.terminal_tables import table
    from nonet.files import write_json

    pairs = read_sts(options.sts) if options.sts is not None else None
    sets: dict[str, list[Any]] = {}
    if options.sets is not None:
        for name, files in LABELLED.items():
            paths = [options.sets / file for file in files]
            if all(path.is_file() for path in paths):
                sets[name] = [_some(read_labelled(path), options.limit) for path in paths]
        if not sets:
            raise UserError(f"{options.sets}: none of {', '.join(sum(LABELLED.values(), ()))} is there")
    rows = [_measure(name, pairs, sets, options) for name in options.model]
    if options.out is not None:
        write_json(options.out, {"pooling": options.pooling, "folds": options.folds, "rows": rows})
    print(json.dumps(rows, indent=2) if options.json else table(rows))
    return 0


def _measure(name: str, pairs: Any, sets: dict[str, list[Any]], options: Options) -> dict[str, Any]:
    """The row of one model: Spearman's correlation in -1..1, accuracies in percent."""
    from cap_prune.devices import placed
    from cap_prune.loading import load_model
    from cap_prune.probes import probe_set, similarity

    model, tokenizer = load_model(name)
    model = placed(model, options.device)
    how: dict[str, Any] = {
        "pooling": options.pooling, "batch": options.batch, "max_length": options.max_length,
    }  # fmt: skip
    row: dict[str, Any] = {"model": name}
    if pairs is not None:
        row["STS-B Spearman"] = similarity(model, tokenizer, pairs, **how)
    for each, parts in sets.items():
        found = probe_set(model, tokenizer, parts, folds=options.folds, seed=options.seed, **how)
        row |= {each: found.mean, f"{each} +-": found.spread}
    return row


def _some(part: Any, limit: int) -> Any:
    """At most so many of the lines, evenly spread, as files are sorted by class."""
    count = len(part.texts)
    if not 0 < limit < count:
        return part
    places = [place * count // limit for place in range(limit)]
    return type(part)([part.texts[place] for place in places], [part.labels[place] for place in places])
