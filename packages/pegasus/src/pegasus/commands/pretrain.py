"""Pre-train a model on gap sentences."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.training.options import OptimizerOptions, TrainerOptions
from pegasus.options import CorpusOptions, GapOptions, MaskOptions, ModelOptions, WordOptions, check_training

if TYPE_CHECKING:
    from nonet.data.shards import Shards
    from nonet.runs import Run
    from pegasus.tokenizer import Tokenizer

FEW_TOKENS = 1_000_000
"""target tokens below which pre-training from scratch has been seen to end in constant output"""
MANY_CUT = 0.2
"""share of cut targets above which the longest target is called too short"""
ENOUGH = 0.5
"""nats by which the validation loss has to be below the entropy of single tokens"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a model on shards or raw text: gap sentences, with fresh masks in every epoch."""

    tokenizer: Path
    """folder of the tokenizer, or its SentencePiece model"""
    data: Path | None = None
    """shards of `gsg build`"""
    texts: tuple[Path, ...] = ()
    """raw text instead of shards; encoded once into the run folder"""
    text_field: str | None = None
    """field with the text, for raw text; none: the first known name"""
    unit: Literal["line", "paragraph", "file", "wikitext"] = "line"
    """what a document is in raw .txt files"""
    format: str | None = None
    """of the raw files: jsonl, json, csv, tsv, parquet or text; none: by their suffixes"""
    init: str | None = None
    """folder or hub name of a model to go on from; none: a new model of the shape below"""
    out: Path | None = None
    """run folder; none: runs/pegasus/pretrain-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    masks_each_epoch: Literal["fresh", "fixed"] = "fresh"
    """fresh: select and mask anew in every epoch; fixed: the selection stored in the shards"""
    val_share: float = 0.01
    """share of the documents kept for validation, at most 2,000"""
    batch: int = 256
    """documents a batch, over all devices"""
    max_tokens: int | None = None
    """padded tokens a batch at most, inputs and targets together; none: no limit"""
    label_smoothing: float = 0.0
    """probability taken from the right token and spread over the vocabulary"""
    word_weight: float = 1.0
    """weight of the masked-word loss, if masks.words is set"""
    model: ModelOptions = field(default_factory=ModelOptions)
    """shape of a new model"""
    gaps: GapOptions = field(default_factory=GapOptions)
    """selection; if all of it is left at its defaults, that of the shards"""
    masks: MaskOptions = field(default_factory=MaskOptions)
    """what replaces sentences and words; lengths"""
    words: WordOptions = field(default_factory=WordOptions)
    """sentence and word rules, for raw text"""
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    """which documents are kept, for raw text"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(steps=500_000, validate_every=5000)
    )
    """length, devices, precision"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(name="adafactor", lr=0.01, schedule="constant")
    )
    """Adafactor with a rate of 0.01 is the paper's: the rate falls with 1/sqrt(step) from step 10,000"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        check_training(batch=self.batch, max_tokens=self.max_tokens, label_smoothing=self.label_smoothing)
        if not 0 <= self.val_share < 1:
            raise UserError(f"val_share is {self.val_share:g}; the share kept for validation lies in [0, 1)")
        if self.word_weight < 0:
            raise UserError(f"word_weight is {self.word_weight:g}; it is 0 or more")


def run(options: Options) -> int:
    """Pre-train, save the model, draw the page, and say whether the run was long enough."""
    from nonet.data.batching import BucketedBatches, OrderedBatches
    from nonet.errors import UserError
    from nonet.runs import Run, folder_of
    from pegasus.data import GapSentenceData, hold_out
    from pegasus.losses import GapSentenceLoss
    from pegasus.model import check_vocabulary, load_model, new_model, parameters
    from pegasus.tokenizer import Tokenizer
    from pegasus.training import Sets, fit, lowest

    if (options.data is None) == (not options.texts):
        raise UserError("give either --data SHARDS or --texts FILES")
    tokenizer = Tokenizer.load(options.tokenizer)
    seed = options.trainer.seed
    # what can be refused is looked at before there is a run folder
    shards = _given(options, tokenizer) if options.data is not None else None
    model = load_model(options.init) if options.init else new_model(options.model, len(tokenizer), seed=seed)
    check_vocabulary(model, tokenizer, options.init or "new model")
    resumed = folder_of(options.resume)
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("pegasus", "pretrain", options, seed=seed, folder=options.out)
    )
    with record:
        if shards is None:
            shards = _encoded(options, tokenizer, record)
        if len(shards) < 2:
            raise UserError(f"{shards.folder}: {len(shards)} documents are too few to train on")
        built = GapOptions(**shards.meta["gaps"])
        gaps = built if options.gaps == GapOptions() else options.gaps
        if gaps.strategy == "none" and not options.masks.words:
            raise UserError("gaps.strategy none leaves nothing to learn: mask words with --masks.words 0.15")
        record.say(f"gap sentences: {gaps.strategy}, ratio {gaps.ratio:g}")
        train_rows, val_rows = hold_out(len(shards), options.val_share, seed=seed)
        fixed = options.masks_each_epoch == "fixed"
        train = GapSentenceData(
            shards, gaps, options.masks, tokenizer.starts_word, seed=seed, fixed=fixed, rows=train_rows
        )
        val = GapSentenceData(
            shards, gaps, options.masks, tokenizer.starts_word, seed=seed, fixed=True, rows=val_rows
        )
        tokens, cut = _sampled(train)
        if any(cut):
            record.say(_cut_account(cut, options.masks))
        if tokens < FEW_TOKENS:
            record.say(
                f"warning: {tokens:,} target tokens an epoch; below {FEW_TOKENS:,} "
                "a model trained from scratch tends to "
                "write the same words whatever the document"
            )
        record.say(
            f"{parameters(model):,} parameters, {len(train):,} documents, {tokens:,} target tokens an epoch"
        )
        sets = Sets(
            train,
            BucketedBatches(train.lengths, batch=options.batch, max_tokens=options.max_tokens, seed=seed),
            val if len(val) else None,
            OrderedBatches(val.lengths, batch=options.batch) if len(val) else None,
        )
        model, metrics = fit(
            model, sets, record, trainer=options.trainer, optimizer=options.optimizer,
            losses=GapSentenceLoss(label_smoothing=options.label_smoothing, word_weight=options.word_weight),
            state={"tokenizer": tokenizer.sha256, "batch": options.batch},
        )  # fmt: skip
        if record.writes:
            loss = lowest(metrics, "val/gsg")
            entropy = _entropy(val if len(val) else train)
            verdict = _verdict(loss, entropy, gaps)
            record.say(verdict)
            _save(options, model, tokenizer, record, {"val/gsg": loss, "unigram entropy": entropy}, verdict)
            print(record.folder)
    return 0


def _given(options: Options, tokenizer: "Tokenizer") -> "Shards":
    """The shards of `--data`."""
    from nonet.data.shards import Shards
    from nonet.errors import UserError

    assert options.data is not None
    shards = Shards(options.data)
    if shards.meta.get("tokenizer") != tokenizer.sha256:
        raise UserError(
            f"{options.data}: built with another tokenizer than {options.tokenizer}; build it again"
        )
    return shards


def _encoded(options: Options, tokenizer: "Tokenizer", record: "Run") -> "Shards":
    """The shards of `--texts`, built in the run folder; a resumed run goes on with them."""
    from nonet.cli.progress import progress
    from nonet.data.shards import await_shards
    from nonet.data.text import TextReader
    from pegasus.building import build_shards

    if not record.writes:
        return await_shards(record.folder / "data")
    reader = TextReader(options.texts, unit=options.unit, format=options.format)
    with progress(label="encoding", unit="documents") as bar:  # type: ignore[var-annotated]
        shards, counts = build_shards(
            reader, tokenizer, record.folder / "data", words=options.words, gaps=options.gaps,
            corpus=options.corpus, seed=options.trainer.seed, text_field=options.text_field,
            progress=bar.advance,
        )  # fmt: skip
    record.say("; ".join(f"{name}: {number:,}" for name, number in sorted(counts.items()) if number))
    return shards


def _sampled(data: Any) -> tuple[int, tuple[float, float]]:
    """Target tokens of one epoch and the shares of cut inputs and targets, from at most 1,000 documents."""
    import numpy as np

    sample = np.linspace(0, len(data) - 1, min(1000, len(data)), dtype=int)
    examples = [data.example((0, int(i))) for i in sample]
    tokens = np.mean([len(example.target_ids) for example in examples]) * len(data)
    inputs, targets = np.mean([np.array(example.lost) > 0 for example in examples], axis=0).tolist()
    return int(tokens), (inputs, targets)


def _cut_account(cut: tuple[float, float], masks: MaskOptions) -> str:
    advice = "; raise --masks.max-target" if cut[1] > MANY_CUT else ""
    return (
        f"{cut[0]:.0%} of the inputs cut at {masks.max_input} tokens, "
        f"{cut[1]:.0%} of the targets at {masks.max_target}{advice}"
    )


def _entropy(data: Any) -> float:
    """Entropy of single target tokens, in nats: what a model reaches that ignores the document."""
    import numpy as np

    from pegasus.statistics import entropy

    sample = np.linspace(0, len(data) - 1, min(2000, len(data)), dtype=int)
    counts = np.zeros(len(data.starts_word), np.int64)
    for i in sample:
        np.add.at(counts, data.example((0, int(i))).target_ids, 1)
    return entropy(counts)


def _verdict(loss: float | None, entropy: float, gaps: GapOptions) -> str:
    if loss is None or gaps.strategy == "none":
        return "no gap-sentence loss was validated: nothing to say about how far the model came"
    gain = entropy - loss
    said = f"validation loss {loss:.3f} nats a token, {gain:.3f} below that of single tokens ({entropy:.3f})"
    if gain < ENOUGH:
        return f"{said}: under {ENOUGH}; fine-tuning will not benefit: train longer, or on more text"
    return said


def _save(
    options: Options,
    model: Any,
    tokenizer: "Tokenizer",
    record: "Run",
    scores: dict[str, float | None],
    verdict: str,
) -> None:
    from nonet.report.run_page import run_page
    from nonet.training.hub import save_folder
    from pegasus.cards import pretraining_card

    save_folder(model, tokenizer, record.model, pretraining_card(options, model, scores, verdict))
    run_page(record.folder).save(record.folder / "report.html")
