"""The verb `predict`: labels, numbers or answers for users' texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a model's predictions as JSON lines in the input's order; an interrupted run goes on when given
    again."""

    model: str
    """folder of a model or of a level of a run, or a hub name"""
    input: tuple[Path, ...]
    """texts: JSON lines, JSON, CSV, TSV or Parquet with fields, or plain text with a line each; - is standard
    input, with a line each"""
    out: Path
    """file for the predictions"""
    task: str | None = None
    """sst2, mrpc, ..., squad, classify or regress; none: as trained"""
    fields: tuple[str, ...] = ()
    """names of the field of the text, or of the pair's two; none: those of the task, or text and text2"""
    max_length: int | None = None
    """tokens of an example at most; none: as trained, else 128, and 384 for squad"""
    stride: int | None = None
    """tokens that neighbouring windows of squad share; none: as trained, else 128"""
    batch: int = 64
    """examples at a time; it does not change the predictions"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    overwrite: bool = False
    """replace a file that is there"""

    def __post_init__(self) -> None:
        for name in ("max_length", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is 1 or more")
        if self.stride is not None and self.stride < 0:
            raise UserError(f"stride is {self.stride}; it is 0 or more")
        if len(self.fields) > 2:
            raise UserError(f"fields are {', '.join(self.fields)}; give one, or two for a pair")


def run(options: Options) -> int:
    """Predict; counts go to standard error."""
    import sys
    from collections import Counter

    from cap_prune.encoding import check_tokenizer
    from cap_prune.loading import load_model
    from cap_prune.predicting import items, predict
    from cap_prune.tasks import trained_length, trained_stride, trained_task
    from nonet.cli.progress import progress
    from nonet.data.prediction_lines import PredictionLines
    from nonet.data.text import TextReader
    from nonet.training.devices import pick_device

    device = pick_device(options.device)
    reader = TextReader(options.input, keep_blank=True)
    model, tokenizer = load_model(options.model)
    task = trained_task(model.config, options.task)
    length = trained_length(model.config, task, options.max_length)
    stride = trained_stride(model.config, options.stride)
    check_tokenizer(tokenizer, length, model.config)
    file = PredictionLines(options.out, _settings(options, length, stride), overwrite=options.overwrite)
    found = file.remaining(items(reader, task, options.fields or None))
    count, counts = 0, Counter[str]()
    with file, progress(label="predicting", unit="records") as bar:  # type: ignore[var-annotated]
        bar.advance(file.resumed)
        for row in predict(
            model.to(device), task, tokenizer, found, max_length=length, stride=stride,
            batch=options.batch, counts=counts,
        ):  # fmt: skip
            file.write(row)
            count += 1
            bar.advance(1)
        if not count and not file.resumed:
            raise UserError(f"{', '.join(map(str, options.input))}: holds no records")
    notes = [f"{count:,} records"]
    if file.resumed:
        notes.append(f"{file.resumed:,} were there already")
    if counts["cut"]:
        notes.append(f"{counts['cut']:,} cut to {length} tokens")
    if reader.counts["invalid_utf8"]:
        notes.append(f"{reader.counts['invalid_utf8']:,} bytes that are not UTF-8 were replaced")
    print("; ".join(notes), file=sys.stderr)
    return 0


def _settings(options: Options, length: int, stride: int) -> dict[str, Any]:
    """What predictions depend on; batches and devices change none."""
    from nonet.data.prediction_lines import stamp

    model = Path(options.model)
    return {
        "model": stamp(model) if model.is_dir() else options.model,
        "input": [stamp(path) for path in options.input],
        "task": options.task, "fields": list(options.fields), "max_length": length, "stride": stride,
    }  # fmt: skip
