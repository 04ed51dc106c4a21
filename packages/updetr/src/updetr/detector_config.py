"""What a detection transformer is made of: plain data, so that options and help load no torch (ours).

The sizes by default are those of DETR (Carion et al. 2020) and of the released UP-DETR (Dai et al. 2021,
section 3.3): pre-norm, 6 + 6 layers of 256, 100 queries.
"""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Arch = Literal["detr-prenorm", "detr", "deformable-detr", "rt-detr"]


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Architecture of a detector; `updetr.json` in a model folder."""

    arch: Arch = "detr-prenorm"
    """detr-prenorm: the released UP-DETR; detr: post-norm; the other two are transformers' own"""
    backbone: str = "resnet50"
    """resnet18, 26, 34, 50, 101, resnet-tiny (3 stages, stride 16), or a folder or hub name of another"""
    dilation: bool = False
    """dilate the last stage instead of striding (DC5)"""
    width: int = 256
    """size of a query"""
    heads: int = 8
    """attention heads"""
    encoder_layers: int = 6
    """layers of the encoder"""
    decoder_layers: int = 6
    """layers of the decoder"""
    hidden: int = 2048
    """units of the feed-forward blocks"""
    dropout: float = 0.1
    """share of zeroed units, on attention's probabilities too"""
    queries: int = 100
    """object queries: the most boxes of an image"""
    patches: int = 10
    """patches of an image in pre-training; divides the queries"""
    patch_tokens: int = 1
    """k: a patch is k x k pooled features; 1: their mean, as in the paper"""
    labels: tuple[str, ...] = ("patch",)
    """names of the classes; no object is one more, the last"""
    reconstruct: bool = True
    """whether there is a head that reconstructs patch features"""

    def __post_init__(self) -> None:
        if self.queries % self.patches:
            valid = [n for n in range(1, self.queries + 1) if self.queries % n == 0]
            raise UserError(
                f"{self.queries} queries cannot be shared by {self.patches} patches; "
                f"patches may be {', '.join(map(str, valid))}"
            )
        if self.width % self.heads or self.width % 4:
            raise UserError(f"width is {self.width}; it is divisible by {self.heads} heads and by 4")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout:g}; it lies in [0, 1)")

    @property
    def group(self) -> int:
        """Queries of one patch, N / M."""
        return self.queries // self.patches
