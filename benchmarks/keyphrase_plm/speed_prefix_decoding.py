"""Writing with a prefix language model: kept keys and values against kept hidden states, as s2s-ft has it.

The peer restates the loop of s2s-ft on the same weights: each step gives the model the last piece and a
`[MASK]`, keeps the inputs of every layer, projects those of the whole prefix to keys and values again, and
takes all 48 steps. Both write the same pieces, none of them twice. The shape is that of a MiniLM with six
layers, the weights are random: such a model never ends, so that in one row all 48 pieces are written; in the
other the end is forced, on both sides, at the lengths that real targets have.
"""

from functools import partial

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor

from keyphrase_plm.prefix_decoding import StepDecoder
from keyphrase_plm.prefix_walk import Walk, finish, heads
from keyphrase_plm.small_models import new_bert
from nonet.generation.search import follow

SEED = 0
PAD, CLS, END, MASK = 0, 1, 2, 3
STEPS = 48
ENDS = (24, 12, 18, 9, 21, 15, 30, 16)
"""pieces of each document's target, where the end is forced"""


def main(*, tiny: bool = False) -> list[Row]:
    """Both rows."""
    layers, width, vocabulary, B, S = (2, 32, 50, 3, 16) if tiny else (6, 384, 30_522, 8, 464)
    model = new_bert(vocabulary, pad=PAD, layers=layers, width=width, heads=width // 32, seed=SEED)
    with torch.no_grad():  # fresh weights are so small that every piece is the same
        random = torch.Generator().manual_seed(SEED)
        for each in model.parameters():
            each.add_(torch.randn(each.shape, generator=random) * width**-0.5)
    walk, lengths = Walk(model), torch.full((B,), S)
    source = torch.randint(4, vocabulary, (B, S), generator=torch.Generator().manual_seed(SEED))
    rows = []
    for name, ends in (
        ("all 48 pieces written", (STEPS + 1,) * B),
        ("targets of 9 to 30 pieces", ENDS[:B]),
    ):
        work = (walk, source, lengths, torch.tensor(ends))
        row = versus(
            f"greedy, {name}, against kept hidden states", partial(ours, *work),
            partial(kept_hidden_states, *work), same, rounds=1 if tiny else 3, min_seconds=0,
            unit="documents", per_call=B,
        )  # fmt: skip
        rows.append(row)
    print(table(rows))
    if not tiny:
        save(
            "keyphrase-plm", rows, table="prefix_decoding", versions=("torch", "transformers"),
            data=f"{layers} layers, width {width}, random weights; {B} documents of {S} pieces", seed=SEED,
            threads=f"{torch.get_num_threads()} CPU threads",
        )  # fmt: skip
    return rows


def forced_end(logits: Tensor, ends: Tensor, t: int) -> Tensor:
    """Logits (R, V) with which rows end at their length (R,) and at no other; padding is never written."""
    logits[:, [PAD, MASK]] = -torch.inf
    logits[:, END] = torch.where(ends == t + 1, torch.inf, -torch.inf)
    return logits


@torch.inference_mode()
def ours(walk: Walk, source: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
    """Pieces (B, T)."""
    decoder = StepDecoder(walk, walk.prefix(source, lengths), steps=STEPS, mask_id=MASK)
    here = [torch.arange(len(source))]

    def step(tokens: Tensor, t: int) -> Tensor:
        return forced_end(decoder.step(tokens, t), ends[here[-1]], t)

    def reorder(rows: Tensor, t: int) -> None:
        here.append(here[-1][rows])
        decoder.reorder(rows, t)

    return follow(step, len(source), steps=STEPS, pad=PAD, end=END, reorder=reorder, no_repeat_ngram=1).tokens


@torch.inference_mode()
def kept_hidden_states(walk: Walk, source: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
    """Pieces (B, T), whatever comes behind the end."""
    B, S = source.shape
    kept: list[Tensor] = []  # the input of each layer, for all pieces that are read
    written, new, first = [], source, 0
    for t in range(STEPS):
        ids = torch.cat([new, torch.full((B, 1), MASK)], 1)
        Q = ids.shape[1]
        positions = torch.arange(first, first + Q).expand(B, -1)
        hidden = walk.embed(ids[:, :S], positions[:, :S], 0 if t == 0 else 1)
        if t == 0:
            hidden = torch.cat([hidden, walk.embed(ids[:, S:], positions[:, S:], 1)], 1)
        allowed = torch.ones(Q, first + Q, dtype=torch.bool)
        allowed[:-1, -1] = False
        bias = torch.where(allowed, 0.0, -1e9)
        for number, layer in enumerate(walk.layers):
            inputs = hidden if t == 0 else torch.cat([kept[number], hidden], 1)
            attention = layer.attention.self
            query = heads(attention.query(hidden), attention)
            key, value = (heads(part(inputs), attention) for part in (attention.key, attention.value))
            weights = (query @ key.transpose(2, 3) * attention.scaling + bias).softmax(-1)
            hidden = finish(layer, weights @ value, hidden)
            kept[number : number + 1] = [inputs[:, :-1]]
        logits = forced_end(walk.logits(hidden[:, -1]), ends, t)
        if written:
            logits.scatter_(1, torch.stack(written, 1), -torch.inf)
        last = logits.argmax(-1)
        written.append(last)
        first += Q - 1
        new = last[:, None]
    return torch.stack(written, 1)


def same(found: Tensor, expected: Tensor) -> bool | str:
    """Whether the pieces are the same up to the end of each."""
    over = (expected == END).cumsum(1) - (expected == END).long() > 0
    expected = expected.masked_fill(over, PAD)
    if len(set(expected[:, :8].flatten().tolist())) < 8:
        return "nearly all pieces are the same, which shows nothing"
    return bool((found == expected).all()) or f"{int((found != expected).sum())} pieces differ"


if __name__ == "__main__":
    main()
