"""The verb `report`: what is left in each layer, and measured latency."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what is left in each layer of a model: heads, neurons, parameters, bytes, operations, latency."""

    model: str
    """folder of a model or of a level of a run, or a hub name"""
    batch: int = 1
    """texts at a time for the latency; 1: what a service sees"""
    length: int = 128
    """pieces of each text, for latency and operations"""
    rounds: int = 7
    """turns of the measurement; its spread is that of the turns"""
    threads: int = 0
    """CPU threads; 0: as torch sets them"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to measure; auto: a GPU if there is one"""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """of the weights while measured"""
    measure: bool = True
    """time the model beside a dense one of the same shape with random weights"""
    out: Path | None = None
    """folder for report.html and report.json, made anew; none: only print"""
    json: bool = False
    """print JSON"""

    def __post_init__(self) -> None:
        for name in ("batch", "length", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is 1 or more")
        if self.threads < 0:
            raise UserError(f"threads is {self.threads}; it is 0 or more")


def run(options: Options) -> int:
    """Print the report; with `out` also write it as a page and as JSON."""
    import json

    from cap_prune.devices import placed
    from cap_prune.loading import load_model
    from cap_prune.model_report import report
    from cap_prune.report_page import write_page
    from nonet.files import write_json
    from nonet.training.hub import local_folder

    _refuse_foreign(options.out)
    folder = local_folder(options.model)
    model, _ = load_model(options.model)
    found = report(
        placed(model, options.device, options.dtype), folder=folder, batch=options.batch,
        length=options.length, rounds=options.rounds, threads=options.threads or None,
        measure=options.measure,
    )  # fmt: skip
    found = {"model": options.model} | found
    if options.out is not None:
        write_json(options.out / "report.json", found)
        write_page(found, options.model, options.out / "report.html")
    print(json.dumps(found, indent=2) if options.json else _text(found))
    return 0


def _refuse_foreign(out: Path | None) -> None:
    """A report replaces a report, and nothing else."""
    if out is None or not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / "report.json").is_file()):
        raise UserError(f"{out}: holds something else than a report; name another folder")


def _text(found: dict[str, Any]) -> str:
    from cap_prune.report_page import layer_rows
    from cap_prune.terminal_tables import table

    counted, sizes, macs, latency = (found[name] for name in ("parameters", "bytes", "macs", "latency"))
    lines = [
        table(layer_rows(found)),
        "",
        f"parameters      {counted['whole']:,} of {counted['dense']:,}; not 0: {counted['nonzero']:,}",
        f"  encoder       {counted['encoder']:,} of {counted['dense_encoder']:,}; remaining "
        f"{counted['remaining']:.2%}",
        f"  embeddings    {counted['embeddings']:,}",
        f"bytes           {sizes['weights on disk']:,} of weights on disk, {sizes['in memory']:,} in memory",
        f"operations      {macs['whole']:,} of {macs['dense']:,} MACs for {macs['length']} pieces",
    ]
    for name, each in latency["ms"].items() if latency else ():
        lines.append(
            f"latency         {each['median']:.2f} ms ({each['least']:.2f} to {each['most']:.2f})  {name}, "
            f"batch {latency['batch']} x {latency['length']} on {latency['device']}, "
            f"{latency['threads']} threads"
        )
    return "\n".join([*lines, "", *(f"- {remark}" for remark in found["remarks"])])
