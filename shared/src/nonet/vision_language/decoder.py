"""The decoder that writes the rest of a text: BERT's layers, each word seeing those before it and a source.

mPLUG (Li et al. 2022, section 3.3): the source is image and text tokens side by side, the image first; the
words that come out are those of the table that goes in.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from nonet.generation.steps import Layer, StepDecoder, joined
from nonet.vision_language.bert_layers import BertLayer, TextEmbeddings, WordHead, initialise, looks
from nonet.vision_language.pair_config import PairConfig

# Shapes: B texts, L tokens, S tokens of the source, d width, V words, R rows of a step.


class PrefixDecoder(nn.Module):  # type: ignore[misc]
    """Logits of each next word.

    Args:
        embeddings: of words and positions.
        layers: of BERT, with attention to a source.
        head: logits from tokens.
    """

    def __init__(self, embeddings: TextEmbeddings, layers: list[BertLayer], head: WordHead) -> None:
        super().__init__()
        self.embeddings, self.layers, self.head = embeddings, nn.ModuleList(layers), head

    def hidden(
        self, ids: Tensor, mask: Tensor | None, source: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, L, d) behind the layers; arguments as those of `forward`."""
        length = ids.shape[-1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        own = looks(mask)
        if own is not None:  # a padded word in front would see nothing at all: it always sees itself
            ahead = (ahead & own) | torch.eye(length, dtype=torch.bool, device=ids.device)
        tokens: Tensor = self.embeddings(ids)
        for layer in self.layers:
            keys = layer.cross_attention.keys(source)
            tokens = layer(tokens, ahead, keys, looks(source_mask))
        return tokens

    def forward(
        self, ids: Tensor, mask: Tensor | None, source: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        """Logits of the word behind each word.

        Args:
            ids: (B, L) int64.
            mask: (B, L), 0 at padding; None: no padding.
            source: (B, S, d) what is described: image tokens, then text tokens.
            source_mask: (B, S), 0 at padding; None: no padding.

        Returns:
            (B, L, V); position t is about word t + 1.
        """
        return self.head(self.hidden(ids, mask, source, source_mask))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def steps(self, source: Tensor, source_mask: Tensor | None, *, beams: int, steps: int) -> StepDecoder:
        """The decoder one position at a time, for `nonet.generation.search`; it is in evaluation mode then.

        Args:
            source: (B, S, d).
            source_mask: (B, S), 0 at padding; None: no padding.
            beams: rows of each item.
            steps: longest output.

        Raises:
            ValueError: more steps than positions.
        """
        most = self.embeddings.positions.num_embeddings
        if steps > most:
            raise ValueError(f"{steps} steps; the model has positions for {most}")
        self.eval()
        heads = self.layers[0].self_attention.heads
        mask = source.new_ones(source.shape[:2]) if source_mask is None else source_mask
        return StepDecoder(
            [_parts(layer) for layer in self.layers],
            lambda tokens, t: self.embeddings(tokens[:, None], t)[:, 0],
            self.head,
            source,
            mask,
            heads=heads,
            width=source.shape[-1] // heads,
            beams=beams,
            steps=steps,
        )


def build_decoder(config: PairConfig) -> PrefixDecoder | None:
    """A decoder with random weights, of the sizes in the configuration; None if it has no layers."""
    if not config.decoder_layers:
        return None
    embeddings = TextEmbeddings(config.vocabulary, config.text_width, config.positions, config.dropout)
    sizes = (config.text_width, config.text_heads, config.text_hidden, config.dropout)
    layers = [BertLayer(*sizes, crossing=True) for _ in range(config.decoder_layers)]
    head = WordHead(embeddings.words.weight, width=config.text_width, vocabulary=config.vocabulary)
    decoder = PrefixDecoder(embeddings, layers, head)
    initialise(decoder)
    return decoder


def _parts(layer: BertLayer) -> Layer:
    own, cross = layer.self_attention, layer.cross_attention
    if cross is None:
        raise ValueError("a decoder's layer attends to a source")
    weight, bias = joined(own.query, own.key, own.value)
    project: Callable[[Tensor], Tensor] = partial(nn.functional.linear, weight=weight, bias=bias)
    return Layer(
        project, own.behind, cross.query, cross.behind, layer.feed_forward, cross.key, cross.value
    )  # fmt: skip
