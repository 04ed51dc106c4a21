"""Checkpoints of the released code as models of ours: PonderV2's (Pointcept names) and UniPAD's field.

What sizes can be read off shapes is read off; the order of data sets is not in a file, and is that of the
released configurations unless it is given. Such weights were trained with the two errors of coordinates (see
`ponderv2.unit_cube`), so the model is marked `legacy`. Nothing in a checkpoint is run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.weight_files import named_tensors, read_safetensors
from ponderv2.model_config import FieldConfig, PonderConfig, SpUNetConfig, to_dict
from ponderv2.model_folders import BACKBONE, PONDER, PREFIX, put, save_model, write_folder
from ponderv2.pointcept_names import (
    CONTEXTS,
    NamePair,
    backbone_names,
    dense_names,
    field_names,
    to_ours,
)
from ponderv2.pointcept_sizes import STEM, backbone_sizes, context_order, field_sizes, ponder_sizes
from ponderv2.ponder import build_ponder
from ponderv2.spunet import build_spunet
from ponderv2.torch_arrays import load_torch_arrays

UNUSED = ("laplace_density.",)  # of VolSDF, which no released configuration renders with


class Read(NamedTuple):
    """A checkpoint under our names.

    Attributes:
        kind: ponder or backbone.
        config: PonderConfig, or SpUNetConfig for a backbone alone.
        state: our names, those of the sparse U-Net under `backbone.`.
        left: their names that no model here has.
        facts: what was found or assumed, for a reader.
    """

    kind: str
    config: PonderConfig | SpUNetConfig
    state: dict[str, Tensor]
    left: tuple[str, ...]
    facts: dict[str, str]


def convert(
    source: Path,
    out: Path,
    *,
    datasets: tuple[str, ...] | None = None,
    contexts: tuple[str, ...] | None = None,
    allow_partial: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Write a checkpoint as a model folder.

    Args:
        source: .pth of the released code, or its tensors as .safetensors.
        out: the folder.
        datasets: names of the backbone's norms, in their order there; None: the released order.
        contexts: the same names in the order of the table of contexts; None: the released order.
        allow_partial: write it although over a tenth of the weights does not fit.
        overwrite: replace a folder of ours.
        say: takes the account of the weights.

    Returns:
        What was found or assumed, for a reader, name -> text.

    Raises:
        UserError: no such file, another layout, or too little fits.
    """
    read = read_checkpoint(source, datasets=datasets, contexts=contexts)
    facts: dict[str, Any] = {"converted from": source.name, **read.facts}
    with torch.random.fork_rng(devices=[]):
        if isinstance(read.config, PonderConfig):
            model: torch.nn.Module = build_ponder(read.config)
        else:
            model = torch.nn.ModuleDict({"backbone": build_spunet(read.config)})
    named = {**read.state, **{f"original {name}": torch.empty(0) for name in read.left}}
    account = put(model, named, allow_partial=allow_partial, say=say)
    facts["weights"] = (
        f"{account.matched} matched, {len(account.missing)} missing, {len(account.unexpected)} unexpected"
    )
    if isinstance(read.config, PonderConfig):
        save_model(out, model, facts, overwrite=overwrite)  # type: ignore[arg-type]
    else:
        card = f"# {out.name}\n\nA sparse U-Net of the released PonderV2 (Zhu et al. 2023), without a head.\n"
        write_folder(
            out,
            kind=BACKBONE,
            config={"backbone": to_dict(read.config)},
            state=model.state_dict(),
            card=card,
            facts=facts,
            overwrite=overwrite,
        )
    return {name: str(text) for name, text in facts.items()}


def read_checkpoint(
    path: Path, *, datasets: tuple[str, ...] | None = None, contexts: tuple[str, ...] | None = None
) -> Read:
    """A checkpoint under our names; see `convert` for the arguments and what is raised."""
    theirs = read_tensors(path)
    if (found := unipad_field(theirs, path)) is not None:
        raise UserError(
            f"{path}: a checkpoint of UniPAD, whose backbone is none of ours; of its {len(theirs)} tensors "
            f"only the {len(found[1])} of the field fit: ponderv2.converting.unipad_field reads them"
        )
    prefix = _backbone_prefix(theirs, path)
    inner = {name.removeprefix(prefix): tensor for name, tensor in theirs.items() if name.startswith(prefix)}
    backbone, facts = backbone_sizes(inner, datasets, path)
    outer = prefix.removesuffix(PREFIX)
    order = context_order(backbone, contexts, path)
    if backbone.datasets and outer + CONTEXTS in theirs:
        facts["contexts"] = f"rows for {', '.join(order)}"
    pairs = backbone_names(backbone, contexts=order, ours=PREFIX, theirs=prefix)
    config: PonderConfig | SpUNetConfig = backbone
    kind = BACKBONE
    if "renderer.field.sdf_decoder.lin0.weight" in theirs and "proj_net.final_conv.weight" in theirs:
        kind, config = PONDER, ponder_sizes(backbone, theirs)
        pairs += dense_names(config.volume) + field_names(config.field)
        facts["legacy"] = (
            "yes: trained with features and samples 10 % apart, and a sampler outside the volume"
        )
    state, used = _renamed(pairs, theirs, path)
    left = tuple(name for name in theirs if name not in used and not any(part in name for part in UNUSED))
    if left:
        facts["left out"] = ", ".join(sorted(left)[:8]) + (
            f" and {len(left) - 8} more" if len(left) > 8 else ""
        )
    return Read(kind, config, state, left, facts)


def read_backbone(path: Path) -> Read:
    """A file's sparse U-Net under our names, of our tensors or of a released checkpoint.

    Raises:
        UserError: no such file, or none of these.
    """
    if path.suffix == ".safetensors":
        state = read_safetensors(path)
        if any(name.startswith(f"{PREFIX}stem.") for name in state):
            return Read(BACKBONE, SpUNetConfig(), state, (), {})
        if any(name.startswith("stem.") for name in state):
            return Read(
                BACKBONE, SpUNetConfig(), {PREFIX + name: value for name, value in state.items()}, (), {}
            )
    return read_checkpoint(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without `module.` of distributed training before each name.

    Raises:
        UserError: no such file, damaged, one that asks to import something, or without tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    found = load_torch_arrays(path)
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: holds no weights by name")
    arrays = {name: torch.as_tensor(value) for name, value in found.items() if hasattr(value, "dtype")}
    return named_tensors(arrays, path)


def unipad_field(theirs: Mapping[str, Tensor], path: Path) -> tuple[FieldConfig, dict[str, Tensor]] | None:
    """The perceptrons of a checkpoint of UniPAD, or None for another one.

    UniPAD gives colours [direction, features, gradient, geometry], PonderV2 and we [gradient, features,
    geometry, direction]: the columns of the first layers are put in our order.

    Returns:
        Sizes, and our names -> tensors of `field.` and `renderer.`.
    """
    start = next(
        (name for name in theirs if name.endswith("render_model.field.sdf_decoder.fc_p.weight")), None
    )
    if start is None:
        return None
    prefix = start.removesuffix("sdf_decoder.fc_p.weight")
    config = field_sizes(theirs, prefix, shared=True)
    state, _ = _renamed(field_names(config, theirs=prefix), theirs, path)
    for name, weight in state.items():
        if name.startswith("field.color.of_features.") and name.endswith("weight"):
            features = weight.shape[1] - 6 - config.geometry
            direction, volume, gradient, geometry = weight.split([3, features, 3, config.geometry], 1)
            state[name] = torch.cat([gradient, volume, geometry, direction], 1)
    return config, state


def _renamed(
    pairs: list[NamePair], theirs: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], set[str]]:
    """Our tensors, and the names of theirs that went into them."""
    state, used = {}, set()
    for pair in pairs:
        if pair.theirs in theirs:
            try:
                state[pair.ours] = to_ours(pair, theirs[pair.theirs])
            except (ValueError, IndexError) as error:
                raise UserError(f"{path}: {pair.theirs}: {error}") from error
            used.add(pair.theirs)
    return state, used


def _backbone_prefix(theirs: Mapping[str, Tensor], path: Path) -> str:
    starts = sorted({name.partition(STEM)[0] for name in theirs if STEM in name}, key=len)
    if not starts:
        held = ", ".join(sorted({name.split(".")[0] for name in theirs})[:8])
        raise UserError(f"{path}: no SpUNet of Pointcept in it (no {STEM}*); its tensors begin with {held}")
    return starts[0]
