"""Models as folders, and what a new model can begin with (ours).

    config.json          {"format": 1, "kind": KIND, "config": {...}, "facts": {...}}: readable without torch
    model.safetensors    tensors by name; those of the sparse U-Net begin with `backbone.`
    README.md            the card

Kinds: `ponder` (all of pre-training), `backbone` (the sparse U-Net alone), and those of fine-tuning.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.files import write_json
from nonet.training.hub import LIMIT, Account, load_account, local_folder, save_folder
from nonet.training.model_card import ModelCard
from nonet.training.weight_files import WEIGHTS, read_folder, read_object
from ponderv2.model_config import PonderConfig, SpUNetConfig, from_dict, to_dict
from ponderv2.ponder import PonderModel, build_ponder
from ponderv2.spunet import SpUNet

FORMAT = 1
PONDER, BACKBONE = "ponder", "backbone"
PREFIX = "backbone."
_COUNTER = "num_batches_tracked"  # of a norm: it counts batches and is no weight
FILES = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds.

    Attributes:
        path: where.
        kind: what is in it.
        config: plain values that it was built from.
        facts: of its training, plain values; `channels` and `voxel` say what its voxels are.
    """

    path: Path
    kind: str
    config: dict[str, Any]
    facts: dict[str, Any]

    @functools.cached_property
    def state(self) -> dict[str, Tensor]:
        """Tensors by name, read when asked for."""
        return read_folder(self.path)

    def backbone(self) -> SpUNetConfig:
        """Sizes of the sparse U-Net.

        Raises:
            UserError: there is none.
        """
        if not isinstance(self.config.get("backbone"), Mapping):
            raise UserError(f"{self.path}: a model of kind {self.kind}, without a sparse U-Net")
        found: SpUNetConfig = from_dict(SpUNetConfig, self.config["backbone"], f"{self.path}/config.json")
        return found


def write_folder(
    folder: str | Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    facts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model folder, whole or not at all; of several processes the first one writes.

    Args:
        folder: new, or written by us.
        kind: what it is.
        config: plain values to build it from.
        state: tensors by name.
        card: text of README.md.
        facts: of its training, plain values.
        overwrite: replace a folder that we wrote.

    Raises:
        UserError: the folder holds something else.
    """
    note = {"format": FORMAT, "kind": kind, "config": dict(config), "facts": dict(facts or {})}
    return save_folder(_Writer(note, dict(state)), None, folder, card, overwrite=overwrite)


def read_model(name: str | Path) -> ModelFolder:
    """A model folder, a run's result, or a model from the hub.

    Args:
        name: the folder of a model or of a run, or `owner/name`.

    Raises:
        UserError: there is none, it is damaged, of another program, or of a later version.
    """
    path = Path(name)
    if path.is_file() and path.suffix in FILES:
        raise UserError(f"{name}: is a file of weights; `ponderv2 convert {name} --out FOLDER` reads it")
    if (path / "run.json").is_file():
        if not (path / "model" / "config.json").is_file():
            raise UserError(f"{name}: a run without a model yet; resume it, or name another")
        path = path / "model"
    folder = local_folder(path if path.is_dir() else str(name))
    where = folder / "config.json"
    found = read_object(where)
    if "kind" not in found or not isinstance(found.get("config"), dict):
        raise UserError(f"{where}: not of a model of ponderv2 (no kind, no config)")
    if found.get("format") != FORMAT:
        raise UserError(f"{where}: format is {found.get('format')!r}, this version reads {FORMAT}")
    return ModelFolder(folder, str(found["kind"]), found["config"], dict(found.get("facts") or {}))


def save_model(
    folder: str | Path,
    model: PonderModel,
    facts: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    state: Mapping[str, Tensor] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a pre-training model; its mask's token, which only training needs, is left out.

    Args:
        folder: new, or written by us.
        model: what to write.
        facts: of its training, plain values.
        card: text of README.md; None for a short one.
        state: weights in place of the model's own, such as those gathered of shards.
        overwrite: replace a folder that we wrote.

    Raises:
        UserError: the folder holds something else.
    """
    state = {
        name: tensor
        for name, tensor in (model.state_dict() if state is None else state).items()
        if not name.startswith("mask.")
    }
    facts = dict(facts or {})
    text = _card(Path(folder).name, facts) if card is None else card
    return write_folder(
        folder,
        kind=PONDER,
        config=to_dict(model.config),
        state=state,
        card=text,
        facts=facts,
        overwrite=overwrite,
    )


def load_model(
    name: str | Path, *, allow_partial: bool = False, say: Callable[[str], None] = print
) -> PonderModel:
    """A pre-training model in evaluation mode.

    Args:
        name: as for `read_model`.
        allow_partial: take it although over a tenth of its weights do not fit.
        say: takes the account where weights and model do not match in full.

    Raises:
        UserError: no such model, one of another kind, or its weights do not fit.
    """
    found = read_model(name)
    if found.kind != PONDER:
        raise UserError(
            f"{name}: a model of kind {found.kind}, which has nothing to render with; name one of `pretrain`"
        )
    config: PonderConfig = from_dict(PonderConfig, found.config, f"{found.path}/config.json")
    with torch.random.fork_rng(devices=[]):  # initial weights are all replaced: they cost no random numbers
        model = build_ponder(config)
    put(model, found.state, allow_partial=allow_partial, say=say, quiet=True)
    return model.eval()


def load_backbone(
    backbone: SpUNet, name: str | Path, *, allow_partial: bool = False, say: Callable[[str], None] = print
) -> Account:
    """Begin with the sparse U-Net of another model, and nothing else of it.

    Args:
        backbone: takes the weights.
        name: as for `read_model`, or a file: our tensors as safetensors, or a released checkpoint.
        allow_partial: go on although over a tenth of the weights do not fit.
        say: takes the account.

    Raises:
        UserError: no such model, or over a tenth of the backbone's weights is missing, has another shape, or
            has no place.
    """
    path = Path(name)
    if path.is_file():
        from ponderv2.converting import read_backbone

        state = read_backbone(path).state
    else:
        state = read_model(name).state
    chosen = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not chosen:
        raise UserError(f"{name}: has no tensors under {PREFIX}*, so no sparse U-Net")
    return put(backbone, chosen, allow_partial=allow_partial, say=say)


def put(
    module: torch.nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_partial: bool = False,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> Account:
    """Load tensors that fit a module, with an account of those that do not.

    Args:
        module: takes them.
        state: by name; counters of batches may be absent, as of old checkpoints.
        allow_partial: accept over a tenth that does not fit.
        say: takes the account.
        quiet: say nothing if all fits.

    Raises:
        UserError: over a tenth does not fit, and that is not allowed.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}
    other = [name for name in given if name in wanted and given[name].shape != wanted[name].shape]
    missing, unexpected = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    fits = not (missing or unexpected or other)
    try:
        account = load_account(
            missing,
            unexpected,
            other,
            len(wanted),
            say=(lambda _: None) if quiet and fits else say,
            limit=1 if allow_partial else LIMIT,
        )
    except UserError as error:
        raise UserError(f"{error} To go on all the same, give --allow-partial.") from error
    module.load_state_dict({name: value for name, value in state.items() if name not in other}, strict=False)
    return account


class _Writer:
    """What `save_folder` calls."""

    def __init__(self, note: dict[str, Any], state: dict[str, Tensor]) -> None:
        self.note, self.state = note, state

    def save_pretrained(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", self.note)
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.state.items()}
        save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})


def _card(name: str, facts: Mapping[str, Any]) -> str:
    return ModelCard(
        title=name,
        what="A 3D backbone that was pre-trained by rendering (PonderV2, Zhu et al. 2023): sparse voxels are "
        "encoded to a volume, from which frames of a depth camera have to be rendered.",
        tags=("point-cloud", "3d", "pre-training"),
        library="ponderv2",
        options=dict(facts),
        load=f'from ponderv2 import load_model\n\nmodel = load_model("{name}")\nbackbone = model.backbone',
    ).text()
