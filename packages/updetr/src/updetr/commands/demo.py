"""Pre-train, fine-tune and find crops, on small made-up pictures."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a small detector without labels, let it find crops, fine-tune it beside one from scratch."""

    out: Path = Path("runs/updetr/demo")
    """folder for the page, the numbers and the pictures; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json` and `report.html`."""
    import copy
    import shutil
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from nonet.files import replacing, write_json
    from updetr import demonstration as parts
    from updetr.demo_page import write_page
    from updetr.demonstration import PRETRAINED, SCRATCH

    start, plan, out, seed = time.monotonic(), parts.Plan(), options.out, options.seed
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are so small that a second thread would only wait
    try:
        with progress(label="demo", unit="parts", total=5) as bar:  # type: ignore[var-annotated]
            data = parts.write_data(plan, out / "data", seed)
            pool = parts.pixels_of(out / "data" / "pool")
            backbone = parts.train_backbone(pool, plan, seed)
            bar.advance(1)
            scratch = parts.new_model(backbone, plan, seed).eval()
            pretrained = copy.deepcopy(scratch)
            losses = parts.pretrain(pretrained, pool, plan, seed)
            bar.advance(1)
            models = {SCRATCH: scratch, PRETRAINED: pretrained}
            train, test = (
                parts.seen(backbone, data[name], parts.pixels_of(out / "data" / name))
                for name in ("train", "test")
            )
            fits = {}
            for name, model in models.items():
                fits[name] = parts.finetune(model, train, test, data["test"], plan, seed)
                bar.advance(1)
            found = parts.crops(models, plan, seed)
            for name, picture in (
                (parts.LOCATED, parts.draw_crops(found, seed)),
                (parts.DETECTED, parts.draw_detections(fits, test, plan, seed)),
            ):
                with replacing(out / name) as part:
                    picture.save(part, format="PNG")
            bar.advance(1)
    except BaseException:  # half a demo would stand in the way of the next one
        shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        torch.set_num_threads(threads)
    located = parts.located(found)
    ap50 = {name: fit.ap50[-1][1] for name, fit in fits.items()}
    error = {name: fit.error[-1][1] for name, fit in fits.items()}
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "updetr",
            "what": f"a transformer that learns to find patches of {plan.pool} pictures without labels; "
            "before: the same one with its first, random weights",
            "measure": f"mean overlap (IoU) of a random crop of each of {plan.test} held-out pictures with "
            "where it is found",
            "before": located[SCRATCH],
            "after": located[PRETRAINED],
            "better": "higher",
            "seconds": seconds,
            "pictures": [parts.LOCATED, parts.DETECTED],
            "located": located,
            "distance": error,
            "ap50": ap50,
        },
    )
    write_page(out, fits, located, losses, plan)
    for title, numbers in (("overlap of crops", located), ("distance of boxes", error), ("AP50", ap50)):
        print(f"{title}: " + ", ".join(f"{value:.3g} {name}" for name, value in numbers.items()))
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
