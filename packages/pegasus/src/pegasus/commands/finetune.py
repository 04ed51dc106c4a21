"""Fine-tune a model on document-summary pairs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.training.options import OptimizerOptions, TrainerOptions
from pegasus.options import DecodeOptions, MaskOptions, ModelOptions, check_training

if TYPE_CHECKING:
    from nonet.runs import Run
    from pegasus.data import PairData

MANY_CUT = 0.2
"""share of cut summaries above which the longest target is called too short"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fine-tune a model on document-summary pairs; `--limit 100` is the paper's low-resource protocol."""

    train: tuple[Path, ...]
    """pairs: .jsonl, .csv, .tsv, .parquet (or .gz, .zst), .source beside .target, .tfrecord, .subject"""
    val: tuple[Path, ...] = ()
    """pairs for validation; none: nothing is validated and the last weights are kept"""
    init: str | None = None
    """folder or hub name of the model to start from; none: a new one of the shape below, with --tokenizer"""
    tokenizer: Path | None = None
    """folder of the tokenizer, for a new model; else the model's own is used"""
    limit: int | None = None
    """use the first so many training pairs alone"""
    val_limit: int | None = None
    """use the first so many validation pairs alone"""
    dataset: str | None = None
    """field layout by the data set's name, such as xsum or aeslc; none: found by looking at the fields"""
    text_field: str | None = None
    """field with the document; none: the first known name"""
    summary_field: str | None = None
    """field with the summary; none: the first known name"""
    skip_bad: bool = False
    """leave out pairs that cannot be used, and count them"""
    out: Path | None = None
    """run folder; none: runs/pegasus/finetune-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    batch: int = 256
    """pairs a batch, over all devices"""
    max_tokens: int | None = None
    """padded tokens a batch at most, documents and summaries together; none: no limit"""
    label_smoothing: float = 0.1
    """probability taken from the right token and spread over the vocabulary"""
    patience: int = 0
    """stop after so many validations without a lower loss; 0: never"""
    score: int = 100
    """validation documents that are summarised and scored with ROUGE at the end; 0: none"""
    lengths: MaskOptions = field(default_factory=lambda: MaskOptions(max_input=512, max_target=128))
    """longest document and summary"""
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """decoding of the scored summaries"""
    model: ModelOptions = field(default_factory=ModelOptions)
    """shape of a new model"""
    trainer: TrainerOptions = field(default_factory=lambda: TrainerOptions(steps=2000, validate_every=100))
    """length, devices, precision"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(name="adafactor", lr=5e-4, schedule="rsqrt", warmup=200)
    )
    """the paper's low-resource rate; its warm-up of 10,000 steps is scaled to a tenth of the run"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        check_training(batch=self.batch, max_tokens=self.max_tokens, label_smoothing=self.label_smoothing)
        for name in ("patience", "score"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")


def run(options: Options) -> int:
    """Fine-tune, keep the best weights, score a few summaries, save the model and its page."""
    from nonet.data.batching import BucketedBatches, OrderedBatches
    from nonet.errors import UserError
    from nonet.report.run_page import run_page
    from nonet.runs import Run, folder_of
    from nonet.training.hub import local_folder, save_folder
    from pegasus.cards import finetuning_card
    from pegasus.losses import GapSentenceLoss
    from pegasus.model import check_vocabulary, load_model, new_model, parameters
    from pegasus.tokenizer import Tokenizer
    from pegasus.training import Sets, fit, lowest

    if options.init is None and options.tokenizer is None:
        raise UserError("give --init MODEL, or --tokenizer TOKENIZER for a new model")
    tokenizer = Tokenizer.load(options.tokenizer or local_folder(str(options.init)))
    seed = options.trainer.seed
    # what can be refused is looked at before there is a run folder
    model = load_model(options.init) if options.init else new_model(options.model, len(tokenizer), seed=seed)
    check_vocabulary(model, tokenizer, options.init or "new model")
    notes: list[str] = []
    train = _pairs(options, "train", tokenizer, notes)
    val = _pairs(options, "val", tokenizer, notes) if options.val else None
    if val:
        notes += _duplicates(train[1], val[1])
    resumed = folder_of(options.resume)
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("pegasus", "finetune", options, seed=seed, folder=options.out)
    )
    with record:
        for note in notes:
            record.say(note)
        record.say(f"{parameters(model):,} parameters, {len(train[0]):,} training pairs")
        sets = Sets(
            train[0],
            BucketedBatches(
                train[0].lengths,
                batch=min(options.batch, len(train[0])),
                max_tokens=options.max_tokens,
                seed=seed,
            ),
            val[0] if val else None,
            OrderedBatches(val[0].lengths, batch=options.batch) if val else None,
        )
        model, metrics = fit(
            model, sets, record, trainer=options.trainer, optimizer=options.optimizer,
            losses=GapSentenceLoss(label_smoothing=options.label_smoothing), patience=options.patience,
            state={"tokenizer": tokenizer.sha256, "batch": options.batch, "limit": options.limit},
        )  # fmt: skip
        if record.writes:
            scores: dict[str, Any] = {"nats a summary token": lowest(metrics, "val/gsg")}
            page = run_page(record.folder)
            if val and options.score:
                scores |= _score(options, model, tokenizer, val[1][: options.score], page, record)
            save_folder(model, tokenizer, record.model, finetuning_card(options, model, scores))
            page.save(record.folder / "report.html")
            print(record.folder)
    return 0


def _pairs(options: Options, side: str, tokenizer: Any, notes: list[str]) -> "tuple[PairData, list[Any]]":
    """Read, check and encode the pairs of one side; what is to be said about them goes to `notes`."""
    from nonet.errors import UserError
    from pegasus.data import PairData
    from pegasus.pairs import read_pairs

    paths = options.train if side == "train" else options.val
    limit = options.limit if side == "train" else options.val_limit
    reader = read_pairs(
        paths, dataset=options.dataset, text_field=options.text_field, summary_field=options.summary_field,
        limit=limit, skip_bad=options.skip_bad, longer="count",
    )  # fmt: skip
    pairs = list(reader)
    notes.append(f"{side}: {reader.describe()}")
    if not pairs:
        raise UserError(f"{side}: no pairs in {', '.join(map(str, paths))}")
    data = PairData(
        [pair.document for pair in pairs],
        [pair.summaries[0] for pair in pairs],
        tokenizer.encode,
        options.lengths,
    )
    if data.cut_inputs:
        notes.append(
            f"{side}: {data.cut_inputs:,} of {len(data):,} documents cut at "
            f"{options.lengths.max_input} tokens"
        )
    if data.cut_targets:
        advice = "; raise --lengths.max-target" if data.cut_targets > MANY_CUT * len(data) else ""
        notes.append(
            f"{side}: {data.cut_targets:,} of {len(data):,} summaries cut at "
            f"{options.lengths.max_target} tokens, "
            f"without an end{advice}"
        )
    return data, pairs


def _duplicates(train: list[Any], val: list[Any]) -> list[str]:
    """What training and validation documents share, in a line, if they share any."""
    from pegasus.duplicates import find_duplicates

    found = find_duplicates((pair.document for pair in train), (pair.document for pair in val))
    shared = [val[i].where for i in (*found.exact, *found.normalised)]
    if not shared and not found.repeated:
        return []
    return [f"warning: {found.describe()}" + (f": {', '.join(shared[:3])}" if shared else "")]


def _score(
    options: Options, model: Any, tokenizer: Any, pairs: list[Any], page: Any, record: "Run"
) -> dict[str, Any]:
    """ROUGE of the first validation documents; examples go on the page."""
    import itertools

    from nonet.cli.progress import progress
    from nonet.metrics.rouge import aggregate, score_multi
    from nonet.training.devices import pick_device
    from pegasus.predict import summarize

    model.to(pick_device("cpu" if options.trainer.accelerator == "cpu" else "auto"))
    texts = [pair.document for pair in pairs]
    with progress(label="scoring", unit="documents", total=len(texts)) as bar:  # type: ignore[var-annotated]
        written = []
        for summary in summarize(model, tokenizer, texts, options.decode):
            written.append(summary.text)
            bar.advance(1)
    model.cpu()
    found = aggregate(score_multi([pair.summaries for pair in pairs], written))
    scores = {name: 100 * value.fmeasure.mean for name, value in found.items()}
    empty = sum(not text.strip() for text in written)
    text = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
    record.say(f"{len(texts)} validation summaries: {text}" + (f"; {empty} empty" if empty else ""))
    page.table(
        [
            {"document": pair.document[:600], "reference": pair.summaries[0], "summary": text}
            for pair, text in itertools.islice(zip(pairs, written, strict=True), 8)
        ],
        caption="Validation documents and what the model wrote",
    )
    return scores
