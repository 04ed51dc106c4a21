"""Perplexity of texts under a language model: exp of the mean negative log-likelihood of a token.

Source: Jelinek et al. 1977. It depends on the tokens: two models with other vocabularies cannot be compared.
"""

import math
from collections.abc import Sequence

from nonet.errors import UserError


def perplexity(log_probabilities: Sequence[Sequence[float]]) -> float:
    """exp(-mean log p) over all tokens of all texts together; 1 is best, the vocabulary's size is guessing.

    `perplexity([[log(1/4)] * 3])` is 4.

    Args:
        log_probabilities: natural logarithms of each text's tokens, at most 0; those that do not count left
            out.

    Returns:
        The perplexity; infinite if a token has probability 0, or if the number is too large.

    Raises:
        UserError: a logarithm is NaN or above 0, or there is no token.
    """
    tokens = 0
    parts = []
    for number, text in enumerate(log_probabilities):
        for place, value in enumerate(text):
            if not value <= 0:
                raise UserError(
                    f"text {number}, token {place} (from 0): {value} is no logarithm of a probability"
                )
            parts.append(float(value))
            tokens += 1
    if not tokens:
        raise UserError("there are no tokens, so that perplexity is not defined")
    mean = -math.fsum(parts) / tokens if -math.inf not in parts else math.inf
    return math.exp(mean) if mean < 700 else math.inf
