"""Train a teacher, prune a student, export and time it, on a small made-up task."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Prune a student to three levels while it learns from a teacher, and show what that costs and saves."""

    out: Path = Path("runs/cap_prune/demo")
    """folder for the page and the numbers; what a demo wrote there before is replaced"""
    seed: int = 0
    """of everything"""


def run(options: Options) -> int:
    """Run the demo; prints before and after, writes `demo.json` and `report.html`."""
    import shutil
    import time

    import torch

    from cap_prune.commands import prune, teacher
    from cap_prune.demo_page import write_page
    from cap_prune.demonstration import CUT, DENSE, PRUNED, Plan, export_last, make, measure, timings
    from cap_prune.terminal_tables import table
    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from nonet.files import write_json

    start, plan, out = time.monotonic(), Plan(), options.out
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are so small that a second thread would only wait
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: holds something else than a demo; name another folder")
    try:
        with progress(label="demo", unit="parts", total=5) as bar:  # type: ignore[var-annotated]
            made = make(
                plan, out, seed=options.seed, done=lambda: bar.advance(1),
                teach=lambda given: teacher.run(teacher.Options(**given)),
                prune=lambda given: prune.run(prune.Options(**given)),
            )  # fmt: skip
            rows = measure(made, plan, seed=options.seed)
            small = export_last(made, out / "small")
            bar.advance(1)
        times = timings(made, small, plan)
    finally:
        torch.set_num_threads(threads)
    last = plan.targets[-1]
    by_name = {(row["model"], row["pruned %"]): row for row in rows}
    before, after = by_name[CUT, last]["accuracy"], by_name[PRUNED, last]["accuracy"]
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "cap-prune",
            "what": f"{last:g} % of heads and neurons removed: at once, and while the model was trained",
            "measure": f"accuracy in % on {plan.dev} held-out sentences",
            "before": before,
            "after": after,
            "better": "higher",
            "seconds": seconds,
            "pictures": [],
            "models": rows,
        },
    )
    write_json(out / "latency.json", {name: vars(each) for name, each in times.items()})
    write_page(out, rows, times, plan)
    print(table(rows))
    dense, pruned = times[DENSE], times[f"pruned {last:g} %"]
    print(
        f"latency of a batch of {plan.batch} x {plan.length} pieces: {dense.median:.1f} ms dense, "
        f"{pruned.median:.1f} ms at {last:g} % ({pruned.ratio:.1f} times as fast, "
        f"{pruned.ratio_low:.1f} to {pruned.ratio_high:.1f})"
    )
    print(f"accuracy at {last:g} %: {before:.1f} cut at once, {after:.1f} pruned while trained")
    print(f"{seconds:.0f} s; page: {out / 'report.html'}; the smallest model: {small}")
    return 0
