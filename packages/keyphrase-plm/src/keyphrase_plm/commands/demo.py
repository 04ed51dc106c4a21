"""Pre-train, train, predict and score on a small made-up corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyphrase_plm.documents import Document, Prediction

UNTRAINED, PRETRAINED = "from random weights", "pre-trained on texts first"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Tag keyphrases after six labelled documents, with and without pre-training on texts without labels."""

    out: Path = Path("runs/keyphrase_plm/demo")
    """folder for the page and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json` and `report.html`."""
    import shutil
    import time

    import torch

    from keyphrase_plm.demonstration import Plan, encoders, f1, tagged, written
    from keyphrase_plm.toy import corpus
    from nonet.cli.progress import progress
    from nonet.files import write_json

    start, plan, seed, out = time.monotonic(), Plan(), options.seed, options.out
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    few = plan.labelled * plan.draws
    documents = corpus(plan.texts + few + plan.test, seed)
    texts, labelled, test = (
        documents[: plan.texts],
        documents[plan.texts : -plan.test],
        documents[-plan.test :],
    )
    found: dict[str, list[list[Prediction]]] = {UNTRAINED: [], PRETRAINED: []}
    with progress(label="demo", unit="parts", total=2 + 2 * plan.draws) as bar:  # type: ignore[var-annotated]
        made = encoders(texts, plan, out / "models", seed=seed)
        bar.advance(1)
        for draw in range(plan.draws):
            part = labelled[draw :: plan.draws]
            for name, encoder in ((UNTRAINED, made.untrained), (PRETRAINED, made.pretrained)):
                folder = out / "models" / f"run-tag-{encoder.name}-{draw}"
                found[name].append(tagged(encoder, part, test, plan, folder, seed=seed))
                bar.advance(1)
        absent = written(
            made.pretrained, texts[: plan.written], test, plan, out / "models" / "run-write", seed=seed
        )
        bar.advance(1)
    scores = {
        name: [f1(test, predictions, "present") for predictions in draws] for name, draws in found.items()
    }
    before, after = (sum(values) / len(values) for values in scores.values())
    absent_f1 = f1(test, absent, "absent")
    seconds = time.monotonic() - start
    what = f"a tagger from {plan.labelled} documents, its encoder pre-trained on {plan.texts:,} texts"
    write_json(
        out / "demo.json",
        {
            "package": "keyphrase-plm",
            "what": what,
            "measure": f"present F1@M (chan) on {plan.test} held-out documents, mean of {plan.draws}",
            "before": before,
            "after": after,
            "better": "higher",
            "seconds": seconds,
            "pictures": [],
            "present F1@M": scores,
            "absent F1@M of the writer": absent_f1,
        },
    )
    _page(out, made.curve, scores, found, absent, absent_f1, test, plan)
    for name, values in scores.items():
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"tagger {name}: present F1@M {sum(values) / len(values):.3f} ({each})")
    print(f"writer: absent F1@M {absent_f1:.3f} (one of four kinds at random: 0.25)")
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0


def _page(
    out: Path,
    curve: Sequence[dict[str, Any]],
    scores: dict[str, list[float]],
    found: "dict[str, list[list[Prediction]]]",
    absent: "list[Prediction]",
    absent_f1: float,
    test: "list[Document]",
    plan: Any,
) -> None:
    import html

    from keyphrase_plm.demonstration import highlighted
    from nonet.report import Page

    page = Page(
        "Keyphrases in a minute",
        "Made-up documents; everything on this page was computed by `keyphrase-plm demo`.",
    )
    page.text(
        f"A tiny encoder reads {plan.texts:,} unlabelled texts. A tagger then learns from {plan.labelled} "
        "labelled documents which words are phrases, once from that encoder, once from random weights. "
        "Marked: what the tagger finds; underlined: what it misses. Below each document stands the absent "
        "phrase that a prefix language model writes, from the same encoder; it is in no text, and in the few "
        "steps of this demo it learns the form of such phrases and not yet which of four kinds is right."
    )
    page.bars(
        f"Present F1@M on {plan.test} held-out documents, mean, least and greatest of {plan.draws} sets",
        {name: (sum(values) / len(values), min(values), max(values)) for name, values in scores.items()},
    )
    for place in range(3):
        document = test[place]
        for name, draws in found.items():
            shown = highlighted(document, draws[0][place])
            page.html(f"<p><small>{html.escape(name)}</small><br>{shown}</p>")
        wrote = html.escape(" ; ".join(absent[place].phrases) or "(none)")
        page.html(f"<p><small>absent</small> {wrote}</p>")
    points = [(float(line["step"]), float(line["train/loss"])) for line in curve if "train/loss" in line]
    page.lines("Pre-training", {"loss": points}, x="step", y="nats a masked piece")
    page.table(
        [
            {
                "document": f"{document.title} . {document.body}",
                "present": " ; ".join(document.present),
                "absent": " ; ".join(document.absent),
                **{name: " ; ".join(draws[0][i].phrases) for name, draws in found.items()},
                "written": " ; ".join(absent[i].phrases),
            }
            for i, document in enumerate(test[:8])
        ],
        caption=f"Held-out documents; the writer's absent F1@M is {absent_f1:.3f}",
    )
    page.save(out / "report.html")
