"""Pre-train on made-up rooms by rendering, and draw rooms that were never shown."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a small model on the views of made-up rooms, without labels, and see what it knows then.

    It draws views of rooms that it was never shown, from their clouds alone, and makes a mesh of one.
    """

    out: Path = Path("runs/ponderv2/demo")
    """folder for the page, the pictures and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it is 0 or more")


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json`, `report.html`, pictures and a mesh."""
    import sys
    import time

    import torch

    from nonet.cli.progress import progress
    from nonet.files import replacing, write_json
    from ponderv2 import demonstration as parts
    from ponderv2.demo_page import DRAWN, MESH, write_page
    from ponderv2.meshes import write_mesh
    from ponderv2.view_sheet import view_sheet

    start, out, seed, plan = time.monotonic(), options.out, options.seed, parts.DEMO
    if out.exists() and not (out / "demo.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is so small that a second thread would only wait
    try:
        rooms = parts.made_up_rooms(plan, seed)
        model = parts.new_model(seed)
        print("drawing rooms with random weights first", file=sys.stderr)
        before = parts.draw(model, rooms["test"], plan)
        with progress(label="demo", unit="steps", total=plan.steps) as bar:  # type: ignore[var-annotated]
            losses = parts.pretrain(model, rooms["pretrain"], plan, seed, lambda: bar.advance(1))
        print("drawing the same rooms again, and a mesh of one of them", file=sys.stderr)
        after = parts.draw(model, rooms["test"], plan)
        mesh, mesh_score = parts.mesh_of(model, rooms["test"][0], plan)
    finally:
        torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / DRAWN) as part:
        view_sheet(after.pairs).save(part, format="PNG")
    with replacing(out / MESH) as part:
        parts.mesh_picture(mesh, rooms["test"][0]).save(part, format="PNG")
    write_mesh(mesh, out / "mesh.ply")
    seconds = time.monotonic() - start
    what = (
        f"views of {plan.test} rooms that were never shown, drawn from their clouds; before, with random "
        f"weights, after, pre-trained on views of {plan.rooms} other rooms without labels"
    )
    told = {
        "package": "ponderv2",
        "what": what,
        "measure": "depth error of the drawn views, metres; where nothing is drawn, all of the depth",
        "before": before.score.whole_error,
        "after": after.score.whole_error,
        "better": "lower",
        "seconds": seconds,
        "pictures": [DRAWN, MESH],
        "views": {"before": before.score.plain(), "after": after.score.plain()},
        "mesh": mesh_score,
    }
    write_page(out, told, losses, plan)
    write_json(out / "demo.json", told)
    for name, score in (("random weights", before.score), ("pre-trained", after.score)):
        print(f"{name}: depth error {score.whole_error:.2f} m, PSNR {score.psnr:.1f} dB")
    print(f"mesh of one of them: F at 10 cm {mesh_score['f_score']:.2f}")
    print(f"colours are still nearly flat after {plan.steps} steps: what is learned first is depth")
    print(f"{seconds:.0f} s; page: {out / 'report.html'}")
    return 0
