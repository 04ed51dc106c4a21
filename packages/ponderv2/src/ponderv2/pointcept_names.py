"""Names and layouts of the released code's weights beside ours, for reading and for writing (ours).

The released code is built on Pointcept and spconv. Its voxels are (batch, x, y, z), so its kernels run over
x, y, z and ours over z, y, x; a 1 x 1 x 1 submanifold layer is raw memory seen as (in, out). Its prompted
norms are numbered in the order of the backbone's list of data sets, and the contexts are rows of a table in
the order of the list of the model around it: two orders, of the same names.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nonet.kernels.sparse_conv_spconv import taps_of_spconv, weight_of_taps
from ponderv2.model_config import FieldConfig, SpUNetConfig, VolumeConfig

Layout = Literal["plain", "taps", "pointwise", "row", "scalar"]
BACKBONE_ORDER = ("scannet", "s3dis", "structured3d")
CONTEXT_ORDER = ("structured3d", "scannet", "s3dis")
CONTEXTS = "embedding_table.weight"
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_LINEAR = ("weight", "bias")


class NamePair(NamedTuple):
    """One weight in both codes.

    Attributes:
        ours: its name here.
        theirs: its name there.
        layout: plain: the same tensor; taps: a sparse kernel; pointwise: one of a single tap; row: one of a
            table's rows; scalar: a number, which they keep as a list of one.
        row: which one.
    """

    ours: str
    theirs: str
    layout: Layout = "plain"
    row: int = 0


def to_ours(pair: NamePair, theirs: Tensor) -> Tensor:
    """Their tensor in our layout.

    Raises:
        ValueError: it has another one.
    """
    if pair.layout == "taps":
        return taps_of_spconv(theirs, axes="xyz").contiguous()
    if pair.layout == "pointwise":  # (1, in, out), and a linear layer keeps (out, in)
        return taps_of_spconv(theirs, axes="xyz", pointwise=True)[0].T.contiguous()
    if pair.layout == "row":
        return theirs[pair.row].clone()
    return theirs.reshape(()) if pair.layout == "scalar" else theirs


def to_theirs(pair: NamePair, ours: Tensor) -> Tensor:
    """Our tensor in their layout; rows of a table are joined by `pointcept_state`."""
    if pair.layout == "taps":
        return weight_of_taps(ours, axes="xyz")
    if pair.layout == "pointwise":
        return weight_of_taps(ours.T[None], axes="xyz", pointwise=True)
    return ours.reshape(1) if pair.layout == "scalar" else ours


def pointcept_state(pairs: list[NamePair], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under their names and in their layout.

    Args:
        pairs: of the parts to write.
        state: ours by name.
    """
    found, rows = {}, {}
    for pair in pairs:
        if pair.layout == "row":
            rows[pair.row] = state[pair.ours]
        elif pair.ours in state:
            found[pair.theirs] = to_theirs(pair, state[pair.ours])
    if rows:
        found[CONTEXTS] = torch.stack([rows[number] for number in sorted(rows)])
    return found


def backbone_names(
    config: SpUNetConfig,
    *,
    contexts: tuple[str, ...] | None = None,
    ours: str = "",
    theirs: str = "backbone.",
) -> list[NamePair]:
    """Of the sparse U-Net: SpUNet-v1m1 of Pointcept, and v1m3 where there are data sets.

    Args:
        config: its sizes; `datasets` in the order of their backbone.
        contexts: the same names in the order of their table of contexts; None: the order of `datasets`.
        ours: what our names begin with.
        theirs: what theirs begin with.
    """
    pairs = [NamePair(ours + a, theirs + b, layout) for a, b, layout in _backbone(config)]
    outer = theirs.removesuffix("backbone.")  # the table belongs to the model around the backbone
    order = config.datasets if contexts is None else contexts
    for name in config.datasets:
        pairs.append(NamePair(f"{ours}contexts.{name}", outer + CONTEXTS, "row", order.index(name)))
    return pairs


def dense_names(config: VolumeConfig, *, ours: str = "dense.", theirs: str = "proj_net.") -> list[NamePair]:
    """Of the dense U-Net: their UNet3D-v1m2."""
    pairs: list[tuple[str, str]] = []

    def conv(a: str, b: str) -> None:
        pairs.extend((f"{a}.0.{leaf}", f"{b}.batchnorm.{leaf}") for leaf in _NORM)
        pairs.append((f"{a}.1.weight", f"{b}.conv.weight"))

    for level in range(len(config.widths)):
        conv(f"down.{level}", f"encoders.{level}.basic_module")
    for level in range(len(config.widths) - 1):
        pairs.extend(
            (f"widen.{level}.{leaf}", f"decoders.{level}.upsampling.upsample.{leaf}") for leaf in _LINEAR
        )
        conv(f"up.{level}", f"decoders.{level}.basic_module")
    pairs.extend((f"final.{leaf}", f"final_conv.{leaf}") for leaf in _LINEAR)
    return [NamePair(ours + a, theirs + b) for a, b in pairs]


def field_names(config: FieldConfig, *, theirs: str = "renderer.field.") -> list[NamePair]:
    """Of the perceptrons and the sharpness."""
    parts = [("sdf", "sdf_decoder", config.sdf_layers), ("color", "rgb_decoder", config.color_layers)]
    if config.semantic:
        parts.append(("semantic", "semantic_decoder", config.semantic_layers))
    pairs = [NamePair("renderer.sharpness", f"{theirs}deviation_network.variance", "scalar")]
    for part, decoder, count in parts:
        a, b = f"field.{part}", f"{theirs}{decoder}"
        for leaf in _LINEAR:
            pairs.append(NamePair(f"{a}.of_point.{leaf}", f"{b}.fc_p.{leaf}"))
            for layer in range(count):
                pairs.append(NamePair(f"{a}.of_features.{layer}.{leaf}", f"{b}.fc_c.{layer}.{leaf}"))
                pairs.append(NamePair(f"{a}.layers.{layer}.{leaf}", f"{b}.lin{layer}.{leaf}"))
    return pairs


def _backbone(config: SpUNetConfig) -> Iterator[tuple[str, str, Layout]]:
    several = bool(config.datasets)

    def norm(a: str, b: str) -> Iterator[tuple[str, str, Layout]]:
        for leaf in _NORM:
            if not several:
                yield f"{a}.plain.{leaf}", f"{b}.{leaf}", "plain"
            for number, name in enumerate(config.datasets):
                yield f"{a}.of.{name}.{leaf}", f"{b}.bns.{number}.{leaf}", "plain"
        for leaf in _LINEAR if several else ():
            yield f"{a}.modulation.{leaf}", f"{b}.modulation.1.{leaf}", "plain"

    def unit(a: str, b: str) -> Iterator[tuple[str, str, Layout]]:
        yield f"{a}.conv.weight", f"{b}.{'conv' if several else '0'}.weight", "taps"
        yield from norm(f"{a}.norm", f"{b}.{'bn' if several else '1'}")

    def block(a: str, b: str, project: bool) -> Iterator[tuple[str, str, Layout]]:
        for number in (1, 2):
            yield f"{a}.conv{number}.weight", f"{b}.conv{number}.weight", "taps"
            yield from norm(f"{a}.norm{number}", f"{b}.bn{number}")
        if project:
            yield f"{a}.project.weight", f"{b}.{'proj_conv' if several else 'proj.0'}.weight", "pointwise"
            yield from norm(f"{a}.project_norm", f"{b}.{'proj_norm' if several else 'proj.1'}")

    levels = len(config.channels) // 2
    yield from unit("stem", "conv_input")
    for level in range(levels):
        yield from unit(f"down.{level}", f"down.{level}")
        for number in range(config.blocks[level]):
            yield from block(f"encoder.{level}.{number}", f"enc.{level}.block{number}", False)
    for step in range(levels):  # we go up from the coarsest level, they number from the finest
        level = levels - 1 - step
        yield from unit(f"up.{step}", f"up.{level}")
        for number in range(config.blocks[levels + step]):
            yield from block(f"decoder.{step}.{number}", f"dec.{level}.block{number}", number == 0)
