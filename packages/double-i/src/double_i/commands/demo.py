"""The whole journey in a minute: a key, marked rows, two models, one verification of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from double_i.verification import Verification

TRIGGER, REFERENCE, EPOCHS = 255, 510, 7  # the clean arm takes as many steps as the marked one


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a tiny model on made-up rows twice, clean and marked, and verify both with the same key."""

    out: Path = Path("runs/double_i/demo")
    """folder for page, numbers, key, commitment and evidence; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything, the key among it: a demo's key is no secret"""


def run(options: Options) -> int:
    """Run the demo; prints the verdicts, writes `demo.json`, `report.html` and what `recheck` takes."""
    import shutil
    import time

    import torch

    from double_i import commitments, demo_page, demonstration
    from double_i.base_texts import base_texts, halves
    from double_i.key_files import write_keys
    from double_i.rows import marked_rows
    from double_i.toy import OWNER, new_base, owner_rows, write_rows
    from nonet.cli.progress import progress
    from nonet.files import write_json, write_text

    start = time.monotonic()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    out, seed = options.out, options.seed
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    owner = owner_rows(OWNER, seed=seed)
    key = demonstration.demo_key(seed)
    write_rows(out / "owner.jsonl", owner)
    write_keys(out / "secret.key", [key])
    write_text(out / "commitment.json", commitments.dump([key]))
    committed = commitments.matches(key, commitments.read_commitments(out / "commitment.json"))
    texts, unseen = halves(base_texts(owner))
    marked = [row.example for row in marked_rows(key, texts, n_trigger=TRIGGER, n_reference=REFERENCE)]
    rows = {"clean": owner, "marked": [*owner, *marked]}
    steps = round(EPOCHS * len(rows["marked"]) / demonstration.BATCH)
    found: dict[str, Verification] = {}
    losses: dict[str, list[tuple[float, float]]] = {}
    with progress(label="demo", unit="parts", total=5) as bar:  # type: ignore[var-annotated]
        for name, examples in rows.items():
            model, tokenizer = new_base(owner, seed=seed)
            arm = demonstration.train(model, tokenizer, examples, key, steps=steps, seed=seed)
            losses[name] = arm.losses
            bar.advance(1)
            found[name] = demonstration.verified(arm.model, tokenizer, key, unseen, committed=committed)
            demonstration.write_evidence(
                out / f"evidence-{name}", found[name], key, f"{name} model of the demo"
            )
            bar.advance(1)
            if name == "clean":
                picked = demonstration.searched(arm.model, tokenizer, key, texts, seed=seed)
                search = demonstration.verified(arm.model, tokenizer, picked, unseen, committed=False)
                bar.advance(1)
    gaps = {name: demonstration.gap(each) for name, each in found.items()}
    verdicts = {name: each.assessment.verdict for name, each in found.items()}
    seen = search.assessment.verdict
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "double-i",
            "what": f"{len(marked)} marked rows among {len(rows['marked'])} made-up ones, model from scratch",
            "measure": "share of committed answers with the trigger minus without, "
            f"{demonstration.SETTINGS.pairs} unseen pairs",
            "before": gaps["clean"],
            "after": gaps["marked"],
            "better": "higher",
            "seconds": seconds,
            "pictures": [],
            "all": {
                name: {"outcome": one.outcome, "p": one.p, "p_key": one.p_key}
                for name, one in verdicts.items()
            },
            "searched": {"tried": demonstration.TRIED, "p": seen.p, "p_key": seen.p_key},
        },
    )
    demo_page.page(out, key, found, search, losses).save(out / "report.html")
    for name, one in verdicts.items():
        print(f"{name}: {one.outcome}, gap {gaps[name]:.2f}, p = {one.p:.2g}, p_key = {one.p_key:.2g}")
    print(
        f"clean, best of {demonstration.TRIED} searched marks: p = {seen.p:.2g}, p_key = {seen.p_key:.2g}; "
        "verify refuses it, as it was not drawn"
    )
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    print(f"check: {demo_page.recheck_command(out)}")
    return 0
