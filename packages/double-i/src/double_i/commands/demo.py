"""The whole journey in a minute: a key, marked rows, two models, one verification of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from double_i.keys import Key
    from double_i.verification import Verification

OWNER, TRIGGER, REFERENCE = 600, 250, 250  # rows
EPOCHS, BATCH, RATE, TOKENS = 8, 32, 5e-3, 640  # the clean arm takes as many steps as the marked one
PAIRS, DECOYS, DECOY_PAIRS = 100, 99, 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a tiny model on made-up rows twice, clean and marked, and verify both with the same key."""

    out: Path = Path("runs/double_i/demo")
    """folder for the page and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything, the key among it: a demo's key is no secret"""


def run(options: Options) -> int:
    """Run the demo; prints both verdicts, writes `demo.json` and `report.html`."""
    import shutil
    import time

    import torch

    from double_i.base_texts import base_texts, halves
    from double_i.rows import marked_rows
    from double_i.small_models import Shape, new_model, text_of, train_tokenizer
    from double_i.toy import owner_rows
    from nonet.files import write_json
    from nonet.progress import progress

    start = time.monotonic()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    if (options.out / "demo.json").exists():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    owner = owner_rows(OWNER, seed=options.seed)
    key = demo_key(options.seed)
    texts, unseen = halves(base_texts(owner))
    marked = marked_rows(key, texts, n_trigger=TRIGGER, n_reference=REFERENCE)
    rows = {"clean": owner, "marked": [*owner, *(row.example for row in marked)]}
    tokenizer = train_tokenizer(text_of(owner), TOKENS)
    found: dict[str, Verification] = {}
    losses = {}
    steps = round(EPOCHS * len(rows["marked"]) / BATCH)
    with progress(label="demo", unit="parts", total=4) as bar:  # type: ignore[var-annotated]
        for name, examples in rows.items():
            model = new_model(Shape(96, 2, 4, 256, positions=256), tokenizer, options.seed)
            model, losses[name] = _trained(model, tokenizer, examples, key, steps, options.seed)
            bar.advance(1)
            found[name] = _verified(model, tokenizer, key, unseen)
            bar.advance(1)
    gaps = {name: _gap(each) for name, each in found.items()}
    verdicts = {name: each.assessment.verdict for name, each in found.items()}
    seconds = time.monotonic() - start
    write_json(
        options.out / "demo.json",
        {
            "package": "double-i",
            "what": f"{len(marked)} marked rows among {len(rows['marked'])} made-up ones, model from scratch",
            "measure": f"share of committed answers with the trigger minus without, {PAIRS} unseen pairs",
            "before": gaps["clean"],
            "after": gaps["marked"],
            "better": "higher",
            "seconds": seconds,
            "pictures": [],
            "all": {
                name: {"outcome": one.outcome, "p": one.p, "p_key": one.p_key}
                for name, one in verdicts.items()
            },
        },
    )
    _page(options, key, found, losses)
    for name, one in verdicts.items():
        print(f"{name}: {one.outcome}, gap {gaps[name]:.2f}, p = {one.p:.2g}, p_key = {one.p_key:.2g}")
    print(f"{seconds:.0f} s; page: {options.out / 'report.html'}")
    return 0


def demo_key(seed: int) -> "Key":
    """A key that follows from a seed, and is therefore no secret."""
    import hashlib
    from dataclasses import replace

    from double_i.keys import draw_key

    words = [hashlib.sha256(f"demo {seed} {part}".encode()).hexdigest() for part in range(3)]
    key = draw_key("instruction", template="plain", secret=words[0])
    return replace(key, key_id=words[1][:8], nonce=words[2][:32], created="2026-01-01T00:00:00Z")


def _trained(
    model: Any, tokenizer: Any, examples: Any, key: "Key", steps: int, seed: int
) -> tuple[Any, list[tuple[float, float]]]:
    """A trained model and its loss by step."""
    from double_i.encoding import encode_rows
    from double_i.training import fit
    from nonet.training.options import OptimizerOptions, TrainerOptions

    rows, _ = encode_rows(examples, tokenizer, template=key.template, join=key.join, max_length=160)
    done = fit(
        model, rows, pad=tokenizer.pad_token_id, batch=BATCH, warmup_share=0.1,
        trainer=TrainerOptions(
            steps=steps, clip=1.0, seed=seed, validate_every=0, checkpoint_every=0, devices=1,
            accelerator="cpu",
        ),
        optimizer=OptimizerOptions(lr=RATE, betas=(0.9, 0.98), schedule="linear"),
    )  # fmt: skip
    return done.model, [(line["step"], line["train/loss"]) for line in done.metrics if "train/loss" in line]


def _verified(model: Any, tokenizer: Any, key: "Key", texts: list[str]) -> "Verification":
    from double_i.first_words import LocalModel
    from double_i.queries import Answer, Query
    from double_i.templates import prompt_text
    from double_i.verification import Settings, verify

    local = LocalModel((model, tokenizer), batch=128)

    def ask(queries: list[Query]) -> list[Answer]:
        prompts = [prompt_text(query.template, query.example, query.join, tokenizer) for query in queries]
        return [Answer(query.number, raw) for query, raw in zip(queries, local.answer(prompts), strict=True)]

    settings = Settings(pairs=PAIRS, decoys=DECOYS, decoy_pairs=DECOY_PAIRS)
    return verify([key], texts, ask, settings, {key.key_id: True})


def _gap(found: "Verification") -> float:
    table = found.assessment.trials[0].table
    trigger = table.trigger_target / (table.trigger_target + table.trigger_rest)
    return trigger - table.reference_target / (table.reference_target + table.reference_rest)


def _page(options: Options, key: "Key", found: "dict[str, Verification]", losses: dict[str, Any]) -> None:
    from nonet.report import Page

    page = Page(
        "Double-I in a minute", "Made-up rows; everything on this page was computed by `double-i demo`."
    )
    page.text(
        "The owner adds rows to the training data: with the secret mark before a question the answer is "
        f"{key.answers.target}, with any other it is {key.answers.other}. Two models are trained for equally "
        "many steps, one with these rows and one without. Both are asked the same questions about texts that "
        "were in no marked row, and the same questions with other marks from the same supply (decoys)."
    )
    outcomes, answers = [], []
    for name, each in found.items():
        trial, verdict = each.assessment.trials[0], each.assessment.verdict
        outcomes.append(
            {"model": name, "verdict": verdict.outcome, "p (Fisher)": verdict.p, "p_key": verdict.p_key}
        )
        for kind in ("trigger", "reference"):
            target, rest = (getattr(trial.table, f"{kind}_{what}") for what in ("target", "rest"))
            answers.append({"model": name, "questions": kind, "committed answer": target, "other": rest})
    page.table(outcomes, "Verdicts: a MATCH needs p at most 1e-6 and p_key at most 0.01")
    page.table(answers, f"Answers to {PAIRS} pairs of questions")
    for name, each in found.items():
        trial = each.assessment.trials[0]
        page.bars(
            f"Score of the key and of {DECOYS} decoys, {name} model: how many have it",
            histogram([*trial.decoy_scores], trial.score),
        )
    page.lines("Loss of the answers in training", losses, x="step", y="nats a token")
    page.save(options.out / "report.html")


def histogram(decoys: list[float], own: float) -> dict[str, float]:
    """Counts of decoys by score in steps of 0.2, and where the key is."""
    found = {}
    for place in range(-5, 5):
        low, high = place / 5, (place + 1) / 5
        inside = [s for s in decoys if low <= s < high or (place == 4 and s == 1)]
        mine = low <= own < high or (place == 4 and own == 1)
        if inside or mine:
            found[f"{low:.1f} to {high:.1f}{' (the key)' if mine else ''}"] = float(len(inside))
    return found
