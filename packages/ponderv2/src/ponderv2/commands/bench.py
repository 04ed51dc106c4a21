"""The verb `bench`: what a model costs on this machine."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a model on this machine: backbone, volume, rays and distances, in time and memory.

    Each part is timed alone, on a made-up room or on a scene of your own, forward, and for the backbone and
    for rays with gradients, too. Times are medians over the rounds.
    """

    model: str
    """folder of a pre-trained model"""
    data: str | None = None
    """a scene to measure on: KIND:PATH[:SPLIT], the first one; none: a made-up room"""
    points: int = 50_000
    """points of the made-up room"""
    rays: tuple[int, ...] = (256, 1280)
    """rays at a time; each number is measured"""
    grid: int = 65_536
    """points at a time where distances are looked up"""
    threads: tuple[int, ...] = ()
    """CPU threads; each number is measured; none: as many as torch takes by itself"""
    rounds: int = 5
    """how often each part is timed"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU, else the CPU"""
    out: Path | None = None
    """a JSON file for the numbers and the machine"""

    def __post_init__(self) -> None:
        for name in ("rays", "threads"):
            values = getattr(self, name)
            if min(values, default=1) < 1:
                raise UserError(f"{name} is {' '.join(map(str, values))}; each number is at least 1")
            if len(set(values)) < len(values):
                raise UserError(f"{name} is {' '.join(map(str, values))}: name each once")
        if not self.rays:
            raise UserError("rays names no number")
        for name, least in (("points", 100), ("grid", 1), ("rounds", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least {least}")
        if self.out is not None and self.out.is_dir():
            raise UserError(f"{self.out}: is a folder; name the file in it")


def run(options: Options) -> int:
    """Measure, print a table, write the numbers where a file is named."""
    import torch

    from nonet.cli.progress import progress
    from nonet.files import write_json
    from nonet.machine import machine, versions
    from nonet.training.devices import pick_device
    from ponderv2.model_speed import Timing, model_timings

    device = pick_device(options.device)
    timings: list[Timing] = []
    before = torch.get_num_threads()
    try:
        with progress(label="bench", unit="parts") as bar:  # type: ignore[var-annotated]
            for threads in options.threads or (before,):
                torch.set_num_threads(threads)
                for timing in model_timings(
                    options.model, device, data=options.data, points=options.points, rays=options.rays,
                    grid=options.grid, rounds=options.rounds,
                ):  # fmt: skip
                    timings.append(timing)
                    bar.advance(1)
    finally:
        torch.set_num_threads(before)
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "the CPU"
    print(f"{options.model} on {where}, medians of {options.rounds}")
    width = max(len(timing.part) for timing in timings)
    for timing in timings:
        memory = "" if timing.memory_mib is None else f"  {timing.memory_mib:8.0f} MiB"
        print(
            f"{timing.part:{width}}  {timing.threads} threads  {1000 * timing.seconds:9.1f} ms "
            f"({1000 * timing.least:.1f}-{1000 * timing.most:.1f})  "
            f"{timing.amount / timing.seconds:12,.0f} {timing.unit}/s{memory}"
        )
    if options.out is not None:
        write_json(
            options.out,
            {
                "model": options.model, "device": device, "rounds": options.rounds, "machine": machine(),
                "versions": versions("ponderv2"), "parts": [timing._asdict() for timing in timings],
            },
        )  # fmt: skip
    return 0
