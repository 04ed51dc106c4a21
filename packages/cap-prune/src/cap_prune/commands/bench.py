"""The verb `bench`: models beside each other, timed in turns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time models in turns at your batch and length; the first is what the others are compared with."""

    models: tuple[str, ...]
    """folders of models, of levels of a run, or of an ONNX export; or hub names"""
    batch: tuple[int, ...] = (1, 32)
    """texts at a time; each number is measured"""
    length: tuple[int, ...] = (16, 32, 64, 128)
    """pieces of each text; each number is measured"""
    threads: tuple[int, ...] = (1,)
    """CPU threads; each number is measured"""
    rounds: int = 7
    """turns of each model; the range is over these"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where torch runs; auto: a GPU if there is one"""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """of the weights"""
    sparse: bool = False
    """time 2:4 models in the sparse kernels of NVIDIA GPUs, too, beside themselves; needs cuda and 16 bits"""
    out: Path | None = None
    """folder for bench.json and report.html, made anew; none: only print"""
    json: bool = False
    """print JSON lines"""

    def __post_init__(self) -> None:
        for name in ("batch", "length", "threads"):
            if min(getattr(self, name), default=0) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it holds numbers of at least 1")
        if self.rounds < 1:
            raise UserError(f"rounds is {self.rounds}; it is 1 or more")


def run(options: Options) -> int:
    """Print a row for each model and shape; with `out` also write them with pictures."""
    import json
    import sys

    from cap_prune.bench import bench, runners
    from cap_prune.terminal_tables import table
    from nonet.cli.progress import progress
    from nonet.files import write_json
    from nonet.machine import machine, versions

    out = options.out
    if out is not None and out.exists() and not (out / "bench.json").is_file():
        raise UserError(f"{out}: exists and holds no measurement; name a new folder")
    found = runners(
        options.models, options.device, options.dtype, sparse=options.sparse,
        say=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    total = len(found) * len(options.batch) * len(options.length) * len(options.threads)
    with progress(label="bench", unit="rows", total=total) as bar:  # type: ignore[var-annotated]
        for row in bench(
            found, batches=options.batch, lengths=options.length, threads=options.threads,
            rounds=options.rounds,
        ):  # fmt: skip
            rows.append(row)
            bar.advance(1)
            if options.json:
                print(json.dumps(row))
    if not options.json:
        print(table(rows))
    if out is not None:
        facts = {"rounds": options.rounds, "machine": machine(), "versions": versions("cap_prune")}
        write_json(out / "bench.json", {"rows": rows, **facts})
        _page(rows, facts["machine"], options.rounds, out / "report.html")
    return 0


def _page(rows: list[dict[str, Any]], where: Any, rounds: int, path: Path) -> None:
    from nonet.report import Page

    page = Page("Latency", f"{where['cpu']}, {where['cores']} cores; {rounds} turns of each model.")
    page.text("Bars are medians, whiskers the least and the most of the turns; no text is padded.")
    shapes = dict.fromkeys((row["batch"], row["length"], row["threads"]) for row in rows)
    for batch, length, threads in shapes:
        page.bars(
            f"Batch {batch}, length {length}, {threads} threads",
            {
                row["model"]: (row["ms"], row["least"], row["most"])
                for row in rows
                if (row["batch"], row["length"], row["threads"]) == (batch, length, threads)
            },
            unit="ms",
        )
    page.table(rows)
    page.save(path)
