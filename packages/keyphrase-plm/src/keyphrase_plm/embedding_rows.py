"""Whether a tokenizer fits the embeddings of a model, and one more token for digits (ours).

The original leaves `[digit]` to the tokenizer, which makes three pieces of it; as a token of its own it costs
one row of embeddings, which starts as the mean of the others.
"""

from pathlib import Path
from typing import Any

from nonet.errors import UserError

DIGIT = "[digit]"
SPARE = 1024
"""rows of embeddings beyond the tokenizer's pieces that models have to be of a round size"""


def check_rows(family: Any, where: str | Path) -> None:
    """Refuse a tokenizer with ids that the model has no embedding for, or with far too few.

    Args:
        family: with `model` and `tokenizer`.
        where: the model's name, for the message.

    Raises:
        UserError: naming both numbers.
    """
    for side, model in _sides(family.model):
        rows = model.get_input_embeddings().weight.shape[0]
        if not 0 <= rows - len(family.tokenizer) <= SPARE:
            raise UserError(
                f"{where}: the tokenizer has {len(family.tokenizer):,} pieces, but the {side} has "
                f"{rows:,} rows of embeddings: they are not of one model"
            )


def add_digit_token(family: Any) -> bool:
    """Make `[digit]` one token of a family, with a row of embeddings.

    Returns:
        Whether it was new.
    """
    import torch

    if not family.tokenizer.add_tokens([DIGIT]):
        return False
    place, wanted = family.tokenizer.convert_tokens_to_ids(DIGIT), len(family.tokenizer)
    sides = _sides(family.model)
    tables = [model.get_input_embeddings() for _, model in sides]
    shared = len(tables) > 1 and tables[0].weight is tables[1].weight
    if shared:  # each half is resized, and its configuration with it
        from keyphrase_plm.bert_halves import share, unshare

        unshare(family.model)
    heads = {side: _mean_of_head(model) for side, model in sides}
    for side, model in sides:
        table = model.get_input_embeddings().weight
        mean = table.detach().mean(0)
        if table.shape[0] < wanted:
            model.resize_token_embeddings(wanted, mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[place] = mean
            head = model.get_output_embeddings()
            if head is not None:
                head.weight[place] = mean if heads[side] is None else heads[side]
    if shared:
        share(family.model)
    return True


def _mean_of_head(model: Any) -> Any:
    """The mean row of an output layer with a table of its own; None where it is tied, or there is none."""
    head = model.get_output_embeddings()
    if head is None or head.weight is model.get_input_embeddings().weight:
        return None
    return head.weight.detach().mean(0)


def _sides(model: Any) -> list[tuple[str, Any]]:
    """The parts with embeddings: encoder and decoder of an EncoderDecoderModel, else the model."""
    if type(model).__name__ == "EncoderDecoderModel":
        return [("encoder", model.encoder), ("decoder", model.decoder)]
    return [("model", model)]
