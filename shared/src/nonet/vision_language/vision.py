"""A vision transformer of timm, opened: patches, positions, blocks and final norm one by one.

Dosovitskiy et al. 2021; CLIP's kind has a norm before the first block (Radford et al. 2021). All tokens
behind the final norm are used; where text is not as wide, a linear layer, norm and dropout follow (mPLUG).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nonet.errors import UserError
from nonet.vision_language.pair_config import PairConfig

# Shapes: B images, N patches of a grid of (rows, columns), d width, H heads, E width of a head.


class VisionTower(nn.Module):  # type: ignore[misc]
    """Images to tokens: one for the whole image (CLS), then one a patch, row by row.

    Args:
        vit: timm's `VisionTransformer` with a class token and no other extra tokens.
        width: size of the tokens that `finish` gives; another than the transformer's adds a linear layer.
        dropout: behind that linear layer.

    Attributes:
        grid: (rows, columns) of patches.
        patch: side of a patch, pixels.
        width: d, size of a token inside the blocks.
        depth: number of blocks.
        checkpointing: compute the blocks again in the backward pass instead of keeping what is inside them.

    Raises:
        UserError: a transformer of another kind.
    """

    def __init__(self, vit: nn.Module, *, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        _refuse_other(vit)
        self.vit: Any = vit
        self.width: int = self.vit.embed_dim
        self.out_width = width
        self.depth = len(self.vit.blocks)
        self.checkpointing = False
        self.adapt: nn.Module = nn.Identity()
        if width != self.width:
            self.adapt = nn.Sequential(
                nn.Linear(self.width, width), nn.LayerNorm(width, eps=1e-12), nn.Dropout(dropout)
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.vit.patch_embed.grid_size
        return int(rows), int(columns)

    @property
    def patch(self) -> int:
        """Side of a patch, pixels."""
        return int(self.vit.patch_embed.patch_size[0])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image, pixels."""
        height, width = self.vit.patch_embed.img_size
        return int(height), int(width)

    def resize(self, height: int, width: int) -> None:
        """Take images of another size from now on; the table of positions is resampled.

        Args:
            height: of an image, pixels.
            width: likewise.

        Raises:
            UserError: not whole patches.
        """
        for side in (height, width):
            if side < self.patch or side % self.patch:
                low = max(side // self.patch, 1) * self.patch
                raise UserError(
                    f"images of {side} pixels do not divide into patches of {self.patch}; "
                    f"nearest: {low} or {low + self.patch}"
                )
        self.vit.set_input_size((height, width))

    def patches(self, images: Tensor) -> Tensor:
        """Patch embeddings before positions.

        Args:
            images: (B, 3, height, width) float, normalised.

        Returns:
            (B, N, d).

        Raises:
            ValueError: images of another size than `image_size`.
        """
        if tuple(images.shape[-2:]) != self.image_size:
            found = " x ".join(map(str, images.shape[-2:]))
            taken = " x ".join(map(str, self.image_size))
            raise ValueError(f"images are {found} pixels, the model takes {taken}; resize() changes that")
        return self.vit.patch_embed(images)

    def from_patches(self, patches: Tensor) -> Tensor:
        """The first block's input from patch embeddings: CLS put before, positions added, CLIP's first norm.

        Args:
            patches: (B, N, d), as `patches` gives them, mixed or not.

        Returns:
            (B, 1 + N, d).
        """
        return self.vit.norm_pre(self.vit._pos_embed(patches))

    def embed(self, images: Tensor) -> Tensor:
        """The first block's input, (B, 1 + N, d), from images (B, 3, height, width)."""
        return self.from_patches(self.patches(images))

    def blocks(self, tokens: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Tokens behind some blocks.

        Args:
            tokens: (B, any number, d), the input of block `first`.
            first: first block, from 0.
            last: the block to stop before; None: the end.

        Returns:
            The same shape; `blocks(blocks(x, 0, 6), 6)` is `blocks(x)`.
        """
        for block in self.vit.blocks[first:last]:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return tokens

    def finish(self, tokens: Tensor) -> Tensor:
        """The last block's output (B, any number, d) behind the final norm, in text's width."""
        return self.adapt(self.vit.norm(tokens))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, height, width) -> (B, 1 + N, text's width)."""
        return self.finish(self.blocks(self.embed(images)))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def cls_attention(self, tokens: Tensor, block: int) -> Tensor:
        """How much CLS attends to each patch, the mean over heads.

        Args:
            tokens: (B, 1 + N, d), the input of the block.
            block: its number, from 0.

        Returns:
            (B, N), each row with CLS's own share adding up to 1; no gradient.
        """
        layer = self.vit.blocks[block]
        normed, attention = layer.norm1(tokens), layer.attn
        rows, length, _ = normed.shape
        heads, size = attention.num_heads, attention.head_dim
        weight, bias = attention.qkv.weight, attention.qkv.bias
        inner = heads * size
        query = F.linear(normed[:, :1], weight[:inner], None if bias is None else bias[:inner])
        key = F.linear(normed, weight[inner : 2 * inner], None if bias is None else bias[inner : 2 * inner])
        query_BH1E = attention.q_norm(query.view(rows, 1, heads, size).transpose(1, 2))
        key_BHNE = attention.k_norm(key.view(rows, length, heads, size).transpose(1, 2))
        shares_BHN = (query_BH1E @ key_BHNE.transpose(2, 3) * size**-0.5).float().softmax(-1)[:, :, 0]
        return shares_BHN.mean(1)[:, 1:]


def build_vision(config: PairConfig, *, pretrained: bool = False) -> VisionTower:
    """The vision tower that a configuration describes.

    Args:
        config: of the model.
        pretrained: with timm's weights for the name, which are fetched unless they are in the cache;
            otherwise random ones.

    Raises:
        UserError: timm has no such model, or no weights of it; a model of another kind or patch size.
    """
    vit = _named(config, pretrained) if config.vit else _sized(config)
    tower = VisionTower(vit, width=config.text_width, dropout=config.dropout)
    if tower.patch != config.patch:
        raise UserError(f"{config.vit} has patches of {tower.patch} pixels; patch is {config.patch}")
    return tower


def resample_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], *, bilinear: bool = False
) -> Tensor:
    """A table of positions for another grid; the row of CLS is kept.

    Args:
        table: (1, 1 + rows * columns, d) float.
        old: its grid, (rows, columns).
        new: the grid wanted.
        bilinear: as mPLUG does; otherwise bicubic against aliasing, as timm does.

    Returns:
        (1, 1 + new rows * new columns, d); the same values for the same grid.
    """
    from timm.layers import resample_abs_pos_embed

    if old == new:
        return table
    how: dict[str, Any] = {"interpolation": "bilinear", "antialias": False} if bilinear else {}
    return resample_abs_pos_embed(table, list(new), list(old), num_prefix_tokens=1, **how)


def _sized(config: PairConfig) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch,
        num_classes=0,
        embed_dim=config.vit_width,
        depth=config.vit_depth,
        num_heads=config.vit_heads,
        pre_norm=config.pre_norm,
        attn_drop_rate=config.vit_attention_dropout,
        # CLIP's epsilon, and that of the transformers without a first norm
        norm_layer=partial(nn.LayerNorm, eps=1e-5 if config.pre_norm else 1e-6),
        act_layer="quick_gelu" if config.quick_gelu else "gelu",
    )


def _named(config: PairConfig, pretrained: bool) -> nn.Module:
    import timm

    if config.vit.split(":")[0].split("/")[-1].split(".")[0] not in timm.list_models():
        near = timm.list_models(f"*{config.vit.split('.')[0][:12]}*")[:5]
        raise UserError(f"timm has no model {config.vit}" + (f"; near: {', '.join(near)}" if near else ""))
    try:
        return timm.create_model(
            config.vit, pretrained=pretrained, num_classes=0, img_size=config.image_size,
            attn_drop_rate=config.vit_attention_dropout,
        )  # fmt: skip
    except TypeError as error:  # a convolutional network has no img_size
        raise UserError(f"{config.vit}: not a vision transformer with one size of image ({error})") from error
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{config.vit}: its weights cannot be had from timm: {reason}") from error


def _refuse_other(vit: nn.Module) -> None:
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(vit, VisionTransformer):
        raise UserError(f"{type(vit).__name__} is not a plain vision transformer of timm")
    if vit.cls_token is None or vit.num_prefix_tokens != 1 or vit.pos_embed is None or vit.no_embed_class:
        raise UserError("the vision transformer has one class token, and a position for it, and no others")
