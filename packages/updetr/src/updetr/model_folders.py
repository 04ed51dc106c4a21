"""What a model folder says and holds, read but not built (ours).

    config.json, model.safetensors, preprocessor_config.json    a detector of transformers
    updetr.json                                                  sizes, image size, facts of the training
    pretext.safetensors                                          after pre-training: the patches' two heads

Folders and hub names of transformers' `TableTransformerForObjectDetection` and `DetrForObjectDetection` are
read, too. Of deformable-detr and rt-detr the classes of transformers themselves are inside.
"""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from nonet.errors import UserError
from nonet.training.hub import local_folder
from nonet.training.weight_files import read_folder, read_object, read_safetensors
from updetr.backbones import RESNETS
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import CLASSES, SIZES, FromConfig, read_config, sizes_of
from updetr.hf_weights import class_of, from_hf

NOTE = "updetr.json"
PRETEXT = "pretext.safetensors"
SUMMARY = "summary.json"
"""in the folder of several seeds, the numbers of each, their mean and deviation"""
FORMAT = 1
_CHECKPOINTS = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".safetensors")


class Source(NamedTuple):
    """What a model folder holds, read but not built.

    Attributes:
        folder: where.
        config: of the detector.
        backbone: config of a backbone that transformers builds, or None.
        state: tensors of the detector under our names.
        pretext: those of the patches' heads, none for a detector alone.
        left: names in the file that no detector has.
        sizes: shortest and longest side of images, pixels.
        facts: of the training.
    """

    folder: Path
    config: DetectorConfig
    backbone: dict[str, Any] | None
    state: dict[str, Tensor]
    pretext: dict[str, Tensor]
    left: tuple[str, ...]
    sizes: tuple[int, int]
    facts: dict[str, Any]


def read_source(name: str | Path) -> Source:
    """Everything in a model folder; see `load_model`."""
    folder = model_folder(name)
    found = read_object(folder / "config.json")
    note = read_note(folder)
    if note is None:
        config, backbone = _foreign(found, str(folder / "config.json"))
        sizes, facts = _foreign_sizes(folder), dict[str, Any]()
    else:
        config, sizes, facts = note
        built = config.arch in CLASSES and config.backbone not in RESNETS
        backbone = found.get("backbone_config") if built else None
    state = read_folder(folder)
    pretext = read_safetensors(folder / PRETEXT) if (folder / PRETEXT).is_file() else {}
    if config.arch not in CLASSES:
        return Source(folder, config, backbone, state, pretext, (), sizes, facts)
    right, ours = class_of(state), CLASSES[config.arch]
    if right != ours:
        raise UserError(
            f"{folder}: config.json is for {ours}, but the weights are those of a {right}: "
            f"{'their encoder ends with a LayerNorm' if right == CLASSES['detr-prenorm'] else 'post-norm'}; "
            f"set model_type and architectures to those of {right}"
        )
    renamed = from_hf(state, own_backbone=backbone is None)
    return Source(folder, config, backbone, renamed.state, pretext, renamed.left, sizes, facts)


def model_folder(name: str | Path) -> Path:
    """The folder of a model, of a run's result, or of a model from the hub.

    Raises:
        UserError: there is none, or one for each of several seeds, which are named; a checkpoint file is
            named with the command that converts it.
    """
    text = str(name).removeprefix("hf:")
    path = Path(text)
    if path.is_file() and path.suffix in _CHECKPOINTS:
        raise UserError(f"{name}: is a checkpoint file; `updetr convert {name} --out FOLDER` reads it")
    if path.is_file():
        raise UserError(
            f"{name}: is no model: that is a folder, or for `updetr convert` a checkpoint file that ends in "
            f"{', '.join(_CHECKPOINTS[:-1])} or {_CHECKPOINTS[-1]}"
        )
    if (path / "run.json").is_file():
        seeds = seed_runs(path)
        if seeds:
            raise UserError(
                f"{name}: {len(seeds)} runs with different seeds; name {' or '.join(map(str, seeds[:5]))}"
            )
        if not (path / "model" / "config.json").is_file():
            raise UserError(f"{name}: a run without a model yet; resume it, or name another")
        path = path / "model"
        text = str(path)
    return local_folder(text)


def seed_runs(path: Path) -> list[Path]:
    """Runs below the folder of a fine-tuning with several seeds, those that have a model, by their seeds."""
    found = [folder for folder in path.glob("seed-*") if (folder / "model" / "config.json").is_file()]
    return sorted(found, key=lambda folder: (len(folder.name), folder.name))


def read_note(folder: Path) -> tuple[DetectorConfig, tuple[int, int], dict[str, Any]] | None:
    """Sizes of the model, of images, and facts from updetr.json; None where there is none.

    Raises:
        UserError: it is damaged, or of a later version.
    """
    path = folder / NOTE
    if not path.is_file():
        return None
    found = read_object(path)
    if found.get("format") != FORMAT:
        raise UserError(f"{path}: format is {found.get('format')!r}, this version reads {FORMAT}")
    try:
        entries = dict(found["detector"])
        entries["labels"] = tuple(entries["labels"])
        shortest, longest = map(int, found["sizes"])
        return DetectorConfig(**entries), (shortest, longest), dict(found.get("training") or {})
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{path}: {error}") from error
        raise UserError(f"{path}: damaged ({error}); save the model again") from error


def read_config_of(folder: Path) -> tuple[DetectorConfig, tuple[int, int]]:
    """Sizes of a folder's model and of images, without its weights; see `read_source` for what is raised."""
    note = read_note(folder)
    if note is not None:
        return note[0], note[1]
    where = folder / "config.json"
    return _foreign(read_object(where), str(where)).detector, _foreign_sizes(folder)


def _foreign(found: dict[str, Any], where: str) -> FromConfig:
    if found.get("model_type") in ("deformable_detr", "rt_detr"):
        from updetr.other_detectors import read_config as read_other

        return FromConfig(read_other(found, where), None)
    return read_config(found, where)


def _foreign_sizes(folder: Path) -> tuple[int, int]:
    path = folder / "preprocessor_config.json"
    return sizes_of(read_object(path)) if path.is_file() else SIZES
