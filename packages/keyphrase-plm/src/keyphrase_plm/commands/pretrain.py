"""Pre-train an encoder or a BART on raw text."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions

if TYPE_CHECKING:
    from keyphrase_plm.raw_texts import RawTexts
    from nonet.data.shards import Shards
    from nonet.runs import Run

ROWS = "rows"
"""in a run's folder, the encoded texts"""


@dataclass(frozen=True)
class ShapeOptions:
    """The shape of a new model."""

    layers: int = 12
    """of the encoder; a BART has as many in its decoder"""
    width: int = 768
    """of the hidden states; the feed-forward layers are four times as wide"""
    heads: int = 12
    """of attention"""
    positions: int = 512
    """pieces of the longest input"""
    dropout: float = 0.1
    """share of activations dropped in training"""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "positions"):
            if getattr(self, name) < 1:
                raise UserError(f"shape.{name} is {getattr(self, name)}; it is at least 1")
        if self.width % self.heads:
            raise UserError(f"{self.heads} heads do not divide a width of {self.width}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train on raw text: masked words for an encoder, text infilling for a BART; anew or from a model."""

    data: tuple[Path, ...]
    """text files (a text each line), or records with text, or documents of `prepare`; titles are joined on"""
    objective: Literal["mlm", "infill"] = "mlm"
    """mlm: masked words, for encoders; infill: spans replaced by one mask, for BART"""
    init: str | None = None
    """folder or hub name of a model to go on from; none: a new one of the shape below"""
    tokenizer: str | None = None
    """folder or hub name of the tokenizer of a new model; none: one is learnt from the texts"""
    vocab_size: int = 30000
    """pieces of a tokenizer that is learnt"""
    text_field: str | None = None
    """field with the text, of records; none: title and body, title and abstract, or text"""
    lower: bool = True
    """lower-case the texts, as documents are when keyphrases are learnt"""
    limit: int | None = None
    """use the first so many texts alone"""
    length: int = 512
    """pieces a row; longer texts make several rows"""
    pack: bool = False
    """fill rows with text after text"""
    share: float | None = None
    """share of the pieces that is hidden; none: 0.15 for mlm, 0.3 for infill"""
    span: float = 3.5
    """mean pieces a span (infill)"""
    replace: float = 0.0
    """share of spans for which a random piece stands instead of the mask (infill); BART: 0.1"""
    val_size: int = 1000
    """rows kept for validation, at most a tenth; 0: none"""
    batch: int | None = None
    """rows a batch at most, over all devices; none: no limit"""
    batch_tokens: int | None = 32768
    """padded pieces a batch at most, inputs and targets together; none: no limit"""
    epochs: float = 0
    """passes over the rows; 0: trainer.steps says how long"""
    max_skipped: int = 10
    """steps whose loss is not finite are left out and counted, and so many in succession end the run; 0: the
    first one does"""
    out: Path | None = None
    """run folder; none: runs/keyphrase_plm/pretrain-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    shape: ShapeOptions = field(default_factory=ShapeOptions)
    """shape of a new model"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(
            steps=250_000, clip=1.0, validate_every=5000, checkpoint_every=5000
        )
    )
    """length, devices, precision, seed"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(
            lr=3e-4, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6, schedule="linear", warmup=10_000
        )
    )
    """rate and warm-up of SciBART's model card; its polynomial decay is linear"""

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise UserError(f"share is {self.share:g}; it lies between 0 and 1")
        if self.span <= 0 or not 0 <= self.replace <= 1:
            raise UserError(
                f"span is {self.span:g} and replace {self.replace:g}: span > 0, replace in [0, 1]"
            )
        if self.length < 8:
            raise UserError(f"length is {self.length}; a row has at least 8 pieces")
        if Path("-") in self.data:
            raise UserError("data is read more than once, which standard input cannot be: name a file")
        if self.batch is None and self.batch_tokens is None:
            raise UserError("batch and batch_tokens are both none: one of them limits a batch")
        if min(self.val_size, self.epochs, self.max_skipped) < 0:
            raise UserError("val_size, epochs and max_skipped are 0 or more")
        if self.init is None and self.length > self.shape.positions:
            raise UserError(f"length {self.length} is more than shape.positions {self.shape.positions}")


def run(options: Options) -> int:
    """Pre-train, keep the weights of the lowest validation loss, save the model, its card and its page."""
    from keyphrase_plm.raw_texts import RawTexts
    from keyphrase_plm.text_rows import TextRows, hold_out
    from keyphrase_plm.training import best_of, fit
    from nonet.report.run_page import run_page
    from nonet.runs import Run, folder_of
    from nonet.training.hub import save_folder

    # what can be refused is looked at before there is a run folder
    resumed = folder_of(options.resume)
    texts = RawTexts(options.data, field=options.text_field, lower=options.lower, limit=options.limit)
    _check(options, texts, resumed)
    model, tokenizer = _start(options, texts, resumed)
    positions = int(getattr(model.config, "max_position_embeddings", options.length))
    if options.length > positions:
        raise UserError(f"length {options.length} is more than the {positions} positions of {options.init}")
    objective = _objective(options, model, tokenizer)
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("keyphrase_plm", "pretrain", options, seed=options.trainer.seed, folder=options.out)
    )
    with record:
        record.say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} pieces")
        if record.writes and options.init is None:
            tokenizer.save_pretrained(record.folder / "tokenizer")
        shards = _encoded(options, texts, tokenizer, record)
        kept = min(options.val_size, len(shards) // 10)
        train, held = hold_out(len(shards), kept, seed=options.trainer.seed)
        pieces = int(shards.lengths("ids").sum())
        record.say(
            f"{shards.records:,} texts, {len(shards):,} rows, {pieces:,} pieces, {kept:,} rows held out"
        )
        metrics = fit(
            objective, TextRows(shards, train), record, val=TextRows(shards, held), batch=options.batch,
            batch_tokens=options.batch_tokens, epochs=options.epochs, select="loss",
            max_skipped=options.max_skipped, trainer=options.trainer, optimizer=options.optimizer,
            state={"objective": options.objective, "pieces": len(tokenizer), "length": options.length},
        )  # fmt: skip
        if record.writes:
            loss = best_of(metrics, "val/loss")
            card = _card(options, loss, kept)
            save_folder(model, tokenizer, record.model, card, overwrite=resumed is not None)
            run_page(record.folder).save(record.folder / "report.html")
            print(record.folder)
    return 0


def _check(options: Options, texts: "RawTexts", resumed: Path | None) -> None:
    """Find what cannot be read in the texts, unless they are rows already.

    All of them are read, but where a vocabulary is learnt: that is done before there is a run folder, too.

    Raises:
        UserError: an unreadable record, or no text.
    """
    from keyphrase_plm.text_rows import is_written

    if resumed is not None and is_written(resumed / ROWS):
        return
    learns = options.init is None and options.tokenizer is None and resumed is None
    if not sum(1 for _ in (islice(texts, 1) if learns else texts)):
        raise UserError(f"there is no text in {', '.join(map(str, options.data))}")


def _encoded(options: Options, texts: "RawTexts", tokenizer: Any, record: "Run") -> "Shards":
    """The rows in the run's folder; the first process writes them, a resumed run goes on with them."""
    from keyphrase_plm.text_rows import is_written, write_rows
    from nonet.data.shards import Shards, await_shards
    from nonet.progress import progress

    folder = record.folder / ROWS
    if not record.writes:
        return await_shards(folder)
    if is_written(folder):
        return Shards(folder)
    with progress(label="encoding", unit="texts") as bar:  # type: ignore[var-annotated]
        return write_rows(
            texts, tokenizer, folder, length=options.length, pack=options.pack, source=texts.about,
            progress=bar.advance,
        )  # fmt: skip


def _start(options: Options, texts: "RawTexts", resumed: Path | None) -> tuple[Any, Any]:
    """The model and tokenizer to begin with; a resumed run has its tokenizer in its folder."""
    from types import SimpleNamespace

    from transformers import AutoModelForMaskedLM

    from keyphrase_plm.embedding_rows import check_rows
    from keyphrase_plm.seq2seq import load_parts
    from keyphrase_plm.small_models import new_bart, new_bert
    from keyphrase_plm.tokenizers import load_tokenizer
    from keyphrase_plm.vocabulary import train_vocabulary
    from nonet.training.hub import load_pretrained, local_or_hub

    masked = options.objective == "mlm"
    if options.init is not None:
        if options.tokenizer is not None:
            raise UserError("a model to go on from has its own tokenizer: leave --tokenizer out")
        if masked:
            where = local_or_hub(options.init)
            model = load_pretrained(AutoModelForMaskedLM, where, say=_to_stderr)
            tokenizer = load_tokenizer(where)
        else:  # SciBART's tokenizer, too, which transformers does not read
            model, tokenizer = load_parts(options.init, say=_to_stderr)
            if model.config.model_type != "bart":
                raise UserError(f"{options.init}: a {model.config.model_type}; infilling is for BART")
        check_rows(SimpleNamespace(model=model, tokenizer=tokenizer), options.init)
        return model, tokenizer
    kept = resumed / "tokenizer" if resumed else None
    if kept is not None and kept.is_dir():
        tokenizer = load_tokenizer(str(kept))
    elif options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
    else:
        kind: Literal["wordpiece", "bpe"] = "wordpiece" if masked else "bpe"
        tokenizer = train_vocabulary(
            texts, options.vocab_size, kind=kind, lower=options.lower, positions=options.shape.positions
        )
    shape, seed = options.shape, options.trainer.seed
    given: dict[str, Any] = {
        "layers": shape.layers, "width": shape.width, "heads": shape.heads, "positions": shape.positions,
        "dropout": shape.dropout, "seed": seed,
    }  # fmt: skip
    if masked:
        return new_bert(len(tokenizer), pad=tokenizer.pad_token_id, **given), tokenizer
    return new_bart(len(tokenizer), tokenizer, **given), tokenizer


def _to_stderr(text: str) -> None:
    import sys

    print(text, file=sys.stderr)


def _objective(options: Options, model: Any, tokenizer: Any) -> Any:
    if options.objective == "mlm":
        from keyphrase_plm.masked_words import MaskedWords

        return MaskedWords(model, tokenizer, share=options.share or 0.15)
    from keyphrase_plm.infilling_objective import TextInfilling
    from keyphrase_plm.vocabulary import starts_word

    return TextInfilling(
        model, tokenizer, starts_word=starts_word(tokenizer), share=options.share or 0.3, mean=options.span,
        replace=options.replace,
    )  # fmt: skip


def _card(options: Options, loss: float | None, count: int) -> str:
    """README.md of the model's folder."""
    from nonet.options import dump
    from nonet.training.model_card import ModelCard, Score

    masked = options.objective == "mlm"
    what = "An encoder that learnt to guess masked words" if masked else "A BART that learnt to fill in spans"
    kind = "AutoModelForMaskedLM" if masked else "BartForConditionalGeneration"
    data = ", ".join(map(str, options.data))
    name = "nats a masked token" if masked else "nats a token"
    return ModelCard(
        title=f"{'Encoder' if masked else 'BART'}, pre-trained in its domain",
        what=f"{what}; to be trained further with `keyphrase-plm train ... --init FOLDER`.",
        tags=("fill-mask" if masked else "text2text-generation", "pre-training"),
        base=options.init,
        data=f"{data}.",
        options=dump(options),
        scores=[] if loss is None else [Score(name, loss, data="held-out rows", count=count)],
        limits=("It finds no keyphrases before it is trained to.",),
        load=f"from transformers import {kind}\n\nmodel = {kind}.from_pretrained('FOLDER')",
    ).text()
