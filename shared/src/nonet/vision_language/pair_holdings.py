"""What the folder of an image-text model or of its run holds, by its small files and headers (ours)."""

import dataclasses
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.vision_language.pair_config import CONFIG, read_config

_EXPORTED = ("image.onnx", "projections.safetensors")


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a model's or run's folder holds; no weights are loaded.

    Args:
        path: the folder.

    Returns:
        Part -> name -> value: `run`, `last numbers` of a run; `model`, `settings`, `weights` of a model.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {'is a file' if path.exists() else 'no such folder'}; name a model or run")
    if (path / "run.json").is_file():
        return dict(_run(path))
    if (path / CONFIG).is_file():
        return dict(_model(path))
    if any((path / name).is_file() for name in _EXPORTED):
        return {"exported": _object(path / "config.json"), "weights": dict(_weights(path))}
    held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
    raise UserError(f"{path}: neither a model ({CONFIG}) nor a run (run.json); it holds {held}")


def _run(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from nonet.runs import read_metrics

    record = _object(path / "run.json")
    facts = {name: value for name, value in record.items() if isinstance(value, str | int | float | bool)}
    sessions = record.get("sessions") or []
    facts["sessions"] = len(sessions)
    if sessions:
        facts["exit code"] = sessions[-1].get("exit_code", "none: it was killed, or still runs")
    yield "run", facts
    lines = read_metrics(path)
    if lines:
        numbers = {name: value for line in lines for name, value in line.items()}
        yield "last numbers", {name: round(value, 4) for name, value in sorted(numbers.items())}
    if (path / "model" / CONFIG).is_file():
        yield from _model(path / "model")
    else:
        yield "model", {"none": "not written yet"}


def _model(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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
    yield "weights", dict(_weights(path))


def _weights(path: Path) -> Iterator[tuple[str, str]]:
    """Numbers and bytes of each file, by its header."""
    from safetensors import SafetensorError, safe_open

    files = sorted([*path.rglob("*.safetensors"), *path.rglob("*.onnx")])
    for file in files:
        name, size = file.relative_to(path).as_posix(), file.stat().st_size
        if file.suffix == ".onnx":
            yield name, f"{size:,} bytes"
            continue
        try:
            with safe_open(file, framework="np") as weights:
                names = list(weights.keys())
                count = sum(prod(weights.get_slice(each).get_shape()) for each in names)
        except SafetensorError as error:
            raise UserError(f"{file}: damaged: {error}") from error
        yield name, f"{len(names)} tensors, {count:,} numbers, {size:,} bytes"
    if not files:
        yield "none", "no .safetensors or .onnx file"


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found
