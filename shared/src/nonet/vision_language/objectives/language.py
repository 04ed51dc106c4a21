"""Losses over tokens: masked, causal, prefix, and the two attention masks of unified VLP.

Masked language modelling: Devlin et al. 2019 for text, LXMERT and UNITER (2019) with an image. Prefix
language modelling: SimVLM (Wang et al. 2022, equation 3). Bidirectional and seq2seq: unified VLP (Zhou et al.
2020, section 3).
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B examples, L or T tokens, V vocabulary.


def token_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """-log P(label) at every position, 0 where the label is -100.

    Args:
        logits: (..., V) float.
        labels: (...) int64.
        label_smoothing: share of the target that is spread over the vocabulary.

    Returns:
        (...) float32.
    """
    flat = cross_entropy(
        widen(logits).flatten(0, -2),
        labels.flatten(),
        ignore_index=IGNORE,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return flat.view(labels.shape)


def masked_lm(logits: Tensor, labels: Tensor) -> Objective:
    """Cross entropy of the masked tokens, given the others and the image.

    loss = - 1/M sum over the M masked tokens of log P(w_m | w_rest, v). Uniform logits over 30522 tokens give
    10.326203.

    Args:
        logits: (B, L, V) float.
        labels: (B, L) int64, -100 where nothing is masked (UNITER's data have -1 there).

    Returns:
        The loss; aux: accuracy, count of masked tokens.
    """
    counted = labels != IGNORE
    hits = (logits.detach().argmax(-1) == labels).float()
    aux = {"accuracy": mean_over(hits, counted), "count": counted.sum()}
    return Objective(mean_over(token_losses(logits, labels), counted), aux)


def causal_lm(
    logits: Tensor, labels: Tensor, *, shift: bool = True, label_smoothing: float = 0.0
) -> Objective:
    """Cross entropy of each token given those before it and the image: captioning.

    loss = - 1/N sum over t of log P(w_t | w_<t, v). Three tokens with uniform logits over 4 give
    ln 4 = 1.386294.

    Args:
        logits: (B, T, V) float.
        labels: (B, T) int64, -100 for padding and for what is given.
        shift: the logits at t are of the token at t + 1, as a decoder-only model has them; False: the labels
            stand where their logits are, as those of an encoder-decoder.
        label_smoothing: see `token_losses`.

    Returns:
        The loss; aux: perplexity (without smoothing it is exp of the loss), count of tokens.
    """
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    counted = labels != IGNORE
    loss = mean_over(token_losses(logits, labels, label_smoothing=label_smoothing), counted)
    return Objective(loss, {"perplexity": loss.detach().exp(), "count": counted.sum()})


def prefix_lm(logits: Tensor, labels: Tensor, prefix: Tensor) -> Objective:
    """Cross entropy of what follows the prefix, which `prefix_attention` lets all see.

    loss = - 1/N sum over t >= T_p of log P(x_t | x_<t). T_p = 0 is `causal_lm`. The logits at t are of the
    token at t + 1, so the first token of all is never predicted.

    Args:
        logits: (B, T, V) float, image positions included.
        labels: (B, T) int64, -100 for padding.
        prefix: (B,) int64, the length T_p of each prefix.

    Returns:
        The loss; aux: perplexity, count of tokens.

    Raises:
        UserError: a prefix leaves nothing to predict, or is negative.
    """
    places = torch.arange(labels.shape[1], device=labels.device)
    counted = (labels != IGNORE) & (places >= prefix[:, None])
    bad = (prefix < 0) | ~counted[:, 1:].any(1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise UserError(
            f"example {row}: a prefix of {int(prefix[row])} of {labels.shape[1]} positions leaves nothing to "
            "predict; shorten it"
        )
    return causal_lm(logits, labels.masked_fill(~counted, IGNORE))


def bidirectional_seq2seq(logits: Tensor, labels: Tensor, seq2seq: Tensor) -> Objective:
    """Masked tokens of examples of both kinds: those with a bidirectional and those with a seq2seq mask.

    Both are masked language modelling, told apart by `mixed_attention` alone: the released code masks tokens
    in seq2seq examples too, and does not predict the next one.

    Args:
        logits: (B, L, V) float.
        labels: (B, L) int64, -100 where nothing is masked.
        seq2seq: (B,) bool.

    Returns:
        The mean over all masked tokens; aux: the means of the two kinds, bidirectional and seq2seq.
    """
    losses = token_losses(logits, labels)
    counted = labels != IGNORE
    kinds = {"bidirectional": ~seq2seq, "seq2seq": seq2seq}
    aux = {name: mean_over(losses.detach(), counted & kind[:, None]) for name, kind in kinds.items()}
    return Objective(mean_over(losses, counted), aux)
