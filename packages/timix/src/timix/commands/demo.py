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
    import io
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.files import replacing, write_json
    from timix import demonstration as parts
    from timix.demo_page import write_page
    from timix.mixed_picture import draw_mixed
    from timix.scenes import make_scenes

    start, plan, out, seed = time.monotonic(), parts.Plan(), options.out, options.seed
    if out.exists() and not (out / "demo.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    try:
        scenes = make_scenes(plan.train, seed, wrong=plan.wrong)
        held_out = make_scenes(plan.test, seed, part="test")
        untrained = parts.ranks(parts.new_model(plan, seed)[0], held_out)
        found: dict[str, parts.Trained] = {}
        with progress(label="demo", unit="steps", total=len(parts.ARMS) * plan.steps) as bar:  # type: ignore[var-annotated]
            for name, arm in parts.ARMS.items():
                found[name] = parts.train(arm, scenes, held_out, plan, seed=seed, done=lambda: bar.advance(1))
        guided = found[parts.GUIDED]
        images, mixed, mix, captions, scores = parts.example_mix(
            guided, parts.ARMS[parts.GUIDED], scenes, plan, count=6, seed=seed
        )
    finally:
        torch.set_num_threads(threads)
    picture = io.BytesIO()
    draw_mixed(images, mixed, mix, captions, scores=scores).save(picture, format="PNG")
    rows, apart = parts.rows_of(found, untrained), parts.differences(found)
    seconds = time.monotonic() - start
    out.mkdir(parents=True, exist_ok=True)
    # The numbers first: a folder with them is one that a next demo may write to.
    write_json(
        out / "demo.json",
        {
            "package": "timix",
            "what": f"pre-training with mixed images on {plan.train} scenes, {plan.wrong:.0%} of their "
            "captions wrong; before is the model with random weights",
            "measure": f"R@1 in % over the 220 captions, of {plan.test} held-out scenes",
            "before": parts.recall(untrained, 1),
            "after": parts.recall(guided.ranks, 1),
            "better": "higher",
            "seconds": seconds,
            "pictures": ["mixed.png"],
            "ways": rows,
            "differences": apart,
        },
    )
    with replacing(out / "mixed.png") as part:
        part.write_bytes(picture.getvalue())
    write_page(out / "report.html", rows, apart, found, picture.getvalue(), plan)
    for row in rows:
        print(f"{row['way']}: R@1 {row['R@1']:.1f} %, R@5 {row['R@5']:.1f} %")
    for row in apart:
        print(
            f"{row['first']} minus {row['second']}: {row['R@1']:+.1f} points, 95 % of {plan.test} scenes "
            f"{row['low']:+.1f} to {row['high']:+.1f}"
        )
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
