"""From instruction rows to tokens and labels (ours).

A row is the prompt as verification will ask it, token for token, then the answer and the mark that ends it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from double_i.data import Encoded
from nonet.errors import UserError

Loss = Literal["completion", "full"]
"""what is trained: the answer and its end mark; or the prompt, too, as in the original code"""


class Skipped(NamedTuple):
    """A row that was not encoded."""

    number: int
    """its place among those that were given"""
    why: str
    """for the user"""


class Encoding(NamedTuple):
    """Rows as tokens, and those that do not fit."""

    rows: list[Encoded]
    skipped: list[Skipped]


def encode_rows(
    examples: Iterable[Any],
    tokenizer: Any,
    *,
    template: str,
    join: str = "\n\n",
    max_length: int = 256,
    loss: Loss = "completion",
) -> Encoding:
    """Encode instruction rows by a template.

    Args:
        examples: of `double_i.examples`: instruction, input, output, system, history.
        tokenizer: of the model.
        template: one of `double_i.templates.TEMPLATES`.
        join: what stands between instruction and input, in chat.
        max_length: tokens of a row; a longer one is skipped, as a cut answer would be learnt as a whole one.
        loss: what is trained.

    Returns:
        The rows in their order, and those that were skipped, with reasons.

    Raises:
        UserError: a tokenizer without an end mark, or without a chat template where one is wanted.
    """
    from double_i.templates import prompt_text

    rows: list[Encoded] = []
    skipped: list[Skipped] = []
    for number, example in enumerate(examples):
        prompt = prompt_text(template, example, join, tokenizer)
        answer = example.output
        if template == "chat":
            answer = _chat_answer(prompt, example, join, tokenizer)
        if not example.output.strip():
            skipped.append(Skipped(number, "has an empty answer"))
            continue
        ids, start = encode_pair(prompt, answer, tokenizer)
        if len(ids) > max_length:
            skipped.append(Skipped(number, f"has {len(ids)} tokens, more than {max_length}"))
            continue
        begin = start if loss == "completion" else 0
        rows.append(Encoded(np.array(ids, np.int32), begin, number))
    return Encoding(rows, skipped)


def encode_pair(prompt: str, answer: str, tokenizer: Any) -> tuple[list[int], int]:
    """Tokens of a prompt and its answer with the end mark, and where the answer begins.

    The answer is tokenised as it stands after the prompt: many tokenizers write a word at the beginning of a
    text with a space before it, and after a line end without. Where the two would merge across the border,
    it is tokenised by itself, so that the prompt's tokens are those of a prompt alone in any case.

    Args:
        prompt: the text up to the answer.
        answer: the answer; it may bring its end mark.
        tokenizer: of the model.

    Raises:
        UserError: the tokenizer has no end mark.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError("the tokenizer has no end-of-text token (eos): the model could not learn to stop")
    before = encode_prompt(prompt, tokenizer)
    whole = encode_prompt(prompt + answer, tokenizer, strip=False)
    if whole[: len(before)] == before and len(whole) > len(before):
        after = whole[len(before) :]
    else:
        after = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    if end in after:
        after = after[: after.index(end) + 1]
    else:
        after.append(end)
    return before + after, len(before)


def encode_prompt(text: str, tokenizer: Any, *, strip: bool = True) -> list[int]:
    """Tokens of a prompt as verification asks it: with the mark that begins a text, without one that ends it.

    Args:
        text: the prompt; a chat template writes the first mark itself.
        tokenizer: of the model.
        strip: take away an end mark that the tokenizer itself has put behind.
    """
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    special = not (bos and text.startswith(bos))
    ids: list[int] = list(tokenizer(text, add_special_tokens=special)["input_ids"])
    if strip and ids and eos and ids[-1] == tokenizer.eos_token_id and not text.endswith(eos):
        ids = ids[:-1]
    return ids


def _chat_answer(prompt: str, example: Any, join: str, tokenizer: Any) -> str:
    """What the tokenizer's own chat template writes after the prompt, up to the end of the turn."""
    from double_i.templates import messages

    turns = [*messages(example, join), {"role": "assistant", "content": example.output}]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    if text.startswith(prompt) and example.output.strip() in text[len(prompt) :]:
        return text[len(prompt) :]
    return str(example.output)  # the template writes prompts otherwise than past turns


def listed(skipped: Sequence[Skipped], wheres: Sequence[str] | None = None, most: int = 5) -> Iterator[str]:
    """Lines that name rows left out.

    Args:
        skipped: the rows.
        wheres: "file:line" of every row that was given.
        most: lines; the rest is counted.
    """
    for row in skipped[:most]:
        yield f"{wheres[row.number] if wheres else f'row {row.number + 1}'}: {row.why}; it is left out"
    if len(skipped) > most:
        yield f"{len(skipped) - most:,} more rows are left out"
