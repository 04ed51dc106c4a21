"""Texts that look at images: ALBEF's crossing layers, with mPLUG's connected ones between them.

Crossing (Li et al. 2021, section 3.1): text attends to itself, then to the image. Connected (Li et al. 2022,
section 3.2): image and text attend to both at once and go through the same feed-forward part; the text is
replaced, and the image's new tokens are added to the old ones. Layer i is connected if i > 0 and the stride
divides i. A connected layer has no attention over the image alone, so none is made for it.
"""

import torch
from torch import Tensor, nn

from nonet.vision_language.bert_layers import BertLayer, Keys, initialise, looks
from nonet.vision_language.pair_config import PairConfig

# Shapes: B pairs, S tokens of an image, L of a text, d width.


class Fusion(nn.Module):  # type: ignore[misc]
    """Image and text tokens that know of one another.

    Args:
        layers: of BERT; those without attention to a source are connected layers.

    Attributes:
        connects: whether a layer is connected; if none is, the image's tokens leave as they came.
    """

    def __init__(self, layers: list[BertLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.connects = any(layer.cross_attention is None for layer in layers)

    def keys(self, image: Tensor) -> list[Keys]:
        """Keys and values of images in every layer, to be used for many texts.

        Args:
            image: (B, S, d).

        Returns:
            For each layer two tensors (B, heads, S, d / heads).

        Raises:
            ValueError: a layer is connected, so later keys depend on the text.
        """
        if self.connects:
            raise ValueError("with connected layers the image's keys depend on the text")
        return [layer.cross_attention.keys(image) for layer in self.layers]

    def forward(
        self, image: Tensor, image_mask: Tensor | None, text: Tensor, text_mask: Tensor | None,
        keys: list[Keys] | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Fuse pairs.

        Args:
            image: (B, S, d) tokens of the vision tower.
            image_mask: (B, S), 0 at padding; None: no padding.
            text: (B, L, d) tokens of the text tower.
            text_mask: (B, L), 0 at padding; None: no padding.
            keys: what `keys` gives for these images; `image` is then only returned.

        Returns:
            Image tokens (B, S, d), text tokens (B, L, d).
        """
        return self._through(len(self.layers), image, image_mask, text, text_mask, keys)

    def first_token(
        self, image: Tensor, image_mask: Tensor | None, text: Tensor, text_mask: Tensor | None,
        keys: list[Keys] | None = None,
    ) -> Tensor:  # fmt: skip
        """The text's first token, fused, (B, d): `forward(...)[1][:, 0]`, with the same arguments.

        It is all that heads of pairs read, so the last layer is run for it alone.
        """
        image, text = self._through(len(self.layers) - 1, image, image_mask, text, text_mask, keys)
        layer, first = self.layers[-1], text[:, :1]
        if layer.cross_attention is None:
            both = torch.cat([image, text], dim=1)
            both_look = looks(_both(image, image_mask, text, text_mask))
            found = layer.self_attention(first, both_look, layer.self_attention.keys(both))
        else:
            own = layer.cross_attention.keys(image) if keys is None else keys[-1]
            found = layer.self_attention(first, looks(text_mask), layer.self_attention.keys(text))
            found = layer.cross_attention(found, looks(image_mask), own)
        return layer.feed_forward(found)[:, 0]

    def _through(
        self, count: int, image: Tensor, image_mask: Tensor | None, text: Tensor, text_mask: Tensor | None,
        keys: list[Keys] | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Tokens behind the first `count` layers."""
        text_looks, image_looks = looks(text_mask), looks(image_mask)
        both_look = looks(_both(image, image_mask, text, text_mask)) if self.connects else None
        for number, layer in enumerate(self.layers[:count]):
            if layer.cross_attention is None:
                both = layer(torch.cat([image, text], dim=1), both_look)
                added, text = both.split([image.shape[1], text.shape[1]], dim=1)
                image = image + added
            else:
                own = layer.cross_attention.keys(image) if keys is None else keys[number]
                text = layer(text, text_looks, own, image_looks)
        return image, text


def build_fusion(config: PairConfig) -> Fusion:
    """A fusion with random weights, of the sizes in the configuration."""
    sizes = (config.text_width, config.text_heads, config.text_hidden, config.dropout)
    fusion = Fusion(
        [BertLayer(*sizes, crossing=not config.connected(number)) for number in range(config.fusion_layers)]
    )
    initialise(fusion)
    return fusion


def _both(image: Tensor, image_mask: Tensor | None, text: Tensor, text_mask: Tensor | None) -> Tensor | None:
    """The mask of image and text side by side, (B, S + L) bool; None: no padding in either."""
    if image_mask is None and text_mask is None:
        return None
    parts = ((image, image_mask), (text, text_mask))
    filled = [
        mask.bool() if mask is not None else torch.ones(part.shape[:2], dtype=torch.bool, device=part.device)
        for part, mask in parts
    ]
    return torch.cat(filled, dim=1)
