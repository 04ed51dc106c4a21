"""Writing summaries: greedy, sampled, or by beam search with the length normalisation of PEGASUS.

The search is `nonet.generation.search`; here are what is PEGASUS's own: its ids, normalisation and options.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nonet.generation import search
from nonet.generation.search import Reorder, Step, best
from pegasus.model import Summarizer
from pegasus.options import DecodeOptions
from pegasus.steps import StepDecoder

__all__ = ["EOS", "PAD", "beam_search", "best", "follow", "generate", "length_norm"]

PAD, EOS = 0, 1


def length_norm(options: DecodeOptions) -> Callable[[int], float]:
    """The divisor of a summary's log-probability as a function of its length in tokens, end token included.

    With `gnmt` and alpha 0.8 a summary of 7 tokens divides by 2^0.8 = 1.7411 (Wu et al. 2016, equation 14).
    """
    if options.length_norm == "gnmt":
        return lambda length: ((5 + length) / 6) ** options.alpha
    return lambda length: length**options.alpha


@torch.inference_mode()
def generate(
    model: Summarizer, input_ids: Tensor, attention_mask: Tensor, options: DecodeOptions
) -> tuple[Tensor, Tensor]:
    """Write a summary of each document.

    Args:
        model: PEGASUS or PEGASUS-X; put into evaluation mode for the call.
        input_ids: (B, L) int64.
        attention_mask: (B, L), 1 at tokens and 0 at padding.
        options: beams, normalisation, lengths, sampling.

    Returns:
        Tokens (B, max_length) int64, EOS and then PAD behind the end; scores (B,) float32: the normalised
        log-probability of the whole summary (of what there is, for one that never ended).
    """
    training = model.training
    model.eval()
    try:
        encoded = model.model.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        beams = options.beams
        decoder = StepDecoder(model, encoded, attention_mask, beams, options.max_length)
        norm = length_norm(options)
        if beams == 1:
            return follow(
                decoder.step, len(input_ids), norm, options, device=input_ids.device, reorder=decoder.reorder
            )
        return beam_search(
            decoder.step, decoder.reorder, len(input_ids), norm, beams=beams, steps=options.max_length,
            shortest=options.min_length, early_stop=options.alpha >= 0, device=input_ids.device,
        )  # fmt: skip
    finally:
        model.train(training)


def follow(
    step: Step,
    batch: int,
    norm: Callable[[int], float],
    options: DecodeOptions,
    *,
    device: torch.device | str = "cpu",
    reorder: Reorder | None = None,
) -> tuple[Tensor, Tensor]:
    """One token after the other: the likeliest, or one drawn among the likeliest (`top_k`, `top_p`).

    Before `min_length` the end token is not taken. With `reorder`, see `nonet.generation.search`, documents
    that are done leave the batch, unless tokens are drawn: the draws are those of the whole batch. Tokens
    (B, max_length) and scores (B,) as in `generate`.
    """
    steps, choose = options.max_length, None
    if options.top_k or options.top_p:
        generator = torch.Generator(device=device).manual_seed(options.seed)

        def choose(logits: Tensor, places: Tensor, t: int) -> Tensor:
            kept = search.likeliest(logits / options.temperature, options.top_k, options.top_p)
            return torch.multinomial(kept.softmax(-1), 1, generator=generator)[:, 0]

        reorder = None
    tokens, _, totals = search.follow(
        step, batch, steps=steps, pad=PAD, end=EOS, shortest=options.min_length, choose=choose,
        reorder=reorder, device=device,
    )  # fmt: skip
    lengths = torch.where((tokens == EOS).any(1), (tokens == EOS).long().argmax(1) + 1, steps)
    return tokens, totals / torch.tensor([norm(n) for n in lengths.tolist()], device=device)


def beam_search(
    step: Step,
    reorder: Reorder,
    batch: int,
    norm: Callable[[int], float],
    *,
    beams: int,
    steps: int,
    shortest: int = 0,
    early_stop: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The best summaries by normalised log-probability: `nonet.generation.search.beam_search` with our ids.

    Returns:
        Tokens (batch, T) and scores (batch,) of the best summary of each document.
    """
    tokens, _, scores = search.beam_search(
        step, reorder, batch, norm, beams=beams, steps=steps, pad=PAD, end=EOS, shortest=shortest,
        early_stop=early_stop, device=device,
    )  # fmt: skip
    return tokens[:, 0], scores[:, 0]
