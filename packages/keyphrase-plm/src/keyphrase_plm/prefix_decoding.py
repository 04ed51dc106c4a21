"""Writing with a prefix language model, one piece a step, without doing anything twice (ours).

A step of s2s-ft gives the model the last piece and a `[MASK]` behind it, at which the next piece is
predicted. Its code keeps hidden states, projects those of the whole prefix to keys and values again in every
step and layer, and always takes 48 steps. Here the keys and values of the source are kept, and those of each
piece once it has been read; those of `[MASK]` are forgotten after the step. Rows of a document share its
source, documents that are done leave the batch, and the search ends with the last one. What is written is the
same.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.prefix_lm import Objective
from keyphrase_plm.prefix_walk import Prefix, Walk, finish, joint_attention, project
from nonet.generation.search import Draws, Written, beam_search, follow

# Shapes: B documents, M rows of a document, R = B M rows, S source pieces, T steps, Q pieces of a step, V
# vocabulary.


class StepDecoder:
    """The model as `nonet.generation.search` asks for it: a token in, the next one's logits out.

    Args:
        walk: the model, in evaluation mode.
        prefix: of B documents.
        copies: M, rows of each document.
        steps: T, the longest output.
        objective: the one that the model was trained with.
        mask_id: for `pseudo`.
        blocked: ids that are never to be written.
    """

    def __init__(
        self,
        walk: Walk,
        prefix: Prefix,
        *,
        copies: int = 1,
        steps: int,
        objective: Objective = "pseudo",
        mask_id: int,
        blocked: Sequence[int] = (),
    ) -> None:
        self.walk, self.copies, self.objective, self.mask_id = walk, copies, objective, mask_id
        keys, values = (tuple(layer.contiguous() for layer in kept) for kept in prefix[:2])
        self.prefix = Prefix(keys, values, prefix.lengths)
        self.blocked = torch.tensor(blocked, dtype=torch.int64, device=prefix.lengths.device)
        B, H, _, d = keys[0].shape
        self.own_keys, self.own_values = (
            [layer.new_empty(B * copies, H, steps, d) for layer in keys] for _ in range(2)
        )

    def step(self, tokens: Tensor, t: int) -> Tensor:
        """Logits of position t.

        Args:
            tokens: (R,) int64, the pieces of position t - 1. At t = 0, `causal` reads them as what stands in
                front of the target, and `pseudo` does not read them.
            t: 0, 1, ... T - 1.

        Returns:
            (R, V).
        """
        new = tokens[:, None]
        if self.objective == "pseudo":
            new = torch.cat([new[:, : min(t, 1)], torch.full_like(new, self.mask_id)], 1)
        Q = new.shape[1]
        first = t + 1 - Q  # place of the first new piece among the row's own
        places = torch.arange(first, t + 1, device=new.device)
        lengths = self.prefix.lengths.repeat_interleave(self.copies)
        hidden = self.walk.embed(new, lengths[:, None] + places, self.walk.target_type)
        allowed = torch.arange(t + 1, device=new.device) <= places[:, None]
        real, last = self.prefix.real, len(self.own_keys) - 1
        for number, layer in enumerate(self.walk.layers):
            attention, own = layer.attention.self, (self.own_keys[number], self.own_values[number])
            query, key, value = project(attention, hidden)
            own[0][:, :, first : t + 1], own[1][:, :, first : t + 1] = key, value
            if number == last and Q > 1:  # only the prediction's place is looked at now
                query, hidden, allowed = query[:, :, -1:], hidden[:, -1:], allowed[-1:]
            context = joint_attention(
                query * attention.scaling, self.prefix.keys[number], self.prefix.values[number], real,
                own[0][:, :, : t + 1], own[1][:, :, : t + 1], allowed,
            )  # fmt: skip
            hidden = finish(layer, context, hidden)
        logits = self.walk.logits(hidden[:, -1])
        return logits.index_fill(1, self.blocked, -math.inf) if len(self.blocked) else logits

    def reorder(self, rows: Tensor, t: int) -> None:
        """Row i becomes what rows[i] was, for the first t positions; fewer rows are of fewer documents."""
        fewer = len(rows) < len(self.own_keys[0])
        for kept in (self.own_keys, self.own_values):
            for number, layer in enumerate(kept):
                if fewer:
                    kept[number] = layer[rows]
                else:
                    layer[:, :, :t] = layer[rows, :, :t]
        if fewer:
            self.prefix = self.prefix.take(rows[:: self.copies] // self.copies)


@torch.inference_mode()
def write(
    walk: Walk,
    source: Tensor,
    lengths: Tensor,
    options: DecodeOptions,
    *,
    ids: Sequence[str],
    steps: int,
    objective: Objective = "pseudo",
    mask_id: int,
    pad_id: int,
    start_id: int,
    end_id: int,
    blocked: Sequence[int] = (),
) -> Written:
    """Write targets of documents, by the mode that the options name.

    Args:
        walk: the model, in evaluation mode.
        source: (B, S) int64.
        lengths: (B,) int64, pieces of each source.
        options: mode, beams, samples and the rest.
        ids: of the documents; samples are drawn by them.
        steps: T, the longest output in pieces, end included.
        objective: the one that the model was trained with.
        mask_id: of the tokenizer.
        pad_id: fills behind the end.
        start_id: in front of the target, for `causal`.
        end_id: ends a target.
        blocked: ids that are never to be written.

    Returns:
        Tokens and log-probabilities (B, K, T), scores (B, K); K is `options.samples`.
    """
    B, device, samples = len(source), source.device, options.samples
    copies = options.beams if options.mode == "beam" else samples
    decoder = StepDecoder(
        walk, walk.prefix(source, lengths), copies=copies, steps=steps, objective=objective,
        mask_id=mask_id, blocked=blocked,
    )  # fmt: skip
    if options.mode == "beam":
        return beam_search(
            decoder.step, decoder.reorder, B, lambda length: length**options.length_power,
            beams=options.beams, steps=steps, pad=pad_id, end=end_id, start=start_id,
            shortest=options.min_length, no_repeat_ngram=options.no_repeat_ngram, keep=samples, traced=True,
            early_stop=options.length_power >= 0, device=device,
        )  # fmt: skip
    choose = None
    if options.mode == "sample":
        keys = [(name, sample) for name in ids for sample in range(samples)]
        choose = Draws(
            options.seed, keys, steps, temperature=options.temperature, top_k=options.top_k,
            top_p=options.top_p, device=device,
        )  # fmt: skip
    written = follow(
        decoder.step, B * samples, steps=steps, pad=pad_id, end=end_id, start=start_id,
        shortest=options.min_length, no_repeat_ngram=options.no_repeat_ngram, choose=choose,
        reorder=decoder.reorder, group=samples, device=device,
    )  # fmt: skip
    return Written(*(part.view(B, samples, *part.shape[1:]) for part in written))
