"""Which tokens are hidden from the model, and what stands in their place.

15 % of them, of which 80 % become the mask, 10 % another token, 10 % stay (Devlin et al. 2019, section 3.1);
whole words; segments of up to ten tokens (InterBERT, Lin et al. 2020). `choose` serves regions and patches
too. UNITER hides one modality at a time (Chen et al. 2020). All draws come from the generator that is given;
the same state gives the same masks.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import IGNORE

# Shapes: B examples, L tokens, R regions, V vocabulary.


class MaskedTokens(NamedTuple):
    """Tokens as the model sees them.

    Attributes:
        ids: (B, L) int64, with masks and other tokens in them.
        labels: (B, L) int64, the original where it must be predicted, else -100.
        mask: (B, L) bool, what must be predicted.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor


def mask_tokens(
    ids: Tensor,
    candidates: Tensor,
    *,
    mask_id: int,
    replacements: Tensor,
    generator: Generator,
    share: float = 0.15,
    words: Tensor | None = None,
) -> MaskedTokens:
    """Tokens masked as BERT does it: `choose` and `corrupt` in one.

    Args:
        ids: (B, L) int64.
        candidates: (B, L) bool: what may be masked, no special token and no padding.
        mask_id: id of the mask.
        replacements: (V,) ids that may stand for a masked token.
        generator: of all draws, on the device of `ids`.
        share: of candidates that are chosen; .15 is BERT's, .4 to .6 are the high ratios of later models.
        words: (B, L) number of the word that a token belongs to: words are then masked as wholes.
    """
    mask = choose(candidates, share, generator, groups=words)
    return corrupt(ids, mask, mask_id=mask_id, replacements=replacements, generator=generator)


def choose(
    candidates: Tensor,
    share: float,
    generator: Generator,
    *,
    groups: Tensor | None = None,
    exact: bool = False,
    at_least_one: bool = True,
) -> Tensor:
    """A random choice among the candidates of each row.

    Args:
        candidates: (B, L) bool.
        share: chance of each candidate, in 0..1.
        generator: of the draws.
        groups: (B, L) int64 in 0..L-1: members of a group in a row are chosen together, such as the pieces of
            a word. Candidates alone count.
        exact: choose round(share * n) of a row's n candidates, at least one, not each by itself (VLP, MAE);
            not with `groups`.
        at_least_one: a row with candidates in which chance chooses none gets the one next to it. UNITER's
            code takes the first token there instead.

    Returns:
        (B, L) bool.
    """
    if not 0 <= share <= 1:
        raise UserError(f"the share of masked positions is {share}; it must be in 0..1")
    if exact and groups is not None:
        raise UserError("an exact number of positions and whole groups exclude each other")
    draws = torch.rand(candidates.shape, generator=generator, device=candidates.device)
    if groups is not None:
        draws = draws.gather(1, groups.clamp_min(0))
    draws = draws.masked_fill(~candidates, 2.0)  # beyond every share
    if exact:
        number = (candidates.sum(1, keepdim=True) * share).round().clamp_min(float(at_least_one))
        return (draws.argsort(1).argsort(1) < number) & candidates
    chosen = draws < share
    if at_least_one:
        least = draws.amin(1, keepdim=True)
        chosen |= (draws == least) & ~chosen.any(1, keepdim=True)
    return chosen & candidates


def choose_segments(
    candidates: Tensor, share: float, generator: Generator, *, longest: int = 10, at_least_one: bool = True
) -> Tensor:
    """Contiguous segments of 1 to `longest` tokens, in which everything is chosen (InterBERT).

    A segment starts at each candidate with the same chance, and its length is uniform; the chance is such
    that `share` of the tokens far from the left edge are covered. Segments may touch, and end at the first
    token that is no candidate. InterBERT's released code has one segment a text instead, of any length.

    Args:
        candidates: (B, L) bool.
        share: of tokens that are covered, in 0..1 without 1.
        generator: of the draws.
        longest: most tokens of a segment.
        at_least_one: see `choose`.

    Returns:
        (B, L) bool.
    """
    starts = choose(candidates, _start_chance(share, longest), generator, at_least_one=at_least_one)
    lengths = torch.randint(1, longest + 1, starts.shape, generator=generator, device=starts.device)
    places = torch.arange(starts.shape[1], device=starts.device).expand_as(starts)
    walls = torch.where(candidates, starts.shape[1], places).flip(1).cummin(1).values.flip(1)
    ends = torch.where(starts, torch.minimum(places + lengths, walls), 0)
    return ends.cummax(1).values > places


def corrupt(
    ids: Tensor,
    mask: Tensor,
    *,
    mask_id: int,
    replacements: Tensor,
    generator: Generator,
    as_mask: float = 0.8,
    as_other: float = 0.1,
) -> MaskedTokens:
    """Put the mask, another token or the token itself where tokens are chosen.

    Args:
        ids: (B, L) int64.
        mask: (B, L) bool: what is chosen.
        mask_id: id of the mask.
        replacements: (V,) ids that may stand for a chosen token; each is equally likely.
        generator: of the draws.
        as_mask: chance of the mask.
        as_other: chance of another token; the rest stay, and are predicted all the same.
    """
    if as_mask < 0 or as_other < 0 or as_mask + as_other > 1 + 1e-9:
        raise UserError(f"chances {as_mask} of the mask and {as_other} of another token: both >= 0, sum <= 1")
    draws = torch.rand(ids.shape, generator=generator, device=ids.device)
    picks = torch.randint(len(replacements), ids.shape, generator=generator, device=ids.device)
    shown = torch.where(mask & (draws < as_mask), mask_id, ids)
    other = mask & (draws >= as_mask) & (draws < as_mask + as_other)
    shown = torch.where(other, replacements.to(ids)[picks], shown)
    return MaskedTokens(shown, torch.where(mask, ids, IGNORE), mask)


def one_modality(
    text_mask: Tensor,
    region_mask: Tensor,
    generator: Generator,
    *,
    text_share: float = 0.5,
    whole_batch: bool = False,
) -> tuple[Tensor, Tensor]:
    """Keep the masks of one modality and drop those of the other (UNITER's conditional masking).

    What is masked in one modality can then be told from the whole of the other. In UNITER's ablation this
    gives a sum of 399.97 over its tasks, masking both at once 396.51.

    Args:
        text_mask: (B, L) bool.
        region_mask: (B, R) bool.
        generator: of the draws.
        text_share: chance that the text keeps its masks.
        whole_batch: one draw for all examples, as UNITER has one task a batch.

    Returns:
        The two masks, one of which is empty in each row.
    """
    rows = (1 if whole_batch else len(text_mask), 1)
    text = torch.rand(rows, generator=generator, device=text_mask.device) < text_share
    return text_mask & text, region_mask & ~text


def _start_chance(share: float, longest: int) -> float:
    """Chance of a start at each token so that `share` of the tokens are in a segment."""
    if not 0 <= share < 1:
        raise UserError(f"the share of tokens in masked segments is {share}; it must be in 0..1 without 1")
    low, high = 0.0, 1.0
    for _ in range(60):
        start = (low + high) / 2
        missed = 1.0
        for reach in range(
            1, longest + 1
        ):  # a segment of at least `reach` tokens, begun reach - 1 tokens before
            missed *= 1 - start * (longest - reach + 1) / longest
        low, high = (start, high) if 1 - missed < share else (low, start)
    return high
