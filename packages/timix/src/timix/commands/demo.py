"""Train on made-up scenes with wrong captions, with and without mixed images."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small model on pictures of shapes, whose captions are partly wrong, in three ways.

    Without mixed images, with windows at random places, and with windows where the texts say. Each is
    measured by finding the caption of scenes that were kept out.
    """

    out: Path = Path("runs/timix/demo")
    """folder for the page, the picture and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it is 0 or more")


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json`, `mixed.png` and `report.html`."""
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.files import replacing, write_json
    from timix.demo_page import write_page
    from timix.demonstration import (
        ARMS,
        GUIDED,
        Plan,
        Trained,
        example_mix,
        new_model,
        ranks,
        recall,
        rows_of,
        train,
    )
    from timix.mixed_picture import draw_mixed
    from timix.scenes import make_scenes

    start, plan, out = time.monotonic(), Plan(), options.out
    if out.exists() and not (out / "demo.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    try:
        scenes = make_scenes(plan.train, options.seed, wrong=plan.wrong)
        held_out = make_scenes(plan.test, options.seed, part="test")
        untrained = ranks(new_model(plan, options.seed)[0], held_out)
        found: dict[str, Trained] = {}
        with progress(label="demo", unit="steps", total=len(ARMS) * plan.steps) as bar:  # type: ignore[var-annotated]
            for name, arm in ARMS.items():
                found[name] = train(
                    arm, scenes, held_out, plan, seed=options.seed, done=lambda: bar.advance(1)
                )
        images, mixed, mix, captions, scores = example_mix(
            found[GUIDED], ARMS[GUIDED], scenes, plan, count=6, seed=options.seed
        )
    finally:
        torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "mixed.png") as part:
        draw_mixed(images, mixed, mix, captions, scores=scores).save(part, format="PNG")
    rows = rows_of(found, untrained)
    write_page(out, rows, found, plan)
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "timix",
            "what": f"pre-training with mixed images on {plan.train} scenes, {plan.wrong:.0%} of their "
            "captions wrong; before is the model with random weights",
            "measure": f"R@1 in % over the 220 captions, of {plan.test} held-out scenes",
            "before": recall(untrained, 1),
            "after": recall(found[GUIDED].ranks, 1),
            "better": "higher",
            "seconds": seconds,
            "pictures": ["mixed.png"],
            "ways": rows,
        },
    )
    for row in rows:
        print(f"{row['way']}: R@1 {row['R@1']:.1f} %, R@5 {row['R@5']:.1f} %")
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
