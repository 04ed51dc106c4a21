"""An image-text model whole: two towers, the space they share, fusion, decoder and heads (ALBEF, mPLUG)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.vision_language.bert_layers import SPREAD, WordHead, initialise
from nonet.vision_language.decoder import PrefixDecoder, build_decoder
from nonet.vision_language.fusion import Fusion, build_fusion
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.text import TextTower, build_text
from nonet.vision_language.vision import VisionTower, build_vision

# Shapes: B pairs, S = 1 + N tokens of an image, L of a text, d width, e shared space, V words.


class PairModel(nn.Module):  # type: ignore[misc]
    """An image-text model with random weights; `pair_folders` loads and saves it.

    Args:
        config: its architecture.
        vision: a vision tower made already; None: a random one of the configuration.

    Attributes:
        vision: images to tokens.
        text: word pieces to tokens.
        fusion: tokens of pairs.
        decoder: writes words; None if the configuration has no layers for it.
        vision_proj, text_proj: CLS to the shared space.
        itm_head: fused text CLS to logits of (no pair, pair).
        mlm_head: fused text tokens to logits of words.
        tau: () float32, temperature of similarities; learned, and kept in range by `clamp_tau`.
    """

    def __init__(self, config: PairConfig, *, vision: VisionTower | None = None) -> None:
        super().__init__()
        self.config = config
        self.vision: VisionTower = build_vision(config) if vision is None else vision
        self.text: TextTower = build_text(config)
        self.fusion: Fusion = build_fusion(config)
        self.decoder: PrefixDecoder | None = build_decoder(config)
        width = config.text_width
        self.vision_proj, self.text_proj = nn.Linear(width, config.embed), nn.Linear(width, config.embed)
        self.itm_head = nn.Linear(width, 2)
        words = self.text.embeddings.words.weight if config.tied_words else None
        self.mlm_head = WordHead(words, width=width, vocabulary=config.vocabulary)
        initialise(self.mlm_head)
        if words is None:
            nn.init.normal_(self.mlm_head.words, std=SPREAD)
        self.tau = nn.Parameter(torch.tensor(config.tau))

    def image_features(self, tokens: Tensor) -> Tensor:
        """Image tokens (B, S, d) -> (B, e), of length 1."""
        return F.normalize(self.vision_proj(tokens[:, 0]), dim=-1)

    def text_features(self, tokens: Tensor) -> Tensor:
        """Text tokens (B, L, d) -> (B, e), of length 1."""
        return F.normalize(self.text_proj(tokens[:, 0]), dim=-1)

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, height, width), normalised -> tokens (B, S, d)."""
        return self.vision(images)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Word pieces (B, L) int64 and their mask (B, L), 0 at padding -> tokens (B, L, d)."""
        return self.text(ids, mask)

    def itm_logits(self, fused_text: Tensor) -> Tensor:
        """Fused text tokens (B, L, d) -> (B, 2); column 1 says that they belong together."""
        return self.itm_head(fused_text[:, 0])

    def mlm_logits(self, fused_text: Tensor) -> Tensor:
        """Fused text tokens (..., d) -> logits of the word at each place (..., V)."""
        return self.mlm_head(fused_text)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def clamp_tau(self) -> None:
        """Keep the temperature in its range; to be called before each step, as ALBEF does."""
        self.tau.clamp_(*self.config.tau_range)

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of images and texts, (B, e) each, whose products are cosines."""
        return self.image_features(self.encode_image(images)), self.text_features(self.encode_text(ids, mask))
