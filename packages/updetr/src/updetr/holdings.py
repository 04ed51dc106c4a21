"""What a folder holds, by its small files and the headers of its weights: nothing is loaded (ours)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.training.folder_holdings import Part, check_folder, refuse_other, run_parts, weights_part
from nonet.training.weight_files import read_object
from updetr.hf_configs import CLASSES
from updetr.model_folders import NOTE, PRETEXT, SUMMARY, read_config_of, read_note, seed_runs
from updetr.onnx_export import ONNX

_SHOWN = 12  # names of classes


def holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a model's or run's folder holds.

    Args:
        path: the folder.

    Returns:
        Part -> name -> value: `run` of a run; `seeds` and their scores of several runs; `model`, `classes`,
        `training`, `weights` of a model.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    check_folder(path)
    if (path / "run.json").is_file():
        return dict(_run(path))
    if (path / "config.json").is_file() or (path / ONNX).is_file():
        return dict(_model(path))
    raise refuse_other(path, "config.json")


def _run(path: Path) -> Iterator[Part]:
    yield from run_parts(path)
    if (path / "model" / "config.json").is_file():
        yield from _model(path / "model")
    elif any((path / "model").glob("*.safetensors")):  # a backbone
        yield weights_part(path / "model")
    elif seeds := seed_runs(path):
        yield from _seeds(path, seeds)
    else:
        yield "model", {"none": "not written yet"}


def _seeds(path: Path, runs: Sequence[Path]) -> Iterator[Part]:
    """The runs of several seeds, and the summary of their numbers where all have ended."""
    yield "seeds", {"runs": ", ".join(run.name for run in runs)}
    if (path / SUMMARY).is_file():
        scores = read_object(path / SUMMARY).get("scores") or {}
        yield (
            "scores, x 100: mean +- deviation",
            {name: f"{entry['mean']:.2f} +- {entry['sd']:.2f}" for name, entry in scores.items()},
        )


def _model(path: Path) -> Iterator[Part]:
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
    yield weights_part(path)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers and texts by dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool):
            yield prefix + name, value
