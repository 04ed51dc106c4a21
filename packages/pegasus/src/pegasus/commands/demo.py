"""The whole journey in a minute: tokenizer, gap sentences, pre-training, fine-tuning, summaries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pegasus.options import ModelOptions

REPORTS, PAIRS, TEST = 1600, 48, 60  # unlabelled reports, labelled pairs, held-out reports


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train on made-up reports, fine-tune on 48 pairs, and compare with fine-tuning alone."""

    out: Path = Path("runs/pegasus/demo")
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
    from nonet.metrics.rouge import score_pairs
    from pegasus.toy import reports

    start = time.monotonic()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    if (options.out / "demo.json").exists():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = reports(REPORTS + PAIRS + TEST, seed=options.seed)
    unlabelled, pairs, test = corpus[:REPORTS], corpus[REPORTS : REPORTS + PAIRS], corpus[REPORTS + PAIRS :]
    with progress(label="demo", unit="parts", total=6) as bar:  # type: ignore[var-annotated]
        tokenizer, shards = _prepare([report.text for report in unlabelled], options)
        bar.advance(1)
        pretrained, curve = _pretrain(tokenizer, shards, options)
        bar.advance(2)
        arms: dict[str, dict[str, Any]] = {}
        for name, model in (("fine-tuned alone", None), ("pre-trained, then fine-tuned", pretrained)):
            arms[name] = _finetune(model, tokenizer, pairs, test, options, name)
            scores = score_pairs([report.summary for report in test], arms[name]["summaries"], ["rouge1"])
            arms[name]["rouge1"] = 100 * float(scores["rouge1"][:, 2].mean())
            bar.advance(1)
        bar.advance(1)
    before, after = (arm["nats"] for arm in arms.values())
    seconds = time.monotonic() - start
    write_json(
        options.out / "demo.json",
        {
            "package": "pegasus",
            "what": f"gap-sentence pre-training on {REPORTS:,} made-up reports, then {PAIRS} labelled pairs",
            "measure": f"nats a summary token on {TEST} held-out reports",
            "before": before,
            "after": after,
            "better": "lower",
            "seconds": seconds,
            "pictures": [],
            "rouge1": {name: arm["rouge1"] for name, arm in arms.items()},
        },
    )
    _page(options, tokenizer, shards, arms, curve, test)
    for name, arm in arms.items():
        print(f"{name}: {arm['nats']:.3f} nats a summary token, ROUGE-1 {arm['rouge1']:.1f}")
    print(f"report: {test[0].text}")
    print(f"should be: {test[0].summary}")
    for name, arm in arms.items():
        print(f"{name}: {arm['summaries'][0]}")
    print(f"{seconds:.0f} s; page: {options.out / 'report.html'}")
    return 0


def _prepare(texts: list[str], options: Options) -> tuple[Any, Any]:
    from nonet.data.text import TextReader
    from nonet.files import write_text
    from pegasus.building import build_shards
    from pegasus.options import CorpusOptions, GapOptions, WordOptions
    from pegasus.tokenizer import Tokenizer

    corpus = options.out / "corpus.txt"
    write_text(corpus, "".join(text + "\n" for text in texts))
    tokenizer = Tokenizer.train(texts, 190, options.out / "tokenizer")
    shards, _ = build_shards(
        TextReader([corpus]), tokenizer, options.out / "shards", words=WordOptions(), gaps=GapOptions(),
        corpus=CorpusOptions(), seed=options.seed,
    )  # fmt: skip
    return tokenizer, shards


SHAPE = ModelOptions(size="tiny", layers=2, width=64, heads=4, feed_forward=128, dropout=0.0)


def _pretrain(tokenizer: Any, shards: Any, options: Options) -> tuple[Any, list[dict[str, Any]]]:
    from nonet.data.batching import BucketedBatches
    from nonet.runs import Run
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from pegasus.data import GapSentenceData
    from pegasus.losses import GapSentenceLoss
    from pegasus.model import new_model
    from pegasus.options import GapOptions, MaskOptions
    from pegasus.training import Sets, fit

    data = GapSentenceData(shards, GapOptions(), MaskOptions(), tokenizer.starts_word, seed=options.seed)
    model = new_model(SHAPE, len(tokenizer), seed=options.seed)
    trainer = TrainerOptions(
        steps=250, seed=options.seed, accelerator="cpu", validate_every=0, checkpoint_every=0, log_every=10
    )
    optimizer = OptimizerOptions(lr=3e-3, schedule="linear", warmup=25)
    with Run.create("pegasus", "demo", options, seed=options.seed, folder=options.out / "pretrain") as run:
        model, curve = fit(
            model, Sets(data, BucketedBatches(data.lengths, batch=24, seed=options.seed)), run,
            trainer=trainer, optimizer=optimizer, losses=GapSentenceLoss(), state={},
        )  # fmt: skip
    return model, curve


def _finetune(
    model: Any, tokenizer: Any, pairs: list[Any], test: list[Any], options: Options, name: str
) -> dict[str, Any]:
    import torch

    from nonet.data.batching import RandomBatches
    from nonet.runs import Run
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from pegasus.data import PairData, collate
    from pegasus.losses import GapSentenceLoss
    from pegasus.model import new_model
    from pegasus.options import DecodeOptions, MaskOptions
    from pegasus.predict import summarize
    from pegasus.training import Sets, fit

    model = model or new_model(SHAPE, len(tokenizer), seed=options.seed)
    lengths = MaskOptions(max_input=256, max_target=32)
    train, held_out = (
        PairData(
            [report.text for report in side], [report.summary for report in side], tokenizer.encode, lengths
        )
        for side in (pairs, test)
    )
    trainer = TrainerOptions(
        steps=60, seed=options.seed, accelerator="cpu", validate_every=0, checkpoint_every=0, log_every=10
    )
    folder = options.out / ("finetune-" + name.split(",")[0].replace(" ", "-"))
    with Run.create("pegasus", "demo", options, seed=options.seed, folder=folder) as run:
        model, _ = fit(
            model, Sets(train, RandomBatches(len(train), 16, options.seed)), run, trainer=trainer,
            optimizer=OptimizerOptions(lr=2e-3, schedule="linear", warmup=6),
            losses=GapSentenceLoss(label_smoothing=0.1), state={},
        )  # fmt: skip
    model.eval()
    with torch.no_grad():
        term = GapSentenceLoss().eval()(model, collate([held_out[(0, i)] for i in range(len(held_out))]))[
            "gsg"
        ]
    decode = DecodeOptions(beams=4, max_length=24, max_input=256)
    written = [item.text for item in summarize(model, tokenizer, [report.text for report in test], decode)]
    return {"nats": float(term.total / term.count), "summaries": written}


def _page(
    options: Options,
    tokenizer: Any,
    shards: Any,
    arms: dict[str, Any],
    curve: list[dict[str, Any]],
    test: list[Any],
) -> None:
    import html

    from nonet.report import Page

    page = Page(
        "PEGASUS in a minute", "Made-up reports; everything on this page was computed by `pegasus demo`."
    )
    page.text(
        "A report loses the sentence that shares most words with the rest, and the model learns to write it. "
        "Marked: the gap sentences."
    )
    for index in range(3):
        row = shards[index]
        starts = [0, *row["ends"][:-1].tolist()]
        parts = []
        for number, (begin, end) in enumerate(zip(starts, row["ends"].tolist(), strict=True)):
            text = html.escape(tokenizer.decode(row["pieces"][begin:end].tolist()))
            parts.append(f"<mark>{text}</mark>" if number in row["chosen"] else text)
        page.html(f"<p>{' '.join(parts)}</p>")
    points = [(float(line["step"]), float(line["train/loss"])) for line in curve if "train/loss" in line]
    page.lines("Pre-training", {"loss": points}, x="step", y="nats a token")
    page.bars(
        f"Nats a summary token after {PAIRS} pairs (less is better)",
        {name: arm["nats"] for name, arm in arms.items()},
    )
    page.table(
        [
            {"report": report.text, "reference": report.summary}
            | {name: arm["summaries"][i] for name, arm in arms.items()}
            for i, report in enumerate(test[:6])
        ],
        caption="Held-out reports",
    )
    page.save(options.out / "report.html")
