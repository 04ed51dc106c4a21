"""Writing summaries: greedy, sampled, or by beam search with the length normalisation of PEGASUS.

Beam search as in the released code: each step expands every beam, keeps the best 2M continuations, of which
those that end join the finished pool with their normalised score, and the best M others live on. A finished
summary is always preferred to an unfinished one. A document leaves the batch when no unfinished beam of it
can still overtake its finished ones; that changes no result.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pegasus.model import Summarizer
from pegasus.options import DecodeOptions
from pegasus.steps import StepDecoder

# Shapes: B documents still searched, M beams, T summary tokens, V vocabulary, K candidates of a beam.

PAD, EOS = 0, 1
OUT_OF_RANGE = -1000.0  # added to the score of a summary whose length is out of bounds
CHUNK = 64  # tokens whose best is looked at first when the best of all are looked for
LEAVE = 4  # documents leave the batch when one in so many is done
LOOK = 4  # steps from one look at a GPU's answer, who is done, to the next

Step = Callable[[Tensor, int], Tensor]
Reorder = Callable[[Tensor, int], None]


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

    Before `min_length` the end token is not taken. With `reorder`, see `beam_search`, documents that are done
    leave the batch, unless tokens are drawn: the draws are those of the whole batch. Tokens (B, max_length)
    and scores (B,) as in `generate`.
    """
    steps = options.max_length
    draws = bool(options.top_k or options.top_p)
    generator = torch.Generator(device=device).manual_seed(options.seed) if draws else None
    tokens = torch.full((batch, steps), PAD, dtype=torch.int64, device=device)
    totals = torch.zeros(batch, dtype=torch.float32, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    here = torch.arange(batch, device=device)  # documents still in the batch
    last = torch.full((batch,), PAD, device=device)
    for t in range(steps):
        logits = step(last, t).float()
        if t + 1 < options.min_length:
            logits[:, EOS] = -math.inf
        if draws:
            kept = _likeliest(logits / options.temperature, options.top_k, options.top_p)
            last = torch.multinomial(kept.softmax(-1), 1, generator=generator)[:, 0]
        else:
            last = logits.argmax(-1)
        log_probs = logits.log_softmax(-1).gather(1, last[:, None])[:, 0]
        over = ended[here]
        totals[here] += torch.where(over, 0.0, log_probs)
        last = torch.where(over, PAD, last)
        tokens[here, t] = last
        over |= last == EOS
        ended[here] = over
        done = _count(over, t, device)
        if done == len(here):
            break
        if reorder is not None and not draws and done * LEAVE >= len(here):
            rows = (~over).nonzero()[:, 0]
            reorder(rows, t + 1)
            here, last = here[rows], last[rows]
    lengths = torch.where(ended, (tokens == EOS).long().argmax(1) + 1, steps)
    return tokens, totals / torch.tensor([norm(n) for n in lengths.tolist()], device=device)


def _count(done: Tensor, t: int, device: torch.device | str) -> int:
    """How many are done; on a GPU, where asking means waiting, 0 except at every LOOK-th step."""
    if torch.device(device).type != "cpu" and (t + 1) % LOOK:
        return 0
    return int(done.sum())


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


def best(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row, descending, and their columns: `topk`, faster on long rows.

    The k best lie in the k chunks whose largest values are the best, so that only these are looked through.

    Args:
        values: (N, V).
        k: at most V.

    Returns:
        (N, k) values and (N, k) int64 columns.
    """
    whole = values.shape[1] // CHUNK
    if whole < 4 * k:
        return tuple(values.topk(k))  # type: ignore[return-value]
    chunks = values[:, : whole * CHUNK].unflatten(1, (whole, CHUNK))
    first = chunks.amax(-1).topk(k, sorted=False).indices[:, :, None]
    found = chunks.gather(1, first.expand(-1, -1, CHUNK)).flatten(1)
    columns = (first * CHUNK + torch.arange(CHUNK, device=values.device)).flatten(1)
    rest = torch.arange(whole * CHUNK, values.shape[1], device=values.device)
    found = torch.cat([found, values[:, whole * CHUNK :]], 1)
    columns = torch.cat([columns, rest.expand(len(values), -1)], 1)
    top, place = found.topk(k)
    return top, columns.gather(1, place)


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
    """The best summaries by normalised log-probability.

    Args:
        step: (tokens (B*M,), t) -> logits (B*M, V) of position t.
        reorder: (rows, t): the state of row i becomes that of rows[i] for the first t positions. Fewer rows
            than before are those of fewer documents, in their old order.
        batch: documents.
        norm: divisor for a length in tokens, end token included; not decreasing.
        beams: M, at least 1.
        steps: T; a summary that has not ended by then is unfinished.
        shortest: summaries of fewer tokens score 1000 less.
        early_stop: let a document go when its finished summaries cannot change any more. Exact: a beam's
            log-probability only falls and its divisor is at most norm(T), so its final score is at most
            log-probability / norm(T).
        device: where the search lives.

    Returns:
        Tokens (batch, T) and scores (batch,) of the best summary of each document.
    """
    M, T = beams, steps
    worst = torch.finfo(torch.float32).min
    tokens = torch.full((batch, T), PAD, dtype=torch.int64, device=device)
    scores = torch.zeros(batch, dtype=torch.float32, device=device)
    here = torch.arange(batch, device=device)  # documents still in the batch
    alive = torch.full((batch, M, T), PAD, dtype=torch.int64, device=device)
    alive_log = torch.full((batch, M), worst, dtype=torch.float32, device=device)
    alive_log[:, 0] = 0.0
    done = torch.full((batch, M, T), PAD, dtype=torch.int64, device=device)
    done_score = torch.full((batch, M), worst, dtype=torch.float32, device=device)
    last = torch.full((batch * M,), PAD, device=device)
    for t in range(T):
        log_probs = step(last, t).float().log_softmax(-1)
        B, K = len(here), min(2 * M, log_probs.shape[-1])
        candidates, columns = (part.view(B, M, K) for part in best(log_probs, K))
        # the dead beams of the first step stay at the bottom instead of overflowing
        total = torch.where(alive_log[:, :, None] == worst, worst, candidates + alive_log[:, :, None])
        top_log, top = total.flatten(1).topk(min(2 * M, M * K), dim=1)
        parent, token = top // K, columns.flatten(1).gather(1, top)
        ends = token == EOS
        sequence = alive.gather(1, parent[:, :, None].expand(-1, -1, T))
        sequence[:, :, t] = token

        score = top_log / norm(t + 1) + (OUT_OF_RANGE if t + 1 < shortest else 0.0)
        pool_score = torch.cat([done_score, torch.where(ends, score, worst)], dim=1)
        done_score, place = pool_score.topk(M, dim=1)
        done = torch.cat([done, sequence], dim=1).gather(1, place[:, :, None].expand(-1, -1, T))

        alive_log, place = torch.where(ends, worst, top_log).topk(min(M, top_log.shape[1]), dim=1)
        alive = sequence.gather(1, place[:, :, None].expand(-1, -1, T))
        if t + 1 == T:
            break
        if alive.shape[1] < M:
            pad = M - alive.shape[1]
            alive, alive_log = F.pad(alive, (0, 0, 0, pad)), F.pad(alive_log, (0, pad), value=worst)
            place = F.pad(place, (0, pad))
        rows = parent.gather(1, place) + (torch.arange(B, device=device) * M)[:, None]
        if early_stop:
            over = done_score[:, 0] >= alive_log[:, 0] / norm(T)  # what the best beam can still become
            count = _count(over, t, device)
            if count == B:
                break
            if count * LEAVE >= B:
                tokens[here[over]], scores[here[over]] = done[over, 0], done_score[over, 0]
                stay = ~over
                here, rows, alive, alive_log = here[stay], rows[stay], alive[stay], alive_log[stay]
                done, done_score = done[stay], done_score[stay]
        reorder(rows.flatten(), t + 1)
        last = alive[:, :, t].flatten()
    finished = done_score[:, 0] > worst / 2
    tokens[here] = torch.where(finished[:, None], done[:, 0], alive[:, 0])
    scores[here] = torch.where(finished, done_score[:, 0], alive_log[:, 0] / norm(T))
    return tokens, scores
