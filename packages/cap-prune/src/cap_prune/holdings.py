"""What a folder holds, by its small files and the headers of its weights: nothing is loaded (ours)."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from cap_prune.layer_names import NAMES, RECORD, SLIM_PREFIX
from cap_prune.levels import levels_of, read_facts
from nonet.errors import UserError

_SIZES = {
    "layers": ("num_hidden_layers", "n_layers"),
    "hidden size": ("hidden_size", "dim"),
    "heads a layer": ("num_attention_heads", "n_heads"),
    "neurons a layer": ("intermediate_size", "hidden_dim"),
    "positions": ("max_position_embeddings",),
    "vocabulary": ("vocab_size",),
}
"""names in the configs of the supported types"""


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a model's, level's or run's folder holds.

    Args:
        path: the folder.

    Returns:
        Part -> name -> value: `run` and `levels` of a run; `model`, `units` of a slim one, `task`, `level` or
        `export`, `tokenizer` of a model.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {'is a file' if path.exists() else 'no such folder'}; name a model or run")
    if (path / "run.json").is_file():
        return dict(_run(path))
    if (path / "config.json").is_file():
        return dict(_model(path))
    held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
    raise UserError(f"{path}: neither a model (config.json) nor a run (run.json); it holds {held}")


def _run(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    record = _object(path / "run.json")
    plain = (str, int, float, bool)
    yield "run", {name: value for name, value in record.items() if isinstance(value, plain)}
    levels = {}
    for folder in levels_of(path):
        facts = read_facts(folder)
        scores = facts.get("metrics") or {}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if _number(value))
        levels[folder.name] = shown or "no score"
    yield "levels", levels or {"none": "no level is complete yet"}
    if (path / "model" / "config.json").is_file():
        yield from _model(path / "model")


def _model(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    config = _object(path / "config.json")
    kind = str(config.get("model_type", "unknown"))
    supported = kind.removeprefix(SLIM_PREFIX) in NAMES
    facts: dict[str, Any] = {"type": kind if supported else f"{kind}, which cannot be pruned"}
    facts["class"] = ", ".join(config.get("architectures") or ["unknown"])
    for name, entries in _SIZES.items():
        for entry in entries:
            if entry in config:
                facts[name] = config[entry]
    yield "model", facts | _weights(path)
    units = config.get(RECORD)
    if isinstance(units, dict):
        yield "units", _units(units, path / "config.json")
    task = dict(config.get("cap_task") or {})
    labels = config.get("id2label")
    if labels:
        task["labels"] = ", ".join(map(str, labels.values()))
    if task:
        yield "task", task
    for part, file in (("level", "step.json"), ("export", "export.json")):
        if (path / file).is_file():
            yield part, dict(_flat(_object(path / file)))
    if (path / "tokenizer.json").is_file():
        tokenizer = _object(path / "tokenizer.json").get("model") or {}
        vocabulary = len(tokenizer.get("vocab") or [])
        yield "tokenizer", {"type": tokenizer.get("type", "unknown"), "vocabulary": vocabulary}


def _units(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Live units, over all and by layer."""
    try:
        found = {}
        for name in ("heads", "neurons"):
            live = [len(layer) for layer in record[name]]
            found[f"{name} live"] = f"{sum(live)} of {len(live) * record[f'all_{name}']}"
            found[f"{name} by layer"] = " ".join(map(str, live))
        return found
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its entry {RECORD} is damaged ({error}); save the model again") from error


def _weights(path: Path) -> dict[str, Any]:
    """Parameters by the headers of the files."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    graphs = sorted(path.glob("*.onnx"))
    parameters = 0
    for file in files:
        try:
            with safe_open(file, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a mapping)
                    parameters += prod(weights.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(f"{file}: damaged: {error}") from error
    size = sum(file.stat().st_size for file in (*files, *graphs))
    if not files:
        return {"weights": ", ".join(file.name for file in graphs) or "no .safetensors file", "bytes": size}
    packed = {"stored numbers": parameters} if (path / "packed.safetensors").is_file() else None
    return (packed or {"parameters": parameters}) | {"bytes": size}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); save it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; save it again")
    return value


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers and texts by dotted names; lists, such as units, are left to other parts."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool):
            yield prefix + name, value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
