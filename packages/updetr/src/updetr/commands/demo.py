"""Pre-train, fine-tune and find crops, on small made-up pictures."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a small detector without labels, let it find crops, fine-tune it beside one from scratch."""

    out: Path = Path("runs/updetr/demo")
    """folder for the page, the numbers and the runs; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json` and `report.html`."""
    import shutil
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from nonet.files import write_json
    from updetr import demonstration
    from updetr.commands import backbone, finetune, pretrain
    from updetr.demo_page import write_page
    from updetr.demonstration import PRETRAINED, SCRATCH, UNTRAINED

    start, plan, out = time.monotonic(), demonstration.Plan(), options.out
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are so small that a second thread would only wait
    try:
        with progress(label="demo", unit="parts", total=4) as bar:  # type: ignore[var-annotated]
            made = demonstration.make(
                plan, out, seed=options.seed, done=lambda: bar.advance(1),
                backbone=lambda given: backbone.run(backbone.Options(**given)),
                pretrain=lambda given: pretrain.run(pretrain.Options(**given)),
                finetune=lambda given: finetune.run(finetune.Options(**given)),
            )  # fmt: skip
        crops = demonstration.crops(made, plan, seed=options.seed)
        told = demonstration.measure(made, crops)
        demonstration.draw_crops(crops[: demonstration.CROPS], out / demonstration.LOCATED)
        demonstration.draw_detections(made, plan, out / demonstration.DETECTED, seed=options.seed)
    finally:
        torch.set_num_threads(threads)
    shutil.rmtree(out / "features", ignore_errors=True)
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "updetr",
            "what": f"a detector pre-trained on {plan.pool} pictures without labels, then fine-tuned on "
            f"{plan.train}, beside one from scratch",
            "measure": f"AP50 on {plan.test} held-out pictures after {plan.finetune_steps} steps",
            "before": told.ap50[SCRATCH],
            "after": told.ap50[PRETRAINED],
            "better": "higher",
            "seconds": seconds,
            "pictures": [demonstration.LOCATED, demonstration.DETECTED],
            "located": told.located,
        },
    )
    write_page(out, told, plan)
    print(
        f"AP50 on {plan.test} held-out pictures: {told.ap50[SCRATCH]:.1f} from scratch, "
        f"{told.ap50[PRETRAINED]:.1f} pre-trained"
    )
    print(
        f"mean overlap of {len(crops)} crops with where they are found: {told.located[UNTRAINED]:.2f} "
        f"before pre-training, {told.located[PRETRAINED]:.2f} after it"
    )
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
