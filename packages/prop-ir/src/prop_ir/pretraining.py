"""From the options of `pretrain` to a finished run: checks, store, pairs, training, model folder."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from nonet.data.batching import OrderedBatches
from nonet.errors import UserError
from nonet.progress import progress
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of
from nonet.training.schedules import scheduler
from nonet.training.strategies import choose_accelerator, choose_precision
from prop_ir.cards import pretraining_card
from prop_ir.data import PairBatches, RopData, hold_out
from prop_ir.inputs import PairTemplate
from prop_ir.losses import PropLoss
from prop_ir.masking import MaskPieces
from prop_ir.model import PropModel, load_prop, longest_input, save_prop
from prop_ir.store import Store
from prop_ir.training import Sets, fit
from prop_ir.word_sets import PairSampler

if TYPE_CHECKING:
    from prop_ir.commands.pretrain import Options

HARDLY = 0.55
"""share of held-out pairs in the right order below which a model is said to have hardly learnt"""
PIECES_A_WORD = 1.3
"""for the estimated length of rows, by which they are put into batches"""
STORE = "store"
"""the store of a run that begins with a collection, in the run's folder"""


class Pretrained(NamedTuple):
    """A finished run."""

    run: Path
    """the run's folder; its `model` is the re-ranker's"""
    model: PropModel
    """with the saved weights"""
    scores: dict[str, float]
    """numbers on held-out pairs: `val/accuracy`, `val/rop`, `val/mlm`; empty without validation"""


def pretrain(options: "Options") -> Pretrained:
    """Pre-train, save the model, draw the page, print the run's folder.

    Args:
        options: of the verb `pretrain`.

    Returns:
        The run's folder, the model, and its numbers on held-out documents.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
    """
    if (options.store is None) == (not options.corpus):
        raise UserError("give either --store STORE or --corpus FILES")
    seed = options.trainer.seed
    store = Store(options.store) if options.store is not None else None
    collection = _collection(options) if store is None else None
    masked = options.masks.share > 0 and options.mlm_weight > 0
    if not masked and not options.rop_weight:
        raise UserError("neither word sets nor masked words have a weight: there is nothing to learn")
    choose_precision(options.trainer, choose_accelerator(options.trainer))
    optimizer = _optimizer(options)
    scheduler(
        torch.optim.SGD([torch.zeros(1)]), optimizer.schedule, warmup=optimizer.warmup,
        steps=options.trainer.steps,
    )  # fmt: skip
    remarks: list[str] = []
    model, tokenizer = load_prop(options.init, head=options.head, seed=seed, say=remarks.append)
    if store is not None:
        store.check_tokenizer(tokenizer, options.init)
    limit = longest_input(model.ranker)
    if limit is not None and options.max_length > limit:
        raise UserError(
            f"max_length is {options.max_length}, but {options.init} reads {limit} pieces at most"
        )
    template = PairTemplate.of(tokenizer)
    template.fit(1, 1, options.max_length)
    into = MaskPieces.of(tokenizer) if masked else None
    resumed = folder_of(options.resume)
    sampler = None if store is None else _sampler(options, store)
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("prop_ir", "pretrain", options, seed=seed, folder=options.out)
    )
    with record:
        for remark in remarks:
            record.say(remark)
        if store is None or sampler is None:
            store = _prepared(options, collection, tokenizer, record)
            sampler = _sampler(options, store)
        for notice in sampler.notices:
            record.say(notice)
        sets = _sets(options, store, sampler, template, into, tokenizer)
        seen = options.trainer.steps * options.trainer.accumulate * options.batch
        record.say(
            f"{len(sets.train.rows):,} documents, {len(sets.train):,} pairs an epoch, "
            f"{seen / len(sets.train):.2g} epochs"
        )
        model, metrics = fit(
            model, sets, record, trainer=options.trainer, optimizer=optimizer,
            losses=PropLoss(
                options.loss, rop_weight=options.rop_weight, mlm_weight=options.mlm_weight if masked else 0.0
            ),
            head_rate=options.head_rate, bert_adam=options.bert_adam,
            freeze_embeddings=options.freeze_embeddings, weights=options.weights,
            state=_state(options, store),
        )  # fmt: skip
        scores = _scores(metrics, options)
        if record.writes:
            verdict = _verdict(scores)
            record.say(verdict)
            card = pretraining_card(options, scores, verdict, _data(options, store))
            save_prop(model, tokenizer, record.model, card, overwrite=resumed is not None)
            run_page(record.folder).save(record.folder / "report.html")
            print(record.folder)
    return Pretrained(record.folder, model, scores)


def _collection(options: "Options") -> Any:
    from prop_ir.collections import Collection

    return Collection(options.corpus, options.read)


def _prepared(options: "Options", collection: Any, tokenizer: Any, record: Run) -> Store:
    """The store in the run's folder; the first process builds it, a resumed run goes on with it."""
    from prop_ir.building import build_store

    folder = record.folder / STORE
    if not record.writes:
        return _awaited(folder)
    with progress(label="preparing", unit="documents") as bar:  # type: ignore[var-annotated]
        store, counts = build_store(
            collection, tokenizer, folder, words=options.words, workers=options.trainer.workers,
            existing="resume", progress=bar.advance,
        )  # fmt: skip
    if counts:
        record.say("; ".join(f"{name}: {number:,}" for name, number in sorted(counts.items()) if number))
    return store


def _awaited(folder: Path) -> Store:
    """The store that the first process builds, when it is complete."""
    while True:
        try:
            return Store(folder)
        except UserError:  # not begun, or not complete; if the first fails, the launcher ends this one
            time.sleep(0.5)


def _sampler(options: "Options", store: Store) -> PairSampler:
    terms = None
    if options.terms is not None:
        from prop_ir.contrastive_terms import ContrastiveTerms

        terms = ContrastiveTerms(options.terms)
    sampler = PairSampler(store, options.sampler, seed=options.trainer.seed, terms=terms)
    if len(sampler.documents) < 2:
        raise UserError(f"{store.folder}: {len(sampler.documents)} documents are too few to train on")
    return sampler


def _sets(
    options: "Options", store: Store, sampler: PairSampler, template: PairTemplate, into: MaskPieces | None,
    tokenizer: Any,
) -> Sets:  # fmt: skip
    seed = options.trainer.seed
    train_rows, val_rows = hold_out(sampler.documents, options.val_share, seed=seed)
    train, val = (
        RopData(
            store, sampler, template, masks=options.masks, into=into, pairs=options.pairs,
            max_length=options.max_length, seed=seed, rows=rows,
        )
        for rows in (train_rows, val_rows)
    )  # fmt: skip
    words, skips = PIECES_A_WORD * options.sampler.mean_length, options.sampler.skip_short > 0
    return Sets(
        train,
        PairBatches(train, options.batch, words=words, seed=seed, skips=skips),
        val if len(val) else None,
        OrderedBatches(np.repeat(store.piece_counts[val_rows], options.pairs), options.batch, by_length=True)
        if len(val)
        else None,
        padding=tokenizer.pad_token_id or 0,
    )


def _optimizer(options: "Options") -> Any:
    if options.optimizer.warmup or not options.warmup_share:
        return options.optimizer
    return replace(options.optimizer, warmup=int(options.warmup_share * options.trainer.steps))


def _state(options: "Options", store: Store) -> dict[str, Any]:
    """What a resumed run has to share."""
    return {
        "tokenizer": store.tokenizer_hash,
        "documents": len(store),
        "batch": options.batch,
        "pairs": options.pairs,
        "max_length": options.max_length,
        "loss": options.loss,
        **{f"sampler.{name}": value for name, value in asdict(options.sampler).items()},
        **{f"masks.{name}": value for name, value in asdict(options.masks).items()},
    }


def _scores(metrics: list[dict[str, Any]], options: "Options") -> dict[str, float]:
    """The validated numbers of the weights that are saved."""
    lines = [line for line in metrics if "val/loss" in line]
    if not lines:
        return {}
    line = min(lines, key=lambda line: line["val/loss"]) if options.weights == "best" else lines[-1]
    return {name: float(value) for name, value in line.items() if name.startswith("val/")}


def _verdict(scores: Mapping[str, float]) -> str:
    accuracy = scores.get("val/accuracy")
    if accuracy is None:
        return "no documents were held out: nothing to say about how far the model came"
    said = f"held-out pairs in the right order: {accuracy:.1%} (chance: 50 %)"
    if accuracy < HARDLY:
        return (
            f"{said}: it has hardly learnt to tell word sets apart: train longer, at a higher rate, or with "
            "--head new --head-rate 10 if the pooler was never trained"
        )
    return said


def _data(options: "Options", store: Store) -> str:
    source = str(options.store) if options.store else ", ".join(map(str, options.corpus))
    return f"{len(store):,} documents of {source}; no queries, no judgements."
