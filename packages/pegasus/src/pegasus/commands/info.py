"""The verb `info`: what a model, tokenizer, shard or run folder, or a checkpoint, is."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model, tokenizer, shard or run folder, or a checkpoint, holds."""

    path: Path
    """a folder, a SentencePiece model, an .npz file, or a TensorFlow or Flax checkpoint"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.cli.facts import print_facts

    print_facts(describe(options.path), as_json=options.json)
    return 0


def describe(path: Path) -> dict[str, dict[str, Any]]:
    """Part -> name -> value, for every part that the path holds: run, model, tokenizer, shards, checkpoint.

    Raises:
        UserError: nothing that this package knows.
    """
    if not path.exists() and not path.with_name(path.name + ".index").exists():
        raise UserError(f"{path} does not exist")
    facts = dict(_parts(path))
    if not facts:
        names = (
            ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) if path.is_dir() else path.suffix
        )
        raise UserError(
            f"{path} is no model, tokenizer, shard or run folder, and no checkpoint; it has {names}"
        )
    return facts


def _parts(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if (path / "run.json").is_file():
        yield "run", _run(path)
        if (path / "model").is_dir():
            yield from _parts(path / "model")
        return
    if (path / "config.json").is_file():
        yield "model", _model(path)
    if path.suffix == ".model" or list(path.glob("*.model")) or (path / "tokenizer.json").is_file():
        from pegasus.tokenizer import Tokenizer, describe

        yield "tokenizer", describe(Tokenizer.load(path))
    if (path / "index.json").is_file():
        yield "shards", _shards(path)
    if path.is_dir():
        is_checkpoint = any(path.glob("*.index")) or any(path.glob("checkpoint_[0-9]*"))
    else:
        is_checkpoint = path.suffix not in (".model", ".json")
    if is_checkpoint:
        yield "checkpoint", _checkpoint(path)


def _run(path: Path) -> dict[str, Any]:
    record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    return {name: value for name, value in record.items() if isinstance(value, str | int | float | bool)}


def _model(path: Path) -> dict[str, Any]:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    if kind not in ("pegasus", "pegasus_x"):
        return {"type": kind, "runs here": "no: pegasus or pegasus_x is expected"}
    wanted = (
        "vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads",
        "encoder_ffn_dim", "activation_function", "scale_embedding", "max_position_embeddings",
        "position_style", "num_global_tokens", "block_size", "dropout", "dtype",
    )  # fmt: skip
    from transformers import PegasusConfig, PegasusXConfig

    full = (PegasusXConfig if kind == "pegasus_x" else PegasusConfig).from_dict(config).to_dict()
    facts: dict[str, Any] = {"type": kind}
    for name in wanted:
        if full.get(name) is not None:
            given = "" if name in config else " (transformers' default)"
            facts[name] = full[name] if not given else f"{full[name]}{given}"
    if kind == "pegasus" and "position_style" not in config:
        facts["position_style"] = "not stored: tf for released vocabularies (96,103), else hf"
    return facts | _weights(path)


def _weights(path: Path) -> dict[str, Any]:
    """Parameters by the headers of the files; nothing is loaded."""
    from safetensors import SafetensorError, safe_open

    parameters = count = size = 0
    for file in sorted(path.glob("*.safetensors")):
        size += file.stat().st_size
        try:
            with safe_open(file, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a mapping)
                    number = 1
                    for length in weights.get_slice(name).get_shape():
                        number *= length
                    count += 1
                    if not name.endswith(("embed_positions.weight", "final_logits_bias")):
                        parameters += number
        except SafetensorError as error:
            raise UserError(f"{file} is damaged: {error}") from error
    if not count:
        return {"weights": "no model.safetensors"}
    return {"parameters": parameters, "weights": count, "bytes": size}


def _shards(path: Path) -> dict[str, Any]:
    from nonet.data.shards import Shards

    shards = Shards(path)
    has_pieces = not len(shards) or "pieces" in shards.columns
    tokens = int(shards.lengths("pieces").sum()) if has_pieces else "no column of pieces"
    return {"documents": len(shards), "tokens": tokens, **dict(_flat(shards.meta))}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _checkpoint(path: Path) -> dict[str, Any]:
    from pegasus.checkpoint_names import sizes_of
    from pegasus.checkpoint_sources import open_source

    source = open_source(path, verify=False)
    sizes = sizes_of(source.arrays, source.style)
    return {
        "origin": source.origin,
        "names": source.style,
        "weights": len(source.arrays),
        "parameters": sum(int(source.arrays[name].size) for name in source.arrays),
        "encoder layers": sizes.encoder_layers,
        "decoder layers": sizes.decoder_layers,
        "long inputs": sizes.long,
        **source.ignored,
    }
