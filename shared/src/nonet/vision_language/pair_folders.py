"""Image-text models as folders: saved whole, found by path or hub name, loaded with an account (ours).

pair_model.json       architecture, image size, normalisation
model.safetensors     weights; tables that parts share are written once
tokenizer.json ...    the tokenizer
NAME.safetensors      weights of an added part, such as a patch detector or a task's head
training.json         what its training took (`training_stages`)
nonet.json, README.md what was written, and the card
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from nonet.errors import UserError
from nonet.files import write_text
from nonet.training.hub import LIMIT, Account, load_account, local_folder, save_folder
from nonet.training.weight_files import WEIGHTS, read_safetensors
from nonet.vision_language.pair_config import CONFIG, PairConfig, read_config
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.vision import resample_positions

POSITIONS = "vision.vit.pos_embed"


class LoadedPair(NamedTuple):
    """A model from a folder.

    Attributes:
        model: in evaluation mode.
        tokenizer: of transformers; None if the folder has none.
        folder: where it was.
        account: which weights were found.
    """

    model: PairModel
    tokenizer: Any
    folder: Path
    account: Account


def save_pair_model(
    model: PairModel, tokenizer: Any, folder: str | os.PathLike[str], card: str, *,
    extras: Mapping[str, nn.Module] | None = None, files: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write a model's folder, whole or not at all; of several processes the first one writes.

    Args:
        model: what to save.
        tokenizer: of transformers; None for none.
        folder: where.
        card: text of README.md.
        extras: added parts by the name of their file, without `.safetensors`.
        files: further texts by file name, such as the settings of a task.
        overwrite: replace a folder that was written by us.

    Returns:
        The folder.

    Raises:
        UserError: it exists, and may not be replaced.
    """
    parts = _Parts(model, extras or {}, files or {})
    return save_folder(parts, tokenizer, folder, card, overwrite=overwrite)


def pair_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a model, of a run's model, or of a model from the hub.

    Raises:
        UserError: there is none.
    """
    path = Path(name).expanduser()
    if (path / CONFIG).is_file():
        return path
    if (path / "model" / CONFIG).is_file():
        return path / "model"
    if (path / "run.json").is_file():
        raise UserError(f"{name}: a run without a model yet; resume it, or name another")
    if path.is_dir():
        held = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise UserError(f"{name}: no {CONFIG} in this folder, so no image-text model; it holds {held}")
    if path.is_file():
        raise UserError(
            f"{name}: is a file; name a model's folder (a checkpoint of others is converted first)"
        )
    found = local_folder(os.fspath(name))
    if not (found / CONFIG).is_file():
        raise UserError(f"{name}: no {CONFIG} in it, so no image-text model of this kind")
    return found


def load_pair_model(
    name: str | os.PathLike[str], *, say: Callable[[str], None] = print, image: int | None = None,
    max_length: int | None = None, config: PairConfig | None = None, limit: float = LIMIT,
) -> LoadedPair:  # fmt: skip
    """A model from its folder; positions are resampled for another size of image.

    Args:
        name: folder of a model or run, or hub name.
        say: takes the account of the weights if anything does not match.
        image: height and width of images, pixels; None: as the model was trained.
        max_length: word pieces of a text; None: as the model was trained.
        config: another architecture for the same weights (with a decoder, say); None: the folder's.
        limit: share of weights that may not match.

    Raises:
        UserError: no such model, a damaged one, or one whose weights hardly match.
    """
    folder = pair_folder(name)
    old = read_config(folder)
    new = old if config is None else config
    if image is not None:
        new = dataclasses.replace(new, image=image, image_width=0)
    if max_length is not None:
        new = dataclasses.replace(new, max_length=max_length)
    model = PairModel(new)
    account = load_weights(model, read_safetensors(folder / WEIGHTS), old.grid, say=say, limit=limit)
    return LoadedPair(model.eval(), load_tokenizer(folder), folder, account)


def load_weights(
    model: PairModel, weights: Mapping[str, Tensor], grid: tuple[int, int], *,
    say: Callable[[str], None] = print, limit: float = LIMIT, bilinear: bool = False,
) -> Account:  # fmt: skip
    """Copy what fits into a model, positions resampled, and say so unless everything fits.

    Args:
        model: changed in place.
        weights: by the model's names.
        grid: rows and columns of patches that the weights' table of positions is for.
        say: takes the account.
        limit: share of weights that may not match.
        bilinear: resample positions as mPLUG does.

    Raises:
        UserError: more than that does not match; the model is unchanged then.
    """
    found = dict(weights)
    if POSITIONS in found and grid != model.vision.grid:
        if found[POSITIONS].shape[1] != 1 + grid[0] * grid[1]:
            raise UserError(
                f"the table of positions has {found[POSITIONS].shape[1]} rows, which is not "
                f"1 + {grid[0]} x {grid[1]}"
            )
        found[POSITIONS] = resample_positions(found[POSITIONS], grid, model.vision.grid, bilinear=bilinear)
        say(f"positions: resampled from {grid[0]} x {grid[1]} to {' x '.join(map(str, model.vision.grid))}")
    return copy_weights(model, found, say=say, limit=limit)


def copy_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    say: Callable[[str], None] = print,
    limit: float = LIMIT,
) -> Account:
    """Copy what fits into a module, with an account; arguments and errors as those of `load_weights`."""
    own = tensors_of(module)
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    other = sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    quiet = not (missing or unexpected or other)
    account = load_account(
        missing, unexpected, other, len(own), say=(lambda _: None) if quiet else say, limit=limit
    )
    fitting = {name: weights[name] for name in own.keys() & weights.keys() if name not in set(other)}
    module.load_state_dict(fitting, strict=False)
    return account


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once: a shared table under its first name."""
    names = dict(module.named_parameters())
    kept = set(module.state_dict())
    names.update((name, value) for name, value in module.named_buffers() if name in kept)
    return {name: value.detach() for name, value in names.items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, path, {"format": "pt"})


def load_extra(folder: Path, name: str, part: nn.Module, *, say: Callable[[str], None] = print) -> bool:
    """Load an added part that was saved under a name, if there is one.

    Args:
        folder: of the model.
        name: of the part's file, without `.safetensors`.
        part: changed in place.
        say: takes the account if anything does not match.

    Returns:
        Whether the folder has it.

    Raises:
        UserError: it has, and it does not match.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        return False
    copy_weights(part, read_safetensors(path), say=say)
    return True


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder; None if it has none.

    Raises:
        UserError: it is damaged.
    """
    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    ):
        return None
    from transformers import AutoTokenizer, BertTokenizer

    kind = AutoTokenizer if (folder / "tokenizer_config.json").is_file() else BertTokenizer
    try:
        return kind.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: its tokenizer cannot be read: {reason}") from error


class _Parts:
    """A model and its added parts, as `save_folder` takes them."""

    def __init__(self, model: PairModel, extras: Mapping[str, nn.Module], files: Mapping[str, str]) -> None:
        self.model, self.extras, self.files = model, extras, files

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        write_text(folder / CONFIG, self.model.config.as_json())
        save_tensors(folder / WEIGHTS, tensors_of(self.model))
        for name, part in self.extras.items():
            save_tensors(folder / f"{name}.safetensors", tensors_of(part))
        for name, text in self.files.items():
            write_text(folder / name, text)
