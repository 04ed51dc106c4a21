"""What a folder holds, by its small files and the headers of its weights: nothing is loaded (ours)."""

import dataclasses
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from updetr.hf_configs import CLASSES
from updetr.model_folders import NOTE, PRETEXT, read_config_of, read_note
from updetr.onnx_export import ONNX
from updetr.state_files import read_object

_SHOWN = 12  # names of classes


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a model's or run's folder holds.

    Args:
        path: the folder.

    Returns:
        Part -> name -> value: `run` of a run; `model`, `classes`, `training`, `weights` of a model.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {'is a file' if path.exists() else 'no such folder'}; name a model or run")
    if (path / "run.json").is_file():
        return dict(_run(path))
    if (path / "config.json").is_file() or (path / ONNX).is_file():
        return dict(_model(path))
    held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
    raise UserError(f"{path}: neither a model (config.json) nor a run (run.json); it holds {held}")


def _run(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from nonet.runs import read_metrics

    record = read_object(path / "run.json")
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
    if (path / "model" / "config.json").is_file():
        yield from _model(path / "model")
    else:
        yield "model", {"none": "not written yet"}


def _model(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if (path / "config.json").is_file():
        config, sizes = read_config_of(path)
        pretrained = (path / PRETEXT).is_file()
        facts: dict[str, Any] = {
            "kind": "finds patches: pre-trained without labels" if pretrained else "finds objects",
            "class in transformers": CLASSES.get(config.arch, config.arch),
            "written by": "updetr" if (path / NOTE).is_file() else "transformers",
            "image sides": f"{sizes[0]} to {sizes[1]} pixels",
        }
        entries = dataclasses.asdict(config)
        labels = entries.pop("labels")
        yield "model", facts | entries
        shown = ", ".join(labels[:_SHOWN]) + (f", ... ({len(labels)})" if len(labels) > _SHOWN else "")
        yield "classes", {"number": len(labels), "names": shown}
        note = read_note(path)
        if note is not None and note[2]:
            yield "training", dict(_flat(note[2]))
    yield "weights", dict(_weights(path))


def _weights(path: Path) -> Iterator[tuple[str, Any]]:
    """Numbers and bytes of each file, by its header."""
    from safetensors import SafetensorError, safe_open

    files = [*sorted(path.glob("*.safetensors")), *sorted(path.glob("*.onnx"))]
    for file in files:
        size = file.stat().st_size
        if file.suffix == ".onnx":
            yield file.name, f"{size:,} bytes"
            continue
        try:
            with safe_open(file, framework="np") as weights:
                names = list(weights.keys())
                count = sum(prod(weights.get_slice(name).get_shape()) for name in names)
        except SafetensorError as error:
            raise UserError(f"{file}: damaged: {error}") from error
        yield file.name, f"{len(names)} tensors, {count:,} numbers, {size:,} bytes"
    if not files:
        yield "none", "no .safetensors or .onnx file"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers and texts by dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool):
            yield prefix + name, value
