"""Writing summaries: greedy, sampled, or by beam search with the length normalisation of PEGASUS.

The decoder is run one position at a time over the weights of transformers' modules, with three savings over
calling
those modules: keys and values of the document are computed once and are never copied per beam (the beams of
a document are rows of one query), the keys and values of the summary live in one preallocated block, and the
search ends when no unfinished beam can still overtake the finished ones.

Beam search as in the released code: each step expands every beam, keeps the best 2M continuations, of which
those that end join the finished pool with their normalised score, and the best M others live on. A finished
summary is always preferred to an unfinished one.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pegasus.model import Summarizer
from pegasus.options import DecodeOptions

# Shapes: B documents, M beams, L document tokens, T summary tokens, H heads, E width of a head, V vocabulary.

PAD, EOS = 0, 1
OUT_OF_RANGE = -1000.0  # added to the score of a summary whose length is out of bounds


def length_norm(options: DecodeOptions) -> Callable[[int], float]:
    """The divisor of a summary's log-probability as a function of its length in tokens, end token included.

    With `gnmt` and alpha 0.8 a summary of 7 tokens divides by 2^0.8 = 1.7411 (Wu et al. 2016, equation 14).
    """
    if options.length_norm == "gnmt":
        return lambda length: ((5 + length) / 6) ** options.alpha
    return lambda length: length**options.alpha


class StepDecoder:
    """The decoder of a model for one position at a time.

    Args:
        model: PEGASUS or PEGASUS-X, in evaluation mode.
        encoded: (B, L, width) the encoder's last hidden states.
        mask: (B, L), 1 at document tokens and 0 at padding.
        beams: M.
        steps: T, the longest summary.
    """

    def __init__(self, model: Summarizer, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> None:
        decoder = model.model.decoder
        self.layers, self.final_norm, self.lm_head = decoder.layers, decoder.layer_norm, model.lm_head
        self.bias = getattr(model, "final_logits_bias", None)
        if self.bias is not None and not self.bias.any():
            self.bias = None
        self.beams, self.batch = beams, encoded.shape[0]
        width = model.config.d_model
        self.heads = model.config.decoder_attention_heads
        self.head = width // self.heads
        self.embed, self.scale = (
            model.model.shared.weight,
            math.sqrt(width) if model.config.scale_embedding else 1.0,
        )
        blank = encoded.new_empty(1, steps, width)
        if hasattr(decoder.embed_positions, "weight"):
            self.positions = decoder.embed_positions(torch.Size((1, steps)))
        else:
            self.positions = decoder.embed_positions(blank)[0]
        # the document's side, once: keys and values (B, H, L, E), shared by all beams
        self.cross = [
            (self._split(layer.encoder_attn.k_proj(encoded)), self._split(layer.encoder_attn.v_proj(encoded)))
            for layer in self.layers
        ]
        self.mask = torch.where(mask[:, None, None, :].bool(), 0.0, torch.finfo(encoded.dtype).min).to(
            encoded.dtype
        )
        # the summary's side: (layer, key or value, B*M, H, T, E)
        self.cache = encoded.new_empty(len(self.layers), 2, self.batch * beams, self.heads, steps, self.head)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.heads, self.head).transpose(1, 2)

    def reorder(self, beams: Tensor, t: int) -> None:
        """Let row i of the cache continue row beams[i] of the first t positions; `beams` is (B*M,) int64."""
        self.cache[:, :, :, :, :t] = self.cache[:, :, beams, :, :t]

    def step(self, tokens: Tensor, t: int) -> Tensor:
        """Logits of the token at position t.

        Args:
            tokens: (B*M,) int64, the tokens at position t - 1; PAD at t = 0.
            t: position, from 0.

        Returns:
            (B*M, V).
        """
        rows = tokens.shape[0]
        x = F.embedding(tokens, self.embed) * self.scale + self.positions[t]
        for index, layer in enumerate(self.layers):
            h = layer.self_attn_layer_norm(x)
            attention = layer.self_attn
            keys, values = self.cache[index]
            keys[:, :, t] = attention.k_proj(h).view(rows, self.heads, self.head)
            values[:, :, t] = attention.v_proj(h).view(rows, self.heads, self.head)
            query = attention.q_proj(h).view(rows, self.heads, 1, self.head)
            mixed = F.scaled_dot_product_attention(query, keys[:, :, : t + 1], values[:, :, : t + 1])
            x = x + attention.out_proj(mixed.reshape(rows, -1))

            h = layer.encoder_attn_layer_norm(x)
            attention = layer.encoder_attn
            query = attention.q_proj(h).view(self.batch, self.beams, self.heads, self.head).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(query, *self.cross[index], attn_mask=self.mask)
            x = x + attention.out_proj(mixed.transpose(1, 2).reshape(rows, -1))

            h = layer.final_layer_norm(x)
            x = x + layer.fc2(layer.activation_fn(layer.fc1(h)))
        logits = F.linear(self.final_norm(x), self.lm_head.weight)
        return logits if self.bias is None else logits + self.bias


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
            return follow(decoder.step, len(input_ids), norm, options, device=input_ids.device)
        return beam_search(
            decoder.step, decoder.reorder, len(input_ids), norm, beams=beams, steps=options.max_length,
            shortest=options.min_length, early_stop=options.alpha >= 0, device=input_ids.device,
        )  # fmt: skip
    finally:
        model.train(training)


def follow(
    step: Callable[[Tensor, int], Tensor],
    batch: int,
    norm: Callable[[int], float],
    options: DecodeOptions,
    *,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """One token after the other: the likeliest, or one drawn among the likeliest (`top_k`, `top_p`).

    Before `min_length` the end token is not taken. Tokens (B, max_length) and scores (B,) as in `generate`.
    """
    steps = options.max_length
    tokens = torch.full((batch, steps), PAD, dtype=torch.int64, device=device)
    totals = torch.zeros(batch, dtype=torch.float32, device=device)
    lengths = torch.full((batch,), steps, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    last = torch.full((batch,), PAD, device=device)
    generator = torch.Generator(device=device).manual_seed(options.seed)
    for t in range(steps):
        logits = step(last, t).float()
        if t + 1 < options.min_length:
            logits[:, EOS] = -math.inf
        log_probs = logits.log_softmax(-1)
        if options.top_k or options.top_p:
            kept = _likeliest(logits / options.temperature, options.top_k, options.top_p)
            last = torch.multinomial(kept.softmax(-1), 1, generator=generator)[:, 0]
        else:
            last = logits.argmax(-1)
        totals += torch.where(ended, 0.0, log_probs.gather(1, last[:, None])[:, 0])
        last = torch.where(ended, PAD, last)
        tokens[:, t] = last
        lengths = torch.where(~ended & (last == EOS), t + 1, lengths)
        ended |= last == EOS
        if bool(ended.all()):
            break
    return tokens, totals / torch.tensor([norm(int(n)) for n in lengths], device=device)


def _likeliest(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """The logits of the likeliest tokens; -inf for the rest."""
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        return logits.masked_fill(logits < least, -math.inf)
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    ordered = ordered.masked_fill(
        before >= top_p, -math.inf
    )  # the first token is always kept: nothing lies before it
    return torch.full_like(logits, -math.inf).scatter(1, order, ordered)


def beam_search(
    step: Callable[[Tensor, int], Tensor],
    reorder: Callable[[Tensor, int], None],
    batch: int,
    norm: Callable[[int], float],
    *,
    beams: int,
    steps: int,
    shortest: int = 0,
    early_stop: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The best summaries by normalised log-probability.

    Args:
        step: (tokens (B*M,), t) -> logits (B*M, V) of position t.
        reorder: (rows (B*M,), t): the state of row i becomes that of rows[i] for the first t positions.
        batch: B.
        norm: divisor for a length in tokens, end token included; not decreasing.
        beams: M, at least 1.
        steps: T; a summary that has not ended by then is unfinished.
        shortest: summaries of fewer tokens score 1000 less.
        early_stop: stop when the finished summaries cannot change any more. Exact: a beam's log-probability
            only falls and its divisor is at most norm(T), so its final score is at most log-probability /
            norm(T).
        device: where the search lives.

    Returns:
        Tokens (B, T) and scores (B,) of the best summary of each document. Ties go to the lower index.
    """
    B, M, T = batch, beams, steps
    worst = torch.finfo(torch.float32).min
    alive = torch.full((B, M, T), PAD, dtype=torch.int64, device=device)
    alive_log = torch.full((B, M), worst, dtype=torch.float32, device=device)
    alive_log[:, 0] = 0.0
    done = torch.full((B, M, T), PAD, dtype=torch.int64, device=device)
    done_score = torch.full((B, M), worst, dtype=torch.float32, device=device)
    last = torch.full((B * M,), PAD, device=device)
    first_row = (torch.arange(B, device=device) * M)[:, None]
    for t in range(T):
        log_probs = step(last, t).float().log_softmax(-1).view(B, M, -1)
        V = log_probs.shape[-1]
        # log-probabilities of the dead beams of the first step stay at the bottom instead of overflowing
        total = torch.where(alive_log[:, :, None] == worst, worst, log_probs + alive_log[:, :, None])
        top_log, top = total.view(B, -1).topk(min(2 * M, M * V), dim=1)
        parent, token = top // V, top % V
        ends = token == EOS
        sequence = alive.gather(1, parent[:, :, None].expand(-1, -1, T)).clone()
        sequence[:, :, t] = token

        score = top_log / norm(t + 1) + (OUT_OF_RANGE if t + 1 < shortest else 0.0)
        pool_score = torch.cat([done_score, torch.where(ends, score, worst)], dim=1)
        done_score, place = pool_score.topk(M, dim=1)
        done = torch.cat([done, sequence], dim=1).gather(1, place[:, :, None].expand(-1, -1, T))

        alive_log, place = torch.where(ends, worst, top_log).topk(min(M, top_log.shape[1]), dim=1)
        alive = sequence.gather(1, place[:, :, None].expand(-1, -1, T))
        if t + 1 == T:
            break
        if early_stop:
            bound = alive_log[:, 0] / norm(T)  # the best that the best beam can still become
            if bool((done_score[:, 0] >= bound).all()):
                break
        if alive.shape[1] < M:
            pad = M - alive.shape[1]
            alive, alive_log = F.pad(alive, (0, 0, 0, pad)), F.pad(alive_log, (0, pad), value=worst)
            place = F.pad(place, (0, pad))
        rows = (parent.gather(1, place) + first_row).flatten()
        reorder(rows, t + 1)
        last = alive[:, :, t].flatten()
    finished = done_score[:, 0] > worst / 2
    tokens = torch.where(finished[:, None], done[:, 0], alive[:, 0])
    scores = torch.where(finished, done_score[:, 0], alive_log[:, 0] / norm(T))
    return tokens, scores
