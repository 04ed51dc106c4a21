"""What the folder of a model, a run or packed scenes holds, by its small files and headers (ours)."""

from pathlib import Path
from typing import Any

from nonet.training.folder_holdings import check_folder, refuse_other, run_parts, weights_part
from nonet.training.weight_files import read_object
from ponderv2.packed_scenes import INDEX

CONFIG = "config.json"
SHOWN = ("verb", "modality", "supervision", "prompt", "text", "channels", "voxel", "scenes", "converted from")
"""facts of a training that are shown as they are"""


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a folder holds, without loading weights.

    Args:
        path: of a model, a run, or packed scenes.

    Returns:
        Part -> name -> value: `model`, `sizes`, `training`, `scores`, `weights`, `run`, `last numbers`, or
        `packed` and the data sets.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    check_folder(path)
    if (path / INDEX).is_file():
        return _packed(path)
    if (path / CONFIG).is_file():
        return _model(path)
    if not (path / "run.json").is_file():
        raise refuse_other(path, CONFIG)
    found = dict(run_parts(path))
    views = sorted((path / "views").glob("*.png"))
    if views:
        found["pictures"] = {"views": len(views), "last": views[-1].name}
    if (path / "model" / CONFIG).is_file():
        found |= _model(path / "model")
    return found


def _model(path: Path) -> dict[str, dict[str, Any]]:
    note = read_object(path / CONFIG)
    facts = dict(note.get("facts") or {})
    found: dict[str, dict[str, Any]] = {"model": {"kind": str(note.get("kind"))}}
    classes = facts.get("classes") or note.get("config", {}).get("classes")
    if isinstance(classes, dict):
        found["model"] |= {f"classes of {name}": _words(names) for name, names in classes.items()}
    found["sizes"] = {name: _words(value) for name, value in _flat(note.get("config") or {})}
    training = {name: _words(facts[name]) for name in SHOWN if facts.get(name) is not None}
    if training:
        found["training"] = training
    if facts.get("scores"):
        found["scores"] = {name: _words(value) for name, value in facts["scores"].items()}
    part, weights = weights_part(path)
    return found | {part: weights}


def _packed(path: Path) -> dict[str, dict[str, Any]]:
    note = read_object(path / INDEX)
    told = note.get("account") or {}
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    found: dict[str, dict[str, Any]] = {
        "packed": {"scenes": len(note.get("scenes") or ()), "bytes": size, "format": note.get("format")}
    }
    for name, facts in (told.get("data sets") or {}).items():
        found[name] = {key: _words(value) for key, value in facts.items() if value not in (None, {}, [])}
    if told.get("left out"):
        found["left out"] = dict(told["left out"])
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Names with dots and their values, of nested mappings; class names are shown elsewhere."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and name != "classes":
            found += _flat(value, f"{prefix}{name}.")
        elif name != "classes":
            found.append((prefix + name, value))
    return found


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value
