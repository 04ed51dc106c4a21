"""The whole journey in a minute: word sets, pre-training, zero-shot re-ranking before and after."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENTS, QUERIES, DEPTH = 600, 60, 30  # made-up notices, queries, candidates of a query
METRIC = "nDCG@10"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a tiny re-ranker on made-up notices, without queries or labels, and re-rank with it."""

    out: Path = Path("runs/prop_ir/demo")
    """folder for the page and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json` and `report.html`."""
    import shutil
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.files import write_json
    from nonet.metrics.ranking import score_run
    from prop_ir.bm25 import Bm25Index
    from prop_ir.model import load_ranker
    from prop_ir.reranking import arrange
    from prop_ir.runs import write_run
    from prop_ir.toy import collection, write_collection, write_encoder

    start = time.monotonic()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    if (options.out / "demo.json").exists():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    toy = collection(DOCUMENTS, QUERIES, seed=options.seed)
    with progress(label="demo", unit="parts", total=4) as bar:  # type: ignore[var-annotated]
        write_collection(toy, options.out)
        encoder = write_encoder(options.out / "encoder", seed=options.seed)
        index = Bm25Index.build(toy.documents, options.out / "index")
        first = index.search(toy.topics, DEPTH)
        bar.advance(1)
        untrained, tokenizer = load_ranker(encoder, head="new", seed=options.seed, say=lambda _: None)
        before = _scores(untrained, tokenizer, toy, first)
        bar.advance(1)
        trained, store, sampler, curve = _pretrain(encoder, tokenizer, toy, options)
        bar.advance(1)
        after = _scores(trained, tokenizer, toy, first)
        bar.advance(1)
    runs = {
        "BM25": first,
        "not pre-trained": arrange(first, before),
        "pre-trained": arrange(first, after),
        "pre-trained, half BM25": arrange(first, after, weight=0.5),
    }
    values = {name: score_run(toy.qrels, run, [METRIC])[METRIC] for name, run in runs.items()}
    means = {name: sum(each.values()) / len(each) for name, each in values.items()}
    for name, ranking in runs.items():
        write_run(options.out / f"{name.replace(',', '').replace(' ', '-')}.trec", ranking, "demo")
    seconds = time.monotonic() - start
    write_json(
        options.out / "demo.json",
        {
            "package": "prop-ir",
            "what": f"pre-training on {DOCUMENTS} made-up notices, no queries, no labels",
            "measure": f"{METRIC} of BM25's first {DEPTH}, re-ranked zero-shot",
            "before": means["not pre-trained"],
            "after": means["pre-trained"],
            "better": "higher",
            "seconds": seconds,
            "pictures": [],
            "all": means,
        },
    )
    _page(options, toy, runs, values, means, store, sampler, curve)
    for name, mean in means.items():
        print(f"{name}: {METRIC} {mean:.3f}")
    print(f"{seconds:.0f} s; page: {options.out / 'report.html'}")
    return 0


def _pretrain(encoder: Path, tokenizer: Any, toy: Any, options: Options) -> tuple[Any, Any, Any, Any]:
    """The pre-trained ranker, the store, its sampler, and the numbers of the run."""
    import contextlib
    import io

    from nonet.runs import read_metrics
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from prop_ir.building import build_store
    from prop_ir.commands import pretrain as verb
    from prop_ir.options import SamplerOptions
    from prop_ir.pretraining import pretrain
    from prop_ir.word_sets import PairSampler

    store, _ = build_store(toy.documents, tokenizer, options.out / "store")
    settings = SamplerOptions(floor=1, keep=1e-2)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        done = pretrain(
            verb.Options(
                init=str(encoder), store=options.out / "store", out=options.out / "pretrain", max_length=64,
                batch=32, pairs=20, loss="logistic", head="new", mlm_weight=0.0, val_share=0.05,
                sampler=settings,
                trainer=TrainerOptions(
                    steps=400, clip=1.0, seed=options.seed, accelerator="cpu", validate_every=100,
                    checkpoint_every=0, log_every=20,
                ),
                optimizer=OptimizerOptions(lr=4e-3, weight_decay=0.01, schedule="linear"),
            )
        )  # fmt: skip
    sampler = PairSampler(store, settings, seed=options.seed)
    return done.model.ranker, store, sampler, read_metrics(done.run)


def _scores(ranker: Any, tokenizer: Any, toy: Any, first: Any) -> Any:
    import numpy as np

    from prop_ir.reranking import score_candidates
    from prop_ir.scoring import Scorer

    def pieces(text: str) -> Any:
        return np.array(tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)

    scorer = Scorer(ranker, tokenizer, max_length=64, device="cpu")
    documents = {note.id: pieces(note.text) for note in toy.documents}
    return score_candidates(
        scorer, {query: pieces(text) for query, text in toy.topics.items()}, documents, first
    )


def _page(
    options: Options, toy: Any, runs: Any, values: Any, means: Any, store: Any, sampler: Any, curve: Any
) -> None:
    from nonet.report import Page

    page = Page(
        "PROP in a minute", "Made-up notices; everything on this page was computed by `prop-ir demo`."
    )
    page.text(
        "Two sets of words are drawn from the language model of a notice, and the model learns which of them "
        "the notice is likelier to have said. No query and no judgement is looked at."
    )
    sets = []
    for row in sampler.documents[:5].tolist():
        pair = sampler.pair(row, 0, 0)
        sets.append(
            {
                "notice": toy.documents[row].text,
                "likelier set": " ".join(store.types[t] for t in pair.positive),
                "log P": float(pair.positive_score),
                "other set": " ".join(store.types[t] for t in pair.negative),
                "log P of it": float(pair.negative_score),
            }
        )
    page.table(sets, "Word sets")
    for name, label in (("train/accuracy", "in training"), ("val/accuracy", "on notices held out")):
        points = [(line["step"], line[name]) for line in curve if name in line]
        page.lines(f"Pairs in the right order, {label}", {"share": points}, x="step", y="share")
    page.bars(f"{METRIC} on {QUERIES} queries (more is better)", means)
    gain = {query: values["pre-trained"][query] - values["not pre-trained"][query] for query in toy.topics}
    shown = max(gain, key=lambda query: gain[query])
    texts = {note.id: note.text for note in toy.documents}
    rows = []
    for place in range(5):
        row = {"rank": place + 1}
        for name in ("not pre-trained", "pre-trained"):
            note = list(runs[name][shown])[place]
            row[name] = f"[{toy.qrels[shown].get(note, 0)}] {texts[note]}"
        rows.append(row)
    page.table(
        rows, f"The query that gained most, {toy.topics[shown]!r}; judgement (0, 1, 2) before the text"
    )
    page.save(options.out / "report.html")
