"""Text-to-image generation: a language model over image codes, and the autoencoder that makes the codes.

DALL-E (Ramesh et al. 2021, section 2) trains both; CogView and NUWA the first. Of the bound on the likelihood
that DALL-E's first stage maximises, the prior over codes is uniform.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from nonet.errors import UserError
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B pairs, T positions (text, then image codes), V all tokens, P positions of codes, K codes.

DALLE_TEXT_WEIGHT = 1 / 8
"""share of the text's mean loss; the image's has 7/8"""


def text_to_image_lm(
    logits: Tensor,
    ids: Tensor,
    image: Tensor,
    *,
    text_weight: float | None = DALLE_TEXT_WEIGHT,
    text_scale: float = 1.0,
) -> Objective:
    """Causal language model over text tokens and the image codes that follow them.

    loss = a * mean over text tokens + (1 - a) * mean over image codes of -log P(x_t | x_<t), DALL-E's a is
    1/8. With `text_weight=None` it is CogView's: one mean over all tokens, where one of the text counts
    `text_scale` times; the released script has 5.

    Args:
        logits: (B, T, V) float; those at t are of the token at t + 1. Text and image have disjoint ids.
        ids: (B, T) int64, -100 for padding.
        image: (B, T) bool: the token is an image code.
        text_weight: a, in 0..1; 0 leaves the text out.
        text_scale: weight of a text token, >= 0; it matters where `text_weight` is None.

    Returns:
        The loss; aux: text, image (the two means).
    """
    if text_weight is not None and not 0 <= text_weight <= 1:
        raise UserError(f"the weight of the text is {text_weight}; it must be in 0..1")
    labels, coded = ids[:, 1:], image[:, 1:]
    losses = token_losses(logits[:, :-1], labels)
    counted = labels != IGNORE
    text, codes = mean_over(losses, counted & ~coded), mean_over(losses, counted & coded)
    if text_weight is None:
        loss = mean_over(losses, torch.where(coded, 1.0, text_scale) * counted)
    else:
        loss = text_weight * text + (1 - text_weight) * codes
    return Objective(loss, {"text": text.detach(), "image": codes.detach()})


def discrete_elbo(reconstruction: Tensor, posterior: Tensor, *, beta: float = 1.0) -> Objective:
    """The negative evidence lower bound of a discrete autoencoder with a uniform prior.

    loss = mean over images of (-log p(x | z) + beta * sum over positions of KL(q || 1/K)), where
    KL = sum_k q_k (log q_k + ln K). Uniform posteriors have KL 0; a certain one has ln K a position. DALL-E
    raises beta to 6.6.

    Args:
        reconstruction: (B,) float, -log p(x | z) of each image, summed over pixels.
        posterior: (B, P, K) float, logits of q.
        beta: weight of the divergence.

    Returns:
        The loss; aux: reconstruction, kl (means over images), perplexity of the mean use of codes, between 1
        (one code serves all) and K.
    """
    logs = log_softmax(widen(posterior), -1)
    kl = (logs.exp() * (logs + math.log(posterior.shape[-1]))).sum((-1, -2)).mean()
    error = widen(reconstruction).mean()
    use = logs.detach().exp().flatten(0, -2).mean(0)
    aux = {
        "reconstruction": error.detach(),
        "kl": kl.detach(),
        "perplexity": torch.special.entr(use).sum().exp(),
    }
    return Objective(error + beta * kl, aux)


def logit_laplace(pixels: Tensor, mean: Tensor, log_scale: Tensor, *, margin: float = 0.1) -> Tensor:
    """-log p of pixels under DALL-E's logit-Laplace distribution (its appendix A.3), image by image.

    f(x | mu, b) = exp(-|logit(x) - mu| / b) / (2 b x (1 - x)), at x = (1 - 2 margin) * pixel + margin, which
    is inside (0, 1).

    Args:
        pixels: (B, ...) float in 0..1.
        mean: (B, ...) float, mu.
        log_scale: (B, ...) float, ln b.
        margin: by which pixels are moved off 0 and 1.

    Returns:
        (B,) float32, summed over pixels and channels.
    """
    x = (1 - 2 * margin) * widen(pixels) + margin
    mu, log_b = widen(mean), widen(log_scale)
    logit = x.log() - (-x).log1p()
    each = (logit - mu).abs() * (-log_b).exp() + log_b + math.log(2) + x.log() + (-x).log1p()
    return each.flatten(1).sum(1)
