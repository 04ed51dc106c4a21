"""What the folder of an image-text model or of its run holds, by its small files and headers (ours)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonet.training.folder_holdings import Part, check_folder, refuse_other, run_parts, weights_part
from nonet.training.weight_files import read_object
from nonet.vision_language.pair_config import CONFIG, read_config
from nonet.vision_language.training_stages import read_stages, told

_EXPORTED = ("image.onnx", "projections.safetensors")


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a model's or run's folder holds; no weights are loaded.

    Args:
        path: the folder.

    Returns:
        Part -> name -> value: `run`, `last numbers` of a run; `model`, `settings`, `training`, `weights` of a
        model.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    check_folder(path)
    if (path / "run.json").is_file():
        return dict(_run(path))
    if (path / CONFIG).is_file():
        return dict(_model(path))
    if any((path / name).is_file() for name in _EXPORTED):
        return {"exported": read_object(path / "config.json")} | dict([weights_part(path)])
    raise refuse_other(path, CONFIG)


def _run(path: Path) -> Iterator[Part]:
    yield from run_parts(path)
    if (path / "model" / CONFIG).is_file():
        yield from _model(path / "model")
    else:
        yield "model", {"none": "not written yet"}


def _model(path: Path) -> Iterator[Part]:
    config = read_config(path)
    rows, columns = config.grid
    connected = sum(config.connected(layer) for layer in range(config.fusion_layers))
    yield (
        "model",
        {
            "vision": config.vit or f"{config.vit_depth} blocks of {config.vit_width}",
            "images": " x ".join(map(str, config.image_size)) + f" pixels, {rows} x {columns} patches",
            "text": f"{config.text_layers} layers of {config.text_width}, {config.max_length} words at most",
            "fusion": f"{config.fusion_layers} layers, {connected} connected",
            "decoder": f"{config.decoder_layers} layers" if config.decoder_layers else "none",
            "shared space": f"{config.embed} numbers",
            "tokenizer": "yes" if (path / "tokenizer_config.json").is_file() else "none",
        },
    )
    yield (
        "settings",
        {
            name: value if isinstance(value, str | int | float) else ", ".join(map(str, value))
            for name, value in dataclasses.asdict(config).items()
        },
    )
    stages = read_stages(path)
    yield "training", {str(number): told(stage) for number, stage in enumerate(stages, 1)}
    yield weights_part(path)
