"""EmbedRank: candidates that mean what the document means, and not what those before them mean.

Source: Bennani-Smires et al. 2018, "Simple unsupervised keyphrase extraction using sentence embeddings",
equation 1 (maximal marginal relevance, with similarities normalised); any encoder of sentences.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError, needs
from nonet.training.hub import local_or_hub

Encoder = Callable[[Sequence[str]], np.ndarray]
"""texts to (n, d) vectors of any length"""

# Shapes: n candidates, d width of an embedding.


def sentence_encoder(folder: str | Path, *, batch: int = 64, device: str = "cpu") -> Encoder:
    """An encoder from a folder (or hub name) of sentence-transformers.

    Args:
        folder: with `modules.json`, or a plain encoder of transformers, whose pieces are then averaged.
        batch: texts encoded at once.
        device: to encode on.

    Raises:
        UserError: sentence-transformers is not installed, or cannot read the folder.
    """
    module = needs("sentence_transformers", to="embed phrases", install="keyphrase-plm[semantic]")
    where = str(folder) if Path(folder).is_dir() else local_or_hub(folder)
    try:
        model = module.SentenceTransformer(where, device=device)
    except Exception as error:
        raise UserError(f"{folder}: no sentence encoder: {error}".splitlines()[0]) from None

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors: Any = model.encode(
            list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, np.float64)

    return encode


def pick_diverse(
    candidates_nd: np.ndarray, document_d: np.ndarray, top: int, *, diversity: float = 0.5
) -> tuple[list[int], list[float]]:
    """The candidates in the order in which they are picked, and their cosines with the document.

    Args:
        candidates_nd: (n, d) vectors.
        document_d: (d,) vector of the document.
        top: how many to pick at most.
        diversity: in [0, 1]; 0 sorts by cosine, 1 heeds only the distance from those picked before.

    Source: equation 1 of the paper, lambda = 1 - diversity, similarities standardised to mean 0.5 over the
    candidates as there; ties go to the earlier candidate.
    """
    if not len(candidates_nd):
        return [], []
    unit_nd = _unit(candidates_nd)
    cosine_n = unit_nd @ _unit(document_d[None])[0]
    between_nn = unit_nd @ unit_nd.T
    np.fill_diagonal(between_nn, np.nan)
    relevance_n = _normalised(cosine_n)
    likeness_nn = np.stack([_normalised(row) for row in between_nn.T], 1)
    picked: list[int] = []
    left = np.ones(len(unit_nd), bool)
    while left.any() and len(picked) < top:
        value_n = relevance_n if not picked else (1 - diversity) * relevance_n
        if picked:
            value_n = value_n - diversity * np.nan_to_num(likeness_nn[:, picked]).max(1)
        best = int(np.where(left, np.round(value_n, 9), -np.inf).argmax())
        picked.append(best)
        left[best] = False
    return picked, [float(cosine_n[each]) for each in picked]


def _unit(vectors_nd: np.ndarray) -> np.ndarray:
    vectors_nd = np.asarray(vectors_nd, np.float64)
    length_n1 = np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    return vectors_nd / np.maximum(length_n1, 1e-12)


def _normalised(values: np.ndarray) -> np.ndarray:
    """Divided by the largest, then standardised to mean 0.5 and deviation 1; missing values stay missing."""
    known = ~np.isnan(values)
    if not known.any():
        return values
    most = values[known].max()
    scaled = values / most if most > 0 else values
    spread = scaled[known].std()
    return 0.5 + (scaled - scaled[known].mean()) / (spread if spread > 1e-12 else 1.0)
