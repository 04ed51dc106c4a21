"""Texts that the decoder writes, by beam search, and how likely it finds given ones.

Scores are log-probabilities over ((5 + length) / 6)^0.6 (Wu et al. 2016), as in mPLUG's released code, which
stops when its best beam ends; ours goes on until nothing better can come.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.generation.search import beam_search
from nonet.vision_language.decoder import PrefixDecoder
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.task_settings import TaskSettings

# Shapes: B items, A answers, S tokens of the source, L of a text, d width.

IGNORED = -100  # label of a position that is not learnt from


def decoder_of(model: PairModel) -> PrefixDecoder:
    """The model's decoder.

    Raises:
        UserError: it has none.
    """
    if model.decoder is None:
        raise UserError("the model has no decoder, so it cannot write: fine-tune it on vqa or caption")
    return model.decoder


@torch.no_grad()  # type: ignore[untyped-decorator]
def write_texts(
    decoder: PrefixDecoder, source: Tensor, source_mask: Tensor | None, texts: TextBatch,
    settings: TaskSettings,
) -> list[str]:  # fmt: skip
    """The best text for each item.

    Args:
        decoder: is in evaluation mode afterwards.
        source: (B, S, d).
        source_mask: (B, S), 0 at padding; None: no padding.
        texts: knows the tokenizer.
        settings: beams, shortest and longest text, length penalty.

    Returns:
        B texts, without special tokens.
    """
    steps = settings.longest + 1  # the end is a word piece, too

    def norm(length: int) -> float:
        return float(((5 + length) / 6) ** settings.length_penalty)

    stepper = decoder.steps(source, source_mask, beams=settings.beams, steps=steps)
    written = beam_search(
        stepper.step, stepper.reorder, len(source), norm,
        beams=settings.beams, steps=steps, pad=texts.pad, end=texts.end, start=texts.begin,
        shortest=settings.shortest + 1, device=source.device,
    )  # fmt: skip
    rows = written.tokens[:, 0].tolist()
    # what has not ended is one longer
    return [_read(texts, row[: settings.longest]) for row in rows]


def text_losses(
    decoder: PrefixDecoder, ids: Tensor, mask: Tensor, source: Tensor, source_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Minus log-probability of texts, and their word pieces.

    Args:
        decoder: predicts each word piece from those before it.
        ids: (B, L) int64, `[CLS] words [SEP]`; what follows [CLS] is predicted, [SEP] included.
        mask: (B, L), 0 at padding.
        source: (B, S, d).
        source_mask: (B, S), 0 at padding; None: no padding.

    Returns:
        (B,) sums over each text's word pieces, (B,) their numbers.
    """
    logits = decoder(ids[:, :-1], mask[:, :-1], source, source_mask)
    labels = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
    losses = token_losses(logits.float(), labels)
    return losses.sum(1), (labels != IGNORED).sum(1)


@torch.no_grad()  # type: ignore[untyped-decorator]
def rank_texts(
    decoder: PrefixDecoder, source: Tensor, source_mask: Tensor | None, ids: Tensor, mask: Tensor, *,
    keep: int = 128,
) -> Tensor:  # fmt: skip
    """Which of some given texts is the likeliest for each item.

    The texts whose first word piece is likeliest are kept (ALBEF, Li et al. 2021, section 4: k = 128), and
    scored whole.

    Args:
        decoder: in evaluation mode.
        source: (B, S, d).
        source_mask: (B, S), 0 at padding; None: no padding.
        ids: (A, L) int64, the texts as `[CLS] words [SEP]`.
        mask: (A, L).
        keep: texts of each item that are scored whole; 0: all.

    Returns:
        (B,) int64, numbers of texts; of equal ones the first.
    """
    count = len(ids)
    keep = min(keep or count, count)
    first = decoder(ids[:1, :1].expand(len(source), 1), None, source, source_mask)[:, 0]
    likely = first.float().log_softmax(-1)[:, ids[:, 1]]
    found = []
    for item in range(len(source)):
        chosen = likely[item].topk(keep).indices.sort().values
        one = source[item : item + 1].expand(keep, -1, -1)
        own = None if source_mask is None else source_mask[item : item + 1].expand(keep, -1)
        losses, _ = text_losses(decoder, ids[chosen], mask[chosen], one, own)
        found.append(chosen[losses.argmin()])
    return torch.stack(found)


def _read(texts: TextBatch, row: Sequence[int]) -> str:
    words = []
    for piece in row:
        if piece == texts.end:
            break
        words.append(piece)
    return str(texts.tokenizer.decode(words, skip_special_tokens=True)).strip()
