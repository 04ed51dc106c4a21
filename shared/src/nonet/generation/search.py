"""Writing sequences with any model that gives logits by position: greedy, drawn, or by beam search.

Ours. Beam search is that of the code released with PEGASUS (Zhang et al. 2020): each step expands every beam,
keeps the best 2M continuations, of which those that end join the finished pool with their normalised score,
and the best M others live on. A finished sequence is always preferred to an unfinished one. A row leaves the
batch when it is done, which changes no result.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.data.batching import generator

# Shapes: B items still searched, M beams, R rows of the step, T tokens, V vocabulary, K candidates or kept.

OUT_OF_RANGE = -1000.0  # added to the score of a sequence that is too short
CHUNK = 64  # tokens whose best is looked at first when the best of all are looked for
LEAVE = 4  # rows leave the batch when one in so many is done
LOOK = 4  # steps from one look at a GPU's answer, who is done, to the next

Step = Callable[[Tensor, int], Tensor]
"""(tokens (R,) at position t - 1, t) -> logits (R, V) of position t"""
Reorder = Callable[[Tensor, int], None]
"""(rows, t): the state of row i becomes that of rows[i] for the first t positions; fewer rows than before are
those that stay, in their old order"""
Choose = Callable[[Tensor, Tensor, int], Tensor]
"""(logits (R, V), places (R,) of the rows in the first batch, t) -> tokens (R,)"""


class Written(NamedTuple):
    """What a search wrote.

    Attributes:
        tokens: (B, T) or, of a beam search, (B, K, T) int64; padding behind the end.
        log_probs: of each token, of the same shape, float32; 0 behind the end. Of the distribution after
            blocked tokens are taken out (beam search: before), and before temperature. Of a beam search
            without `traced`, of no width.
        scores: (B,) or (B, K) float32: log-probability of the whole sequence, normalised in a beam search.
    """

    tokens: Tensor
    log_probs: Tensor
    scores: Tensor


def repeated_ngrams(tokens: Tensor, size: int, vocabulary: int) -> Tensor:
    """Which next tokens would write a run of tokens a second time.

    Args:
        tokens: (R, t) int64, all that is written, from the start token on.
        size: tokens of the run, at least 1.
        vocabulary: V.

    Returns:
        (R, V) bool. After `a b c a b` and with size 3, that is `c`.
    """
    rows, written = tokens.shape
    found = torch.zeros(rows, vocabulary + 1, dtype=torch.bool, device=tokens.device)
    if written < size:
        return found[:, :-1]
    runs = tokens.unfold(1, size, 1)
    same = (runs[:, :, :-1] == tokens[:, None, written - size + 1 :]).all(-1)
    found.scatter_(1, torch.where(same, runs[:, :, -1], vocabulary), True)
    return found[:, :-1]


def likeliest(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """The logits of the likeliest tokens; -inf for the rest.

    Args:
        logits: (R, V).
        top_k: how many; 0: by `top_p` alone.
        top_p: the least set with this share of the probability (of what `top_k` leaves); 1 or 0: all.
    """
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if not 0 < top_p < 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    shares = ordered.softmax(-1)
    before = shares.cumsum(-1) - shares
    ordered = ordered.masked_fill(before >= top_p, -math.inf)  # nothing lies before the first: it is kept
    return torch.full_like(logits, -math.inf).scatter(1, order, ordered)


class Draws:
    """Draws tokens; what a sequence draws depends on its own key alone, not on the batch.

    Position t of the sequence with a key takes number t of a stream of its own, and the token at which the
    cumulative probability passes it.

    Args:
        seed: of all.
        keys: for each row of the batch what names its sequence, such as (document id, number of the sample).
        steps: T.
        temperature: divides the logits.
        top_k: see `likeliest`.
        top_p: see `likeliest`.
        device: of the logits.
    """

    def __init__(
        self, seed: int, keys: Sequence[tuple[int | str, ...]], steps: int, *, temperature: float = 1.0,
        top_k: int = 0, top_p: float = 1.0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        streams = [torch.from_numpy(generator(seed, "draw", *key).random(steps)) for key in keys]
        self.numbers = (torch.stack(streams) if streams else torch.zeros(0, steps)).to(device)

    def __call__(self, logits: Tensor, places: Tensor, t: int) -> Tensor:
        """Tokens (R,) for logits (R, V) of the rows at `places` (R,); see `Choose`."""
        kept = likeliest(logits.float() / self.temperature, self.top_k, self.top_p)
        passed = kept.double().softmax(-1).cumsum(-1)
        wanted = self.numbers[places, t, None] * passed[:, -1:]
        tokens = torch.searchsorted(passed, wanted, right=True)[:, 0]
        return torch.where(tokens == logits.shape[1], kept.argmax(-1), tokens)  # rounded up to the very end


def follow(
    step: Step,
    batch: int,
    *,
    steps: int,
    pad: int,
    end: int,
    start: int | None = None,
    shortest: int = 0,
    no_repeat_ngram: int = 0,
    choose: Choose | None = None,
    reorder: Reorder | None = None,
    group: int = 1,
    device: torch.device | str = "cpu",
) -> Written:
    """One token after the other: the likeliest, or what `choose` says.

    Args:
        step: see `Step`.
        batch: rows.
        steps: T, the longest sequence.
        pad: id behind the end.
        end: id that ends a sequence.
        start: id before the first token; without it `pad`.
        shortest: the end is not taken before so many tokens, end included.
        no_repeat_ngram: see `repeated_ngrams`; 0: off.
        choose: see `Choose`; without it the likeliest.
        reorder: with it, rows that are done leave the batch.
        group: so many rows that follow one another leave together.
        device: where the search lives.

    Returns:
        (batch, T) each, and the sum of log-probabilities (batch,).
    """
    start = pad if start is None else start
    tokens = torch.full((batch, steps + 1), pad, dtype=torch.int64, device=device)
    tokens[:, 0] = start
    logs = torch.zeros(batch, steps, dtype=torch.float32, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    here = torch.arange(batch, device=device)  # rows still in the batch
    last = torch.full((batch,), start, device=device)
    for t in range(steps if batch else 0):
        logits = step(last, t).float()
        if t + 1 < shortest:
            logits[:, end] = -math.inf
        if no_repeat_ngram:
            logits.masked_fill_(
                repeated_ngrams(tokens[here, : t + 1], no_repeat_ngram, logits.shape[1]), -math.inf
            )
        last = logits.argmax(-1) if choose is None else choose(logits, here, t)
        over = ended[here]
        log_probs = logits.gather(1, last[:, None])[:, 0] - logits.logsumexp(-1)
        logs[here, t] = torch.where(over, 0.0, log_probs)
        last = torch.where(over, pad, last)
        tokens[here, t + 1] = last
        over |= last == end
        ended[here] = over
        if group > 1:
            over = over.view(-1, group).all(1, keepdim=True).expand(-1, group).flatten()
        done = _count(over, t, device)
        if done == len(here):
            break
        if reorder is not None and done * LEAVE >= len(here):
            rows = (~over).nonzero()[:, 0]
            reorder(rows, t + 1)
            here, last = here[rows], last[rows]
    return Written(tokens[:, 1:], logs, logs.sum(1))


def _count(done: Tensor, t: int, device: torch.device | str) -> int:
    """How many are done; on a GPU, where asking means waiting, 0 except at every LOOK-th step."""
    if torch.device(device).type != "cpu" and (t + 1) % LOOK:
        return 0
    return int(done.sum())


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
        return tuple(values.topk(k))
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
    pad: int,
    end: int,
    start: int | None = None,
    shortest: int = 0,
    no_repeat_ngram: int = 0,
    early_stop: bool = True,
    keep: int = 1,
    traced: bool = False,
    device: torch.device | str = "cpu",
) -> Written:
    """The best sequences by normalised log-probability.

    Args:
        step: see `Step`; rows are the M beams of the first item, then those of the second, and so on.
        reorder: see `Reorder`; items leave with all their beams.
        batch: items.
        norm: divisor for a length in tokens, end token included; not decreasing if `early_stop`.
        beams: M, at least 1.
        steps: T; a sequence that has not ended by then is unfinished.
        pad: id behind the end.
        end: id that ends a sequence.
        start: id before the first token; without it `pad`.
        shortest: sequences of fewer tokens score 1000 less.
        no_repeat_ngram: see `repeated_ngrams`; 0: off.
        early_stop: let an item go when its finished sequences cannot change any more. Exact: a beam's
            log-probability only falls and its divisor is at most norm(T), so its final score is at most
            log-probability / norm(T).
        keep: K, best sequences of each item, at most M.
        traced: give the log-probability of each token.
        device: where the search lives.

    Returns:
        (batch, K, T) each, and scores (batch, K), best first. Where fewer than K sequences ended, unfinished
        ones follow the finished.
    """
    M, T, K, S = beams, steps, keep, steps if traced else 0
    start = pad if start is None else start
    worst = torch.finfo(torch.float32).min
    tokens = torch.full((batch, K, T), pad, dtype=torch.int64, device=device)
    scores = torch.zeros(batch, K, dtype=torch.float32, device=device)
    traces = torch.zeros(batch, K, S, dtype=torch.float32, device=device)
    here = torch.arange(batch, device=device)  # items still in the batch
    alive = torch.full((batch, M, T), pad, dtype=torch.int64, device=device)
    alive_log = torch.full((batch, M), worst, dtype=torch.float32, device=device)
    alive_log[:, 0] = 0.0
    alive_trace = torch.zeros(batch, M, S, dtype=torch.float32, device=device)
    done, done_trace = alive.clone(), alive_trace.clone()
    done_score = torch.full((batch, M), worst, dtype=torch.float32, device=device)
    last = torch.full((batch * M,), start, device=device)
    for t in range(T if batch else 0):
        log_probs = step(last, t).float().log_softmax(-1)
        if no_repeat_ngram:
            before = F.pad(alive[:, :, :t].flatten(0, 1), (1, 0), value=start)
            log_probs.masked_fill_(
                repeated_ngrams(before, no_repeat_ngram, log_probs.shape[1]), worst
            )  # not -inf, of which no sum comes back
        B, N = len(here), min(2 * M, log_probs.shape[-1])
        candidates, columns = (part.view(B, M, N) for part in best(log_probs, N))
        # the dead beams of the first step stay at the bottom instead of overflowing
        dead = (alive_log[:, :, None] == worst) | (candidates == worst)
        total = torch.where(dead, worst, candidates + alive_log[:, :, None])
        top_log, top = total.flatten(1).topk(min(2 * M, M * N), dim=1)
        parent, token = top // N, columns.flatten(1).gather(1, top)
        ends = token == end
        sequence = alive.gather(1, parent[:, :, None].expand(-1, -1, T))
        sequence[:, :, t] = token
        trace = alive_trace.gather(1, parent[:, :, None].expand(-1, -1, S))
        if traced:
            trace[:, :, t] = candidates.flatten(1).gather(1, top)

        score = top_log / norm(t + 1) + (OUT_OF_RANGE if t + 1 < shortest else 0.0)
        pool_score = torch.cat([done_score, torch.where(ends & (top_log > worst), score, worst)], dim=1)
        done_score, place = pool_score.topk(M, dim=1)
        done = torch.cat([done, sequence], dim=1).gather(1, place[:, :, None].expand(-1, -1, T))
        done_trace = torch.cat([done_trace, trace], dim=1).gather(1, place[:, :, None].expand(-1, -1, S))

        alive_log, place = torch.where(ends, worst, top_log).topk(min(M, top_log.shape[1]), dim=1)
        alive = sequence.gather(1, place[:, :, None].expand(-1, -1, T))
        alive_trace = trace.gather(1, place[:, :, None].expand(-1, -1, S))
        if alive.shape[1] < M:
            short = M - alive.shape[1]
            alive, alive_log = F.pad(alive, (0, 0, 0, short)), F.pad(alive_log, (0, short), value=worst)
            alive_trace, place = F.pad(alive_trace, (0, 0, 0, short)), F.pad(place, (0, short))
        if t + 1 == T:
            break
        rows = parent.gather(1, place) + (torch.arange(B, device=device) * M)[:, None]
        if early_stop:
            over = done_score[:, K - 1] >= alive_log[:, 0] / norm(T)  # what the best beam can still become
            count = _count(over, t, device)
            if count == B:
                break
            if count * LEAVE >= B:
                tokens[here[over]], scores[here[over]] = done[over, :K], done_score[over, :K]
                traces[here[over]] = done_trace[over, :K]
                stay = ~over
                here, rows, alive, alive_log = here[stay], rows[stay], alive[stay], alive_log[stay]
                done, done_score = done[stay], done_score[stay]
                alive_trace, done_trace = alive_trace[stay], done_trace[stay]
        reorder(rows.flatten(), t + 1)
        last = alive[:, :, t].flatten()
    # the finished ones first, then the unfinished in place of the empty slots
    finished = done_score > worst / 2
    slot = (torch.arange(M, device=device) - finished.sum(1, keepdim=True)).clamp(min=0)
    others, other_trace = (
        part.gather(1, slot[:, :, None].expand(-1, -1, part.shape[2])) for part in (alive, alive_trace)
    )
    tokens[here] = torch.where(finished[:, :, None], done, others)[:, :K]
    traces[here] = torch.where(finished[:, :, None], done_trace, other_trace)[:, :K]
    scores[here] = torch.where(finished, done_score, alive_log.gather(1, slot) / norm(T))[:, :K]
    return Written(tokens, traces, scores)
