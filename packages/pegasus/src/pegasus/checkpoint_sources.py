"""Checkpoints of every origin as one thing: arrays by name, whose names they are, what else there is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nonet.errors import UserError
from pegasus.checkpoint_names import Style, style_of

Origin = Literal["auto", "tf1", "flax", "hf", "npz"]


@dataclass(frozen=True)
class Source:
    """A checkpoint that was opened."""

    where: Path
    origin: Origin
    style: Style
    """whose names the arrays have"""
    arrays: Mapping[str, Any]
    """name -> numpy array, or torch tensor for `hf`"""
    ignored: dict[str, int] = field(default_factory=dict)
    """what else the file holds, and how many of it: optimiser slots, say"""
    config: dict[str, Any] | None = None
    """config.json of a Hugging Face folder"""


def detect(where: Path) -> Origin:
    """What kind of checkpoint a path is.

    Raises:
        UserError: nothing that can be read.
    """
    if where.is_dir():
        if (where / "config.json").is_file():
            return "hf"
        if list(where.glob("*.index")):
            return "tf1"
        if list(where.glob("checkpoint_*")):
            return "flax"
        raise UserError(
            f"{where} holds neither config.json (Hugging Face), nor *.index (TensorFlow), nor checkpoint_N "
            "(Flax)"
        )
    if where.suffix == ".npz":
        return "npz"
    if where.suffix == ".index" or where.with_name(where.name + ".index").is_file() or ".data-" in where.name:
        return "tf1"
    if where.is_file():
        return "flax"
    raise UserError(f"file {where.name} not found in {where.parent}; nothing is downloaded here")


def open_source(where: str | Path, origin: Origin = "auto", *, verify: bool = True) -> Source:
    """Open a checkpoint of any kind.

    Args:
        where: file, folder, or the common beginning of a TensorFlow checkpoint's files.
        origin: its kind; `auto`: by what is there.
        verify: compare TensorFlow's checksums.

    Raises:
        UserError: nothing is there, it is damaged, or its names are not those of a PEGASUS.
    """
    where = Path(where)
    if origin == "auto":
        origin = detect(where)
    if origin == "hf":
        return _hf(where)
    if origin == "tf1":
        from pegasus.tf_checkpoint import Checkpoint

        checkpoint = Checkpoint(where, verify=verify)
        return _sorted_out(where, origin, checkpoint, list(checkpoint))
    if origin == "flax":
        from pegasus.flax_checkpoint import load

        flat = load(where)
        inside = {
            name.removeprefix("params/"): array for name, array in flat.items() if name.startswith("params/")
        }
        arrays = inside or flat
        ignored = {"optimiser and training state": len(flat) - len(arrays)} if inside else {}
        return _sorted_out(where, origin, arrays, list(arrays), ignored)
    if not where.is_file():
        raise UserError(f"file {where.name} not found in {where.parent}; name an .npz file")
    try:
        archive = np.load(where, allow_pickle=False)
        arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, AttributeError) as error:
        raise UserError(f"{where} is no .npz archive of plain arrays: {error}") from error
    arrays = {name.replace(".", "/") if _dotted_flax(name) else name: array for name, array in arrays.items()}
    return _sorted_out(where, origin, arrays, list(arrays))


def _dotted_flax(name: str) -> bool:
    return name.startswith(("encoder.", "decoder.", "shared_embedding."))


def _sorted_out(
    where: Path,
    origin: Origin,
    arrays: Mapping[str, Any],
    names: list[str],
    ignored: dict[str, int] | None = None,
) -> Source:
    """Leave out what is not a weight."""
    counts = dict(ignored or {})
    kept = []
    for name in names:
        if "Adafactor" in name:
            counts["Adafactor slots"] = counts.get("Adafactor slots", 0) + 1
        elif name.rsplit("/", 1)[-1] == "global_step":
            counts["global_step"] = counts.get("global_step", 0) + 1
        else:
            kept.append(name)
    style = style_of(kept)
    if style is None:
        raise UserError(
            f"{where} is no PEGASUS: no embeddings/weights (TensorFlow), shared_embedding/embedding (Flax) "
            f"or model.shared.weight (Hugging Face) is among its {len(kept)} names, such as "
            f"{', '.join(sorted(kept)[:3])}"
        )
    return Source(where, origin, style, _Chosen(arrays, kept), counts)


class _Chosen(Mapping[str, Any]):
    """Some of a mapping's keys, read when they are asked for."""

    def __init__(self, arrays: Mapping[str, Any], names: list[str]) -> None:
        self._arrays, self._names = arrays, dict.fromkeys(names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._arrays[name]

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _hf(folder: Path) -> Source:
    if not (folder / "config.json").is_file():
        raise UserError(f"file config.json not found in {folder}; nothing is downloaded here")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is no JSON: {error}") from error
    kind = config.get("model_type")
    if kind not in ("pegasus", "pegasus_x"):
        raise UserError(f"{folder / 'config.json'} is of a {kind} model; pegasus or pegasus_x is expected")
    tensors = _tensors(folder)
    # Older files repeat shared weights, and name the bare model without `model.`
    bare = not any(name.startswith("model.") for name in tensors)
    tensors = {f"model.{name}" if bare else name: tensor for name, tensor in tensors.items()}
    twins = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    there = [name for name in ("model.shared.weight", *twins) if name in tensors]
    if not there:
        raise UserError(f"{folder}: no model.shared.weight among its {len(tensors)} weights; no PEGASUS")
    tensors.setdefault("model.shared.weight", tensors[there[0]])
    kept: dict[str, Any] = {}
    ignored: dict[str, int] = {}
    for name, tensor in tensors.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            shared = tensors["model.shared.weight"]
            if tensor.shape != shared.shape or (tensor != shared).any():
                raise UserError(f"{folder}: {name} differs from model.shared.weight; PEGASUS shares them")
            ignored["copies of the embeddings"] = ignored.get("copies of the embeddings", 0) + 1
        else:
            kept[name] = tensor
    return Source(folder, "hf", "hf", kept, ignored, config)


def _tensors(folder: Path) -> dict[str, Any]:
    """All weights of a folder: safetensors, in one or several files, or a torch file of plain tensors."""
    for stem, read in (("model.safetensors", _safetensors), ("pytorch_model.bin", _torch_file)):
        if (folder / f"{stem}.index.json").is_file():
            index = json.loads((folder / f"{stem}.index.json").read_text(encoding="utf-8"))["weight_map"]
            tensors: dict[str, Any] = {}
            for name in sorted(set(index.values())):
                if Path(name).name != name or not (folder / name).is_file():
                    raise UserError(f"file {name} not found in {folder}; {stem}.index.json names it")
                tensors |= read(folder / name)
            return tensors
        if (folder / stem).is_file():
            return read(folder / stem)
    raise UserError(
        f"file model.safetensors or pytorch_model.bin not found in {folder}; nothing is downloaded here"
    )


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _torch_file(path: Path) -> dict[str, Any]:
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{path} holds more than plain tensors, or is damaged; save it as safetensors"
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__}; a mapping of tensors is expected")
    return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}
