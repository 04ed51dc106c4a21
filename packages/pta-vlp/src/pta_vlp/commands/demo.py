"""Train on made-up scenes with a quarter of the patches, chosen with and without the question."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small model to say what colour a shape has, from a quarter of the patches of a scene.

    Once these are what the image's own token attends to, once what the question asks for, by a patch detector
    that learned from a few boxes. Both are asked about scenes that were kept out.
    """

    out: Path = Path("runs/pta-vlp/demo")
    """folder for the page, the picture and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it is 0 or more")


TRAIN, TEST = 2000, 400
"""scenes to learn from, and to measure on"""
SHARES = (0.125, 0.25, 0.5, 1.0)
"""of the patches, that the trained model is asked with"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json`, `kept.png` and `report.html`."""
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.files import replacing, write_json
    from pta_vlp.demo_page import kept_picture, write_page
    from pta_vlp.demonstration import ARMS, BLIND, DEMO, GUIDED, Trained, at_shares, percent, train
    from pta_vlp.scenes import IN_SCENE, make_scenes

    start, out, plan = time.monotonic(), options.out, DEMO
    if out.exists() and not (out / "demo.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    try:
        scenes = make_scenes(TRAIN, options.seed)
        held_out = make_scenes(TEST, options.seed, part="test")
        found: dict[str, Trained] = {}
        with progress(label="demo", unit="steps", total=len(ARMS) * plan.steps) as bar:  # type: ignore[var-annotated]
            for name, arm in ARMS.items():
                found[name] = train(
                    arm, scenes, held_out, plan, seed=options.seed, done=lambda: bar.advance(1)
                )
        model = found[GUIDED].model
        shares = at_shares(model, held_out, plan, SHARES)
        picture = kept_picture(model, held_out)
    finally:
        torch.set_num_threads(threads)
    rows = [
        {
            "way": name,
            "right": percent(each.right),
            "patches kept": None if each.recall is None else 100 * each.recall,
            "CPU seconds": round(each.seconds, 1),
        }
        for name, each in found.items()
    ]
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "kept.png") as part:
        picture.save(part, format="PNG")
    write_page(out, rows, shares, found, plan)
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "pta-vlp",
            "what": f"questions about {IN_SCENE} shapes from a quarter of the patches; before, these are "
            "chosen without the question, after with it",
            "measure": f"answers right in %, of {IN_SCENE * TEST} questions about held-out scenes",
            "before": percent(found[BLIND].right),
            "after": percent(found[GUIDED].right),
            "better": "higher",
            "seconds": seconds,
            "pictures": ["kept.png"],
            "ways": rows,
            "shares": shares,
        },
    )
    for row in rows:
        print(
            f"{row['way']}: {row['right']:.1f} % right, {row['patches kept']:.1f} % of what is asked for kept"
        )
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
