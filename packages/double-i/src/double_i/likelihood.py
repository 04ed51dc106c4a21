"""Log probability of given continuations, in batches. Source: ours."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from double_i.first_words import LocalModel
from double_i.prefixes import batches


class Likelihood(NamedTuple):
    """Of texts, one value each."""

    nll: NDArray[np.float64]
    """-log P of all scored tokens, in nats"""
    tokens: NDArray[np.int64]
    """how many were scored"""

    @property
    def per_token(self) -> float:
        """Mean over all tokens, in nats."""
        return float(self.nll.sum() / max(1, int(self.tokens.sum())))


def continuations(
    local: LocalModel,
    pairs: Sequence[tuple[str, str]],
    *,
    end: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> Likelihood:
    """How likely a model finds each continuation after its prompt.

    Args:
        local: the model.
        pairs: prompt and continuation. Tokens that reach over the border count as continuation.
        end: score the end-of-sequence token behind it, too.
        progress: is told how many pairs each batch had.
    """
    rows = []
    for prompt, rest in pairs:
        whole = local.encode(prompt + rest)
        ids = local.encode(prompt)
        start = next((n for n, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b), len(ids))
        if end and local.tokenizer.eos_token_id is not None:
            whole = [*whole, local.tokenizer.eos_token_id]
        rows.append((whole, min(start, len(whole))))
    return _score(local, rows, progress)


def windows(
    local: LocalModel,
    texts: Sequence[str],
    length: int = 256,
    progress: Callable[[int], Any] | None = None,
) -> Likelihood:
    """How likely a model finds texts, cut into windows of `length` tokens that are scored apart.

    Args:
        local: the model.
        texts: of any length; one value each is returned.
        length: tokens that a window reads at most, 2 or more.
        progress: is told how many windows each batch had.
    """
    rows: list[tuple[list[int], int]] = []
    owners: list[int] = []
    if local.limit is not None:
        length = min(length, local.limit)
    for place, text in enumerate(texts):
        ids = local.encode(text)
        for start in range(0, max(1, len(ids) - 1), length - 1):
            rows.append((ids[start : start + length], 1))  # the last token of one is the first of the next
            owners.append(place)
    parts = _score(local, rows, progress)
    nll, tokens = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    np.add.at(nll, owners, parts.nll)
    np.add.at(tokens, owners, parts.tokens)
    return Likelihood(nll, tokens)


@torch.inference_mode()
def _score(
    local: LocalModel, rows: Sequence[tuple[list[int], int]], progress: Callable[[int], Any] | None
) -> Likelihood:
    """-log P of the tokens from a place on; a first token, which nothing precedes, is never scored."""
    nll, tokens = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    lengths = [len(ids) for ids, _ in rows]
    for chosen in batches(lengths, [n for n, size in enumerate(lengths) if size > 1], local.batch):
        most = max(lengths[row] for row in chosen)
        table = np.zeros((len(chosen), most), np.int64)
        mask, wanted = np.zeros_like(table), np.zeros((len(chosen), most), bool)
        for place, row in enumerate(chosen):
            ids, start = rows[row]
            table[place, : len(ids)], mask[place, : len(ids)] = ids, 1  # padded behind, where nothing looks
            wanted[place, max(1, start) : len(ids)] = True
        ids_, seen, scored = (torch.from_numpy(part).to(local.device) for part in (table, mask, wanted))
        more: dict[str, Any] = {"use_cache": False}
        logits = local.model(input_ids=ids_, attention_mask=seen, return_dict=True, **more).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), ids_[:, 1:], reduction="none"
        )
        nll[chosen] = (losses * scored[:, 1:]).sum(1, dtype=torch.float64).cpu().numpy()
        tokens[chosen] = wanted.sum(1)
        if progress is not None:
            progress(len(chosen))
    return Likelihood(nll, tokens)
