"""The verb `bench`: what a model costs at several shares of patches on this machine, and what it keeps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from pta_vlp.select_options import SelectOptions
from pta_vlp.task_options import Choice


@dataclass(frozen=True, kw_only=True)
class Options(Choice):
    """Measure a model on this machine: speed at several shares of patches, and with regions how much of the
    boxes is kept.

    Timed is the vision tower with the fusion, for texts that are encoded; images are noise, as what they show
    does not change what they cost. With all patches the tower runs once per image, whatever the number of its
    texts, and the others are compared with that.
    """

    model: str
    """folder or hub name of a model"""
    keep: tuple[float, ...] = (0.3, 0.5, 0.7, 1.0)
    """shares of the patches"""
    texts: tuple[int, ...] = (1, 5)
    """numbers of texts about each image"""
    images: int = 8
    """images at a time"""
    size: int | None = None
    """height and width of images, pixels; none: as the model was trained"""
    rounds: int = 5
    """how often each share is timed, all in turns"""
    regions: tuple[Path, ...] = ()
    """files or shards of regions: how many of the patches in boxes are kept, too"""
    image_folder: Path | None = None
    """what the image paths in them are below; none: found near each file"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU, else the CPU"""
    out: Path | None = None
    """a JSON file for the numbers and the machine"""

    def __post_init__(self) -> None:
        for name in ("keep", "texts"):
            values = getattr(self, name)
            if not values:
                raise UserError(f"{name} names no number")
            if len(set(values)) < len(values):
                raise UserError(f"{name} is {' '.join(f'{each:g}' for each in values)}: name each once")
        for share in self.keep:
            self.on(SelectOptions(), share)
        for name, least in (("images", 1), ("rounds", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least {least}")
        if min(self.texts) < 1:
            raise UserError(f"texts is {min(self.texts)}; it is at least 1")
        if self.out is not None and self.out.is_dir():
            raise UserError(f"{self.out}: is a folder; name the file in it")


def run(options: Options) -> int:
    """Measure, print tables, write the numbers where a file is named."""
    import sys

    import torch

    from nonet.files import write_json
    from nonet.machine import machine, versions
    from nonet.training.devices import pick_device
    from pta_vlp.model_folders import load_model, untrained_detector
    from pta_vlp.speed_curve import speed_curve

    device = pick_device(options.device)
    loaded = load_model(options.model, say=lambda line: print(line, file=sys.stderr), image=options.size)
    chosen = options.on(loaded.options, None)
    if options.untrained_detector and chosen.by_text and loaded.detector is None:
        loaded = loaded._replace(detector=untrained_detector(loaded.model))
        print(f"{options.model}: no patch detector in it; one with random weights is timed", file=sys.stderr)
    if chosen.selection == "off":
        raise UserError("selection off keeps all patches: say --selection text, attention, mixed or random")
    boxes = _boxes(options, loaded, chosen, device) if options.regions else None
    points = speed_curve(
        loaded, chosen, options.keep, options.texts, images=options.images, rounds=options.rounds,
        device=device,
    )  # fmt: skip
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "the CPU"
    print(
        f"selection {chosen.selection} behind block {chosen.block}, images of "
        f"{' x '.join(map(str, loaded.model.config.image_size))} pixels, {options.images} at a time, on "
        f"{where}, threads: {torch.get_num_threads()}"
    )
    _print([point.as_row() for point in points])
    if boxes is not None:
        print("patches in boxes that are kept, percent")
        _print([_recalls(name, own, options.keep) for name, own in boxes.items()])
    if options.out is not None:
        found: dict[str, Any] = {
            "model": options.model, "selection": chosen.selection, "block": chosen.block,
            "image": list(loaded.model.config.image_size), "images": options.images,
            "threads": torch.get_num_threads(), "device": device, "machine": machine(),
            "versions": versions("pta_vlp"), "speed": [point._asdict() for point in points], "boxes": boxes,
        }  # fmt: skip
        write_json(options.out, found)
    return 0


def _boxes(options: Options, loaded: Any, chosen: SelectOptions, device: str) -> dict[str, dict[str, float]]:
    """Recall at keep of the chosen selection, of CLS's attention and of chance."""
    import dataclasses
    import sys

    from nonet.vision_language.region_files import read_regions
    from pta_vlp.boxes_kept import recall_of_boxes

    table = read_regions(options.regions, folder=options.image_folder)
    for line in table.said():
        print(line, file=sys.stderr)
    names = dict.fromkeys([chosen.selection, "attention", "random"])
    selections = [dataclasses.replace(chosen, selection=name) for name in names]
    return recall_of_boxes(
        loaded, table, selections, options.keep, device=device,
        unusable=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip


def _recalls(name: str, own: dict[str, float], keeps: tuple[float, ...]) -> dict[str, str]:
    return {"selection": name} | {f"keep {keep:g}": f"{100 * own[f'recall@{keep:g}']:.1f}" for keep in keeps}


def _print(rows: list[dict[str, str]]) -> None:
    """A table with a line for each row."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
