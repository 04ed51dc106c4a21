"""The verb `info`: what a model folder, a data file or a file of predictions holds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model folder, a data file or a file of predictions holds."""

    path: Path
    """a model or run folder, documents in any layout, or predictions"""
    kind: Literal["auto", "model", "documents", "predictions"] = "auto"
    """what the path is: model, documents or predictions; auto finds out"""
    format: Literal[
        "auto", "canonical", "abstract", "oagk", "stackex", "openkp", "ldkp", "midas", "fields",
        "parallel", "lines", "text", "folder",
    ] = "auto"  # fmt: skip
    """layout of documents, as in `prepare`"""
    limit: int | None = None
    """read so many documents or predictions and stop"""
    json: bool = False
    """print JSON"""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; it is 1 or more")


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.cli.facts import print_facts

    print_facts(describe(options), as_json=options.json)
    return 0


def describe(options: Options) -> dict[str, dict[str, Any]]:
    """Part -> name -> value.

    Raises:
        UserError: nothing is there, or it is nothing that this package knows.
    """
    path = options.path
    if not path.exists():
        raise UserError(f"{path} does not exist")
    kind = options.kind if options.kind != "auto" else _kind(path)
    if kind == "model":
        return dict(_model_parts(path))
    if kind == "predictions":
        return {"predictions": _predictions(path, options.limit)}
    return {"documents": _documents(options)}


def _kind(path: Path) -> str:
    if path.is_dir():
        known = ("keyphrase.json", "config.json", "run.json", "model")
        return "model" if any((path / name).exists() for name in known) else "documents"
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        with open(path, encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.strip()), "")
        try:
            first = json.loads(line)
        except ValueError:
            first = None
        if isinstance(first, dict) and "phrases" in first and "title" not in first:
            return "predictions"
    return "documents"


def _model_parts(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if (path / "run.json").is_file():
        record = _object(path / "run.json")
        plain = {name: value for name, value in record.items() if isinstance(value, str | int | float | bool)}
        yield "run", plain
        path = path / "model"
    elif (path / "model").is_dir() and not (path / "config.json").exists():
        path = path / "model"
    if (path / "keyphrase.json").is_file():
        settings = _object(path / "keyphrase.json")
        if "family" not in settings:
            raise UserError(f"{path / 'keyphrase.json'}: no 'family' in it; save the model again")
        yield "family", dict(_flat(settings))
    elif (path / "config.json").is_file():
        yield "family", {"family": "none: no keyphrase.json; `train --init` can begin from this folder"}
    if (path / "config.json").is_file():
        yield "model", _model(path)
    elif not (path / "keyphrase.json").is_file():
        raise UserError(f"{path}: no config.json and no keyphrase.json; a model folder has both")
    if (path / "tokenizer.json").is_file():
        yield "tokenizer", _tokenizer(path / "tokenizer.json")


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); save the model again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; save the model again")
    return value


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _model(path: Path) -> dict[str, Any]:
    config = _object(path / "config.json")
    facts: dict[str, Any] = {"type": config.get("model_type", "unknown")}
    halves = [name for name in ("encoder", "decoder") if isinstance(config.get(name), dict)]
    sizes = (
        "vocab_size", "hidden_size", "d_model", "num_hidden_layers", "encoder_layers", "decoder_layers",
        "num_layers", "num_decoder_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "n_positions",
    )  # fmt: skip
    for half in halves or [""]:
        part = config[half] if half else config
        facts |= {f"{half} {name}".strip(): part[name] for name in sizes if part.get(name) is not None}
    return facts | _weights(path)


def _weights(path: Path) -> dict[str, Any]:
    """Parameters by the headers of the files; nothing is loaded."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    parameters = size = 0
    files = sorted(path.glob("*.safetensors"))
    for file in files:
        size += file.stat().st_size
        try:
            with safe_open(file, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a mapping)
                    parameters += prod(weights.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(f"{file} is damaged: {error}") from error
    return {"parameters": parameters, "bytes": size} if files else {"weights": "no .safetensors file"}


def _tokenizer(path: Path) -> dict[str, Any]:
    value = _object(path)
    model = value.get("model") or {}
    added = [entry.get("content", "") for entry in value.get("added_tokens") or []]
    facts = {"type": model.get("type", "unknown"), "vocabulary": len(model.get("vocab") or [])}
    return facts | {"added tokens": len(added), "[digit] is a token": "[digit]" in added}


def _documents(options: Options) -> dict[str, Any]:
    from keyphrase_plm.layouts import read_documents

    reader = read_documents(options.path, format=options.format, limit=options.limit)
    documents = words = present = absent = with_present = with_absent = longest = 0
    for document in reader:
        length = len(document.title.split()) + len(document.body.split())
        documents += 1
        words += length
        longest = max(longest, length)
        present += len(document.present)
        absent += len(document.absent)
        with_present += bool(document.present)
        with_absent += bool(document.absent)
    return {
        "read": reader.describe(),
        "documents": documents,
        "words a document": _ratio(words, documents),
        "words in the longest": longest,
        "phrases a document": _ratio(present + absent, documents),
        "absent phrases, %": _ratio(100 * absent, present + absent),
        "documents with present phrases": with_present,
        "documents with absent phrases": with_absent,
    }


def _predictions(path: Path, limit: int | None) -> dict[str, Any]:
    from itertools import islice

    from keyphrase_plm.prediction_files import read_predictions

    predictions = list(islice(read_predictions(path), limit))
    phrases = sum(len(prediction.phrases) for prediction in predictions)
    return {
        "documents": len(predictions),
        "phrases a document": _ratio(phrases, len(predictions)),
        "documents without phrases": sum(not prediction.phrases for prediction in predictions),
        "with scores": sum(bool(prediction.scores) for prediction in predictions),
        "with places in the text": sum(bool(prediction.spans) for prediction in predictions),
        "documents cut": sum(bool(prediction.cut) for prediction in predictions),
    }


def _ratio(part: float, whole: int) -> float:
    return round(part / whole, 2) if whole else 0.0
