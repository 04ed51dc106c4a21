"""Weights from files: safetensors, and pickles of which nothing is run (ours).

Old checkpoints carry an `argparse.Namespace`, which is let through by name; everything else that a pickle may
ask to import is refused.
"""

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nonet.errors import UserError

WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder, whole or in parts.

    Args:
        folder: with model.safetensors, its parts and their index, or pytorch_model.bin.

    Raises:
        UserError: none of these is there, or one is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return read_safetensors(folder / WEIGHTS)
    if (folder / _INDEX).is_file():
        parts = sorted(set(read_object(folder / _INDEX).get("weight_map", {}).values()))
        return {name: tensor for part in parts for name, tensor in read_safetensors(folder / part).items()}
    if (folder / _PICKLE).is_file():
        return named_tensors(read_pickle(folder / _PICKLE), folder / _PICKLE)
    raise UserError(f"{folder}: no weights: neither {WEIGHTS} nor {_PICKLE} is there")


def read_weight_file(path: Path) -> dict[str, Tensor]:
    """The weights of one file by name, safetensors or pickle by its ending.

    Raises:
        UserError: it is not there, damaged, asks to run something, or holds no weights.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return named_tensors(read_pickle(path), path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of one file.

    Raises:
        UserError: it is not there, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)  # type: ignore[no-any-return]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a sound safetensors file: {error}") from error


def read_pickle(path: Path) -> Any:
    """What torch.save wrote, if it is made of tensors, plain values and at most argparse's options.

    Raises:
        UserError: it is not there, no such file, or it asks to run something else.
    """
    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        asked = re.search(r"nsupported (?:global: )?GLOBAL (\S+)", str(error))  # unknown, or a blocked module
        if asked is None:
            raise UserError(f"{path}: not a checkpoint that torch can read, or a damaged one") from error
        raise UserError(
            f"{path}: asks to import {asked[1]}, which could run code, and is refused; where you trust the "
            "file, load it with its own program and save its tensors alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a checkpoint that torch can read, or a damaged one") from error


def named_tensors(found: Any, path: Path) -> dict[str, Tensor]:
    """The mapping from names to tensors inside a checkpoint, without the prefixes of wrappers.

    Args:
        found: of `read_pickle`: the mapping itself, or under `model`, `module`, `state_dict` or
            `model_state_dict`.
        path: for the error.

    Raises:
        UserError: there is none.
    """
    for key in ("model", "module", "state_dict", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    named = isinstance(found, Mapping) and {name: value for name, value in found.items() if _tensor(value)}
    if not named or not all(isinstance(name, str) for name in named):
        raise UserError(f"{path}: holds no weights by name")
    return {name.removeprefix("module."): tensor for name, tensor in named.items()}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that is one object.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def _tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
