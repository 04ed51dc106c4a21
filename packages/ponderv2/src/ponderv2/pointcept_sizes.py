"""Sizes of a released checkpoint, read off the shapes of its tensors (ours).

The order of data sets is in no file: it is that of the released configurations unless it is given.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from nonet.errors import UserError
from ponderv2.model_config import FieldConfig, PonderConfig, SpUNetConfig, VolumeConfig
from ponderv2.pointcept_names import BACKBONE_ORDER, CONTEXT_ORDER

STEM = "conv_input."


def backbone_sizes(
    inner: Mapping[str, Tensor], datasets: tuple[str, ...] | None, path: Path
) -> tuple[SpUNetConfig, dict[str, str]]:
    """Sizes of the sparse U-Net, and what was found or assumed.

    Args:
        inner: its tensors, by their names without what stands before them.
        datasets: names of its norms in their order, or None for the released ones.
        path: for errors.

    Raises:
        UserError: another form or layout, or norms without names.
    """
    several = f"{STEM}conv.weight" in inner
    stem = inner.get(f"{STEM}conv.weight" if several else f"{STEM}0.weight")
    if stem is None or stem.ndim != 5 or not stem.shape[1] == stem.shape[2] == stem.shape[3] == 5:
        what = "absent" if stem is None else f"of shape {tuple(stem.shape)}"
        raise UserError(f"{path}: the kernel of the stem is {what}; expected (out, 5, 5, 5, in) of spconv 2")
    levels = _count(inner, "down.")
    blocks, channels = [], []
    for stage in [f"enc.{level}." for level in range(levels)] + [f"dec.{level}." for level in range(levels)][
        ::-1
    ]:
        blocks.append(_count(inner, f"{stage}block"))
        kernel = inner.get(f"{stage}block0.conv2.weight")
        if kernel is None:
            raise UserError(f"{path}: no {stage}block0.conv2.weight, so a SpUNet of another form")
        channels.append(kernel.shape[0])
    norms = _count(inner, f"{STEM}bn.bns.") if several else 0
    if several and not norms:
        raise UserError(
            f"{path}: prompted norms that share their statistics ({STEM}bn.bn), which is not read"
        )
    facts = {"backbone": f"{levels} levels, channels {', '.join(map(str, channels))}"}
    if datasets is None and norms:
        if norms != len(BACKBONE_ORDER):
            raise UserError(
                f"{path}: has norms for {norms} data sets; name them in their order with --datasets"
            )
        datasets = BACKBONE_ORDER
        facts["norms"] = f"of {', '.join(datasets)}, the released order"
    elif norms != len(datasets or ()):
        named = ", ".join(datasets or ())
        raise UserError(f"{path}: has norms for {norms} data sets, and --datasets names {named}")
    elif datasets:
        facts["norms"] = f"of {', '.join(datasets)}, as asked for"
    modulation = inner.get(f"{STEM}bn.modulation.1.weight")
    config = SpUNetConfig(
        in_channels=stem.shape[4],
        stem=stem.shape[0],
        channels=tuple(channels),
        blocks=tuple(blocks),
        datasets=datasets or (),
        context=256 if modulation is None else modulation.shape[1],
    )
    return config, facts


def context_order(backbone: SpUNetConfig, contexts: tuple[str, ...] | None, path: Path) -> tuple[str, ...]:
    """The data sets in the order of the table of contexts.

    Raises:
        UserError: other names than those of the norms.
    """
    if contexts is None:
        released = backbone.datasets == BACKBONE_ORDER
        return CONTEXT_ORDER if released else backbone.datasets
    if sorted(contexts) != sorted(backbone.datasets):
        raise UserError(
            f"{path}: --contexts names {', '.join(contexts)}, and the norms are of "
            f"{', '.join(backbone.datasets) or 'no data sets'}: give the same names in the order of the table"
        )
    return contexts


def ponder_sizes(backbone: SpUNetConfig, theirs: Mapping[str, Tensor]) -> PonderConfig:
    """Sizes of the indoor model; what no shape tells is that of the released configuration."""
    widths = tuple(
        theirs[f"proj_net.encoders.{level}.basic_module.conv.weight"].shape[0]
        for level in range(_count(theirs, "proj_net.encoders."))
    )
    out = theirs["proj_net.final_conv.weight"].shape[0]
    volume = replace(VolumeConfig(), widths=widths, out=out, legacy=True)
    return PonderConfig(backbone=backbone, volume=volume, field=field_sizes(theirs, "renderer.field."))


def field_sizes(theirs: Mapping[str, Tensor], prefix: str, *, shared: bool = False) -> FieldConfig:
    """Sizes of the perceptrons; `shared` for those of outdoors."""
    last = _count(theirs, f"{prefix}sdf_decoder.lin")
    meaning = _count(theirs, f"{prefix}semantic_decoder.lin")
    return FieldConfig(
        hidden=theirs[f"{prefix}sdf_decoder.fc_p.weight"].shape[0],
        geometry=theirs[f"{prefix}sdf_decoder.lin{last - 1}.weight"].shape[0] - 1,
        sdf_layers=last,
        color_layers=_count(theirs, f"{prefix}rgb_decoder.lin"),
        semantic=theirs[f"{prefix}semantic_decoder.lin{meaning - 1}.weight"].shape[0] if meaning else 0,
        semantic_layers=max(meaning, 1),
        position=1.0 if shared else 0.0,
        shared=shared,
    )


def _count(names: Mapping[str, Tensor], start: str) -> int:
    """How many different numbers follow `start`."""
    ends = (name.removeprefix(start) for name in names if name.startswith(start))
    return len({end.partition(".")[0] for end in ends})
