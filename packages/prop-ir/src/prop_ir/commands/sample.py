"""Show or export pairs of word sets with their likelihoods, and say what drawing them is like."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prop_ir.options import SamplerOptions

if TYPE_CHECKING:
    from prop_ir.word_sets import PairSampler


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is read and written."""

    store: Path
    """store of `prepare`"""


@dataclass(frozen=True, kw_only=True)
class Options(SamplerOptions, Places):
    """Show pairs of word sets with their likelihoods, export them, and measure how they are drawn.

    Pre-training needs no export: it draws the same pairs itself.
    """

    show: int = 0
    """print the pairs of this many documents"""
    ids: tuple[str, ...] = ()
    """print the pairs of these documents"""
    pairs: int = 10
    """pairs a document"""
    epoch: int = 0
    """which epoch's pairs, from 0 on"""
    seed: int = 0
    """of all draws"""
    statistics: int = 10_000
    """documents that the account of drawing is made of, evenly spread; 0: no account"""
    export: Path | None = None
    """write pairs.jsonl, .jsonl.gz or .jsonl.zst at once, or a folder of such files, which goes on when it is
    given again; a JSON object for each document, as the released code has it"""
    tokenizer: str | None = None
    """folder or hub name of the store's tokenizer: its pieces of each document are exported, too, which the
    released code's next step reads"""
    terms: Path | None = None
    """weights of `bprop-attn`, for --sampler bprop"""
    workers: int = 0
    """processes that draw for the export; 0 draws in this one"""
    engine: Literal["local", "ray"] = "local"
    """where these processes run; ray needs the extra `ray`"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        super().__post_init__()
        least = {"show": 0, "pairs": 1, "epoch": 0, "seed": 0, "statistics": 0, "workers": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise UserError(f"{name} is {getattr(self, name)}; it is {limit} or more")
        if (self.sampler == "bprop") != (self.terms is not None):
            raise UserError("--sampler bprop and --terms WEIGHTS (of bprop-attn) go together")


def run(options: Options) -> int:
    """Draw and print."""
    import sys

    from nonet.errors import UserError
    from prop_ir.contrastive_terms import ContrastiveTerms
    from prop_ir.pair_files import check_target
    from prop_ir.store import Store
    from prop_ir.word_sets import PairSampler

    if options.export is not None:
        check_target(options.export)
    store = Store(options.store)
    for name in options.ids:
        if name not in store.number:
            raise UserError(f"{options.store}: no document {name!r}; its ids begin with {store.ids[0]!r}")
    names = [field.name for field in fields(SamplerOptions)]
    sampling = SamplerOptions(**{name: getattr(options, name) for name in names})
    terms = ContrastiveTerms(options.terms) if options.terms is not None else None
    sampler = PairSampler(store, sampling, seed=options.seed, terms=terms)
    for notice in sampler.notices:
        print(notice, file=sys.stderr)
    rows = sampler.rows(options.epoch)
    if not len(rows):
        raise UserError(
            f"{options.store}: all {len(sampler.documents):,} documents have fewer than "
            f"{options.skip_short} pieces and none is drawn in epoch {options.epoch}; lower --skip-short"
        )
    shown = [store.number[name] for name in options.ids] + rows[: options.show].tolist()
    for row in shown:
        _show(sampler, row, options)
    if options.statistics:
        _account(sampler, rows[:: max(1, len(rows) // options.statistics)], options)
    if options.export is not None:
        _export(sampler, rows, options, asdict(sampling))
    return 0


def _show(sampler: "PairSampler", row: int, options: Options) -> None:
    """A table of a document's pairs; words that occur in it are marked."""
    import numpy as np

    store = sampler.store
    words = store.words(row)
    found = set(sampler.model.number[words].tolist())
    text = " ".join(store.types[t] for t in words[:16].tolist()) + (" ..." if len(words) > 16 else "")
    print(f"document {store.ids[row]}: {len(words):,} words, {store.piece_counts[row]:,} pieces\n  {text}")
    if row not in sampler.documents:
        print("  cannot be drawn from\n")
        return
    batch = sampler.pairs(np.array([row]), options.epoch, options.pairs)
    lines = []
    for pair in (batch[i] for i in range(len(batch))):
        sets = [
            " ".join(store.types[t] + "*" * (int(sampler.model.number[t]) in found) for t in side.tolist())
            for side in (pair.positive, pair.negative)
        ]
        lines.append((f"{pair.positive_score:.3f}", sets[0], f"{pair.negative_score:.3f}", sets[1]))
    head = ("score", "better set (* in the document)", "score", "other set")
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(4)]
    for line in [head, *lines]:
        a, b, c, d = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print(f"  {a}  {b}  {c}  {d}".rstrip())
    print()


def _account(sampler: "PairSampler", rows: "object", options: Options) -> None:
    import numpy as np

    batch = sampler.pairs(np.asarray(rows), options.epoch, options.pairs)
    tally = batch.tally
    print(f"{tally.pairs:,} pairs of {tally.documents:,} documents, {options.sampler} sampler")
    print(f"  words of the vocabulary: {len(sampler.model.mass):,} of {len(sampler.store.types):,} types")
    print(f"  drawn words that occur in the document: {tally.inside / tally.words:.1%}")
    if options.sampler in ("exact", "topk500"):
        print(f"  drawn words that subsampling keeps: {tally.kept / tally.documents:.1%}")
    print(f"  pairs of equal score: {tally.ties / (tally.pairs + tally.ties - tally.unresolved):.2%}")
    if tally.unresolved:
        print(f"  pairs that stayed equal in every draw: {tally.unresolved / tally.pairs:.2%}")
    shares = np.bincount(np.diff(batch.offsets))[1:] / len(batch)
    print(f"  words of a set: {tally.words / 2 / tally.pairs:.2f} on average")
    for length, share in enumerate(shares.tolist(), start=1):
        if share >= 0.0005:
            print(f"    {length:>3} {share:>6.1%} {'#' * round(100 * share)}".rstrip())


def _export(sampler: "PairSampler", rows: "object", options: Options, sampling: dict[str, object]) -> None:
    import numpy as np

    from nonet.cli.progress import progress
    from prop_ir.contrastive_terms import fingerprint
    from prop_ir.pair_files import Lines, export_pairs, vocabulary_of
    from prop_ir.pieces import load_tokenizer

    assert options.export is not None
    vocabulary = None
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
        sampler.store.check_tokenizer(tokenizer, options.tokenizer)
        vocabulary = vocabulary_of(tokenizer)
    settings = {
        "kind": "prop-ir pairs", "store": fingerprint(sampler.store), "epoch": options.epoch,
        "pairs": options.pairs, "seed": options.seed, "pieces": vocabulary is not None, **sampling,
    }  # fmt: skip
    chosen = np.asarray(rows)
    with progress(total=len(chosen), label="drawing", unit="documents") as bar:  # type: ignore[var-annotated]
        there = export_pairs(
            Lines(sampler, options.epoch, options.pairs, vocabulary), chosen, options.export,
            settings=settings, workers=options.workers, engine=options.engine, progress=bar.advance,
        )  # fmt: skip
    old = f", {there:,} of them were there" if there else ""
    print(f"{options.export}: {options.pairs} pairs of {len(chosen):,} documents{old}")
