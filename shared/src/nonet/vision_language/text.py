"""The text encoder: the first layers of BERT, without its pooler (Devlin et al. 2019; ALBEF, section 3.1)."""

from torch import Tensor, nn

from nonet.vision_language.bert_layers import BertLayer, TextEmbeddings, initialise, looks
from nonet.vision_language.pair_config import PairConfig

# Shapes: B texts, L tokens, d width.


class TextTower(nn.Module):  # type: ignore[misc]
    """Word pieces to tokens.

    Args:
        embeddings: of words and positions.
        layers: of BERT, without attention to a source.

    Attributes:
        width: d.
    """

    def __init__(self, embeddings: TextEmbeddings, layers: list[BertLayer]) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(layers)
        self.width = embeddings.words.embedding_dim

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens of texts.

        Args:
            ids: (B, L) int64, word pieces with [CLS] in front.
            mask: (B, L), 1 at tokens and 0 at padding; None: no padding.

        Returns:
            (B, L, d); what stands at padding means nothing.

        Raises:
            ValueError: longer than the table of positions.
        """
        most = self.embeddings.positions.num_embeddings
        if ids.shape[-1] > most:
            raise ValueError(f"a text of {ids.shape[-1]} word pieces; the model has positions for {most}")
        tokens: Tensor = self.embeddings(ids)
        for layer in self.layers:
            tokens = layer(tokens, looks(mask))
        return tokens


def build_text(config: PairConfig) -> TextTower:
    """A text tower with random weights, of the sizes in the configuration."""
    embeddings = TextEmbeddings(config.vocabulary, config.text_width, config.positions, config.dropout)
    sizes = (config.text_width, config.text_heads, config.text_hidden, config.dropout)
    tower = TextTower(embeddings, [BertLayer(*sizes) for _ in range(config.text_layers)])
    initialise(tower)
    return tower
