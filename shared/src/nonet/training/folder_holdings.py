"""What folders of runs and models hold, by their small files and the headers of their weights (ours)."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.runs import read_metrics
from nonet.training.weight_files import read_object

Part = tuple[str, dict[str, Any]]


def check_folder(path: Path) -> None:
    """Refuse what is no folder.

    Raises:
        UserError: a file, or nothing.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {'is a file' if path.exists() else 'no such folder'}; name a model or run")


def run_parts(path: Path) -> Iterator[Part]:
    """`run`: the plain entries of run.json, the number of sessions and how the last one ended; `last numbers`
    of metrics.jsonl, if there are any.

    Raises:
        UserError: run.json is not there or damaged.
    """
    record = read_object(path / "run.json")
    facts = {name: value for name, value in record.items() if isinstance(value, str | int | float | bool)}
    sessions = record.get("sessions") or []
    facts["sessions"] = len(sessions)
    if sessions:
        code = sessions[-1].get("exit")
        facts["exit code"] = "none: it was killed, or still runs" if code is None else code
    yield "run", facts
    lines = read_metrics(path)
    if lines:
        numbers = {name: value for line in lines for name, value in line.items()}
        yield "last numbers", {name: _short(value) for name, value in numbers.items()}


def weights_part(path: Path) -> Part:
    """`weights`: tensors, numbers and bytes of each file of weights below a folder, by its header.

    Raises:
        UserError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Any] = {}
    for file in sorted([*path.rglob("*.safetensors"), *path.rglob("*.onnx")]):
        name, size = file.relative_to(path).as_posix(), file.stat().st_size
        if file.suffix == ".onnx":
            found[name] = f"{size:,} bytes"
            continue
        try:
            with safe_open(file, framework="np") as weights:
                names = list(weights.keys())
                count = sum(prod(weights.get_slice(each).get_shape()) for each in names)
        except SafetensorError as error:
            raise UserError(f"{file}: damaged: {error}") from error
        found[name] = f"{len(names)} tensors, {count:,} numbers, {size:,} bytes"
    return "weights", found or {"none": "no .safetensors or .onnx file"}


def refuse_other(path: Path, config: str) -> UserError:
    """The error for a folder that has neither `config`, as models do, nor a run; says what is there."""
    held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
    return UserError(f"{path}: neither a model ({config}) nor a run (run.json); it holds {held}")


def _short(value: float) -> float:
    """Four decimals, of small numbers (learning rates) three digits instead."""
    return round(value, 4) if not 0 < abs(value) < 0.1 else float(f"{value:.3g}")
