"""What an image-text model is made of: plain data, so that options and help load no torch (ours).

The sizes by default are those of the configuration released with TiMix (Jiang et al. 2024): CLIP's ViT-B/16
at 256 pixels, BERT's first 12 layers, 3 fusion layers, a decoder of 12. ALBEF (Li et al. 2021) is 6 + 6
without a decoder, mPLUG base (Li et al. 2022) 6 + 6 + 12 with every third fusion layer connected.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.options import build

CONFIG = "pair_model.json"  # in a model's folder


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Architecture of an image-text model; `pair_model.json` in a model folder."""

    vit: str = "vit_base_patch16_clip_quickgelu_224"
    """name of a vision transformer in timm; empty: one of the next six sizes"""
    vit_width: int = 0
    """size of an image token, without a name"""
    vit_depth: int = 0
    """blocks, without a name"""
    vit_heads: int = 0
    """attention heads, without a name"""
    pre_norm: bool = True
    """norm before the first block and no bias on patches, as in CLIP; without a name"""
    quick_gelu: bool = True
    """CLIP's x * sigmoid(1.702 x) in place of GELU; without a name"""
    patch: int = 16
    """side of a patch, pixels; of a named transformer it is checked"""
    image: int = 256
    """height of the images, pixels"""
    image_width: int = 0
    """width of the images, pixels; 0: as high"""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """of red, green and blue in 0..1, taken off; CLIP's"""
    deviation: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """that they are divided by; CLIP's"""
    vit_attention_dropout: float = 0.1
    """share of the vision transformer's attention that is zeroed in training"""
    text: str = "bert-base-uncased"
    """folder or hub name of the BERT whose weights a new model starts from; empty: random ones"""
    vocabulary: int = 30522
    """word pieces"""
    text_width: int = 768
    """size of a text token, of the fusion and of the decoder"""
    text_heads: int = 12
    """attention heads of text, fusion and decoder"""
    text_hidden: int = 3072
    """units of their feed-forward parts"""
    positions: int = 512
    """rows of the table of positions: the longest text"""
    text_layers: int = 12
    """layers of the text encoder"""
    fusion_layers: int = 3
    """layers in which texts look at images"""
    stride: int = 0
    """every how many fusion layers one is connected (image and text in one attention), the first excepted;
    0: never"""
    decoder_layers: int = 12
    """layers of the decoder; 0: none"""
    tied_words: bool = True
    """masked words are guessed with the text encoder's word table; mPLUG has a second table"""
    dropout: float = 0.1
    """share of zeroed units and attention of text, fusion and decoder"""
    embed: int = 256
    """size of the space that images and texts share"""
    tau: float = 0.07
    """temperature of the similarities at the start"""
    tau_range: tuple[float, float] = (0.001, 0.5)
    """bounds that the temperature is kept in"""
    max_length: int = 20
    """word pieces of a text with [CLS] and [SEP]; the rest is cut off"""

    def __post_init__(self) -> None:
        least = {"image": 1, "patch": 1, "vocabulary": 1, "text_layers": 1, "fusion_layers": 1, "embed": 1,
                 "max_length": 3, "text_width": 1, "text_heads": 1, "text_hidden": 1, "stride": 0,
                 "decoder_layers": 0, "image_width": 0}  # fmt: skip
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least {low}")
        sizes = (self.vit_width, self.vit_depth, self.vit_heads)
        if self.vit and any(sizes):
            raise UserError(
                f"vit is {self.vit}, whose sizes are fixed: leave out vit_width, vit_depth, vit_heads"
            )
        if not self.vit and min(sizes) < 1:
            raise UserError("without a name in vit, give vit_width, vit_depth and vit_heads")
        for width, heads, words in (
            (self.vit_width, self.vit_heads or 1, "vit_width"),
            (self.text_width, self.text_heads, "text_width"),
        ):
            if width % heads:
                raise UserError(f"{words} is {width}; it is divisible by {heads} heads")
        for side in self.image_size:
            _whole_patches(side, self.patch)
        if self.max_length > self.positions:
            raise UserError(f"max_length is {self.max_length}; the table of positions has {self.positions}")
        if min(self.deviation) <= 0:
            raise UserError(f"deviation is {self.deviation}; its numbers are above 0")
        low_tau, high_tau = self.tau_range
        if not 0 < low_tau <= self.tau <= high_tau:
            raise UserError(f"tau is {self.tau:g}; it lies in tau_range, {low_tau:g} to {high_tau:g}")
        for name in ("dropout", "vit_attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it lies in [0, 1)")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image, pixels."""
        return self.image, self.image_width or self.image

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.image_size
        return height // self.patch, width // self.patch

    def connected(self, layer: int) -> bool:
        """Whether a fusion layer (from 0) attends over image and text together."""
        return self.stride > 0 and layer > 0 and layer % self.stride == 0

    def as_json(self) -> str:
        """The text of `pair_model.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def config_from(values: Mapping[str, Any], source: str) -> PairConfig:
    """A configuration from what a file says.

    Args:
        values: by the names of `PairConfig`.
        source: where they are from, for the error.

    Raises:
        UserError: an unknown name, or a value that does not fit.
    """
    return build(PairConfig, [(values, source)])


def read_config(folder: Path) -> PairConfig:
    """The configuration in a model's folder.

    Raises:
        UserError: the folder has none, or a damaged one.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG} in it, so no image-text model") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a mapping")
    return config_from(values, str(path))


def _whole_patches(side: int, patch: int) -> None:
    if side % patch:
        low = side // patch * patch
        near = f"{low} or {low + patch}" if low else str(patch)
        raise UserError(f"images of {side} pixels do not divide into patches of {patch}; nearest: {near}")


TINY = PairConfig(
    vit="", vit_width=64, vit_depth=3, vit_heads=4, patch=8, image=48, text="", vocabulary=512, text_width=64,
    text_heads=4, text_hidden=256, positions=64, text_layers=2, fusion_layers=1, decoder_layers=1, embed=64,
)  # fmt: skip
"""What demonstrations and the experiments on a CPU train."""
