"""Contexts in windows that a model can read, with the answer's tokens (Devlin et al. 2019, section 4.2).

A window is [CLS] question [SEP] part of the context [SEP]; neighbouring windows share `stride` tokens. Where
the answer does not lie in a window whole, its label is the first token, [CLS].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cap_prune.examples import Examples
from cap_prune.squad_files import Question, read_squad
from nonet.errors import UserError

LONGEST_QUESTION = 64
"""tokens of a question; a longer one is cut, as in BERT's own code"""
TOGETHER = 256
"""questions that are tokenised at a time"""


@dataclass(frozen=True)
class Questions:
    """What makes answers out of windows.

    Attributes:
        ids: of the questions.
        contexts: of each question.
        answers: right answers by id; empty where they are hidden.
        of_window: (N,) int64 number of the question of each window.
        offsets: for each window (tokens, 2) int32, first character of each token in the context and the one
            after its last; -1 for tokens that are not the context's.
    """

    ids: list[str]
    contexts: list[str]
    answers: dict[str, list[str]]
    of_window: NDArray[np.int64]
    offsets: list[NDArray[np.int32]]


def read_squad_examples(
    data: Path,
    side: str,
    tokenizer: Any,
    *,
    max_length: int,
    stride: int,
    chosen: Callable[[int], list[int]] | None = None,
    labelled: bool = True,
    types: bool = True,
) -> Examples:
    """The windows of a side; the arguments are those of `encoding.read_task`, `chosen` picks questions."""
    questions = read_squad(data, side, labelled=labelled)
    if chosen is not None:
        questions = [questions[number] for number in chosen(len(questions))]
    return windows(questions, tokenizer, max_length=max_length, stride=stride, labelled=labelled, types=types)


def windows(
    questions: Sequence[Question],
    tokenizer: Any,
    *,
    max_length: int,
    stride: int,
    labelled: bool = True,
    types: bool = True,
) -> Examples:
    """All windows of all questions, in order.

    Args:
        questions: with answers, if `labelled`.
        tokenizer: a fast one of transformers.
        max_length: tokens of a window at most.
        stride: tokens that neighbouring windows share.
        labelled: whether the answers' tokens are looked up.
        types: whether the model is told questions from contexts.

    Returns:
        Examples whose labels are (N, 2) int64 first and last token of the first right answer. `cut` counts
        windows of questions that were cut.

    Raises:
        UserError: `max_length` leaves no room for new tokens in each window.
    """
    texts, is_cut = _cut([question.text for question in questions], tokenizer, max_length)
    ids: list[NDArray[np.int32]] = []
    segments: list[NDArray[np.int32]] = []
    offsets: list[NDArray[np.int32]] = []
    owners: list[int] = []
    _check_room(texts, tokenizer, max_length, stride)
    for first in range(0, len(questions), TOGETHER):
        part = slice(first, first + TOGETHER)
        found = tokenizer(
            texts[part], [question.context for question in questions[part]], truncation="only_second",
            max_length=max_length, stride=stride, return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        for row, encoded in enumerate(found.encodings):
            of_context = np.asarray([sequence == 1 for sequence in encoded.sequence_ids])
            places = np.asarray(encoded.offsets, np.int32).reshape(-1, 2)
            offsets.append(np.where(of_context[:, None], places, np.int32(-1)))
            ids.append(np.asarray(encoded.ids, np.int32))
            if types:
                segments.append(np.asarray(encoded.type_ids, np.int32))
            owners.append(first + int(found["overflow_to_sample_mapping"][row]))
    labels = None
    if labelled:
        spans = [answer_tokens(places, questions[own]) for places, own in zip(offsets, owners, strict=True)]
        labels = np.asarray(spans, np.int64)
    return Examples(
        ids=ids,
        types=segments if types else None,
        labels=labels,
        lengths=np.asarray([len(row) for row in ids], np.int64),
        questions=Questions(
            ids=[question.id for question in questions],
            contexts=[question.context for question in questions],
            answers={
                question.id: [text for text, _ in question.answers]
                for question in (questions if labelled else ())
            },
            of_window=np.asarray(owners, np.int64),
            offsets=offsets,
        ),
        cut=sum(is_cut[own] for own in owners),
    )


def answer_tokens(offsets: NDArray[np.int32], question: Question) -> tuple[int, int]:
    """First and last token of the first right answer in a window; (0, 0) where it is not there as a whole."""
    text, begin = question.answers[0]
    end = begin + len(text)
    places = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(places):
        return 0, 0
    part = offsets[places]
    if begin < part[0, 0] or end > part[-1, 1]:
        return 0, 0
    first = int(np.searchsorted(part[:, 0], begin, "right")) - 1
    last = int(np.searchsorted(part[:, 1], end, "left"))
    return int(places[first]), int(places[max(first, last)])


def _cut(texts: list[str], tokenizer: Any, max_length: int) -> tuple[list[str], list[bool]]:
    """Questions cut to the longest that may be, and which were."""
    limit = min(LONGEST_QUESTION, max_length // 2)
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    out, is_cut = [], []
    for text, places in zip(texts, found["offset_mapping"], strict=True):
        is_cut.append(len(places) > limit)
        out.append(text[: places[limit - 1][1]] if is_cut[-1] else text)
    return out, is_cut


def _check_room(texts: list[str], tokenizer: Any, max_length: int, stride: int) -> None:
    longest = max((len(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]), default=0)
    room = max_length - longest - tokenizer.num_special_tokens_to_add(pair=True)
    if stride >= room:
        raise UserError(
            f"windows of max_length {max_length} have {max(room, 0)} tokens for the context beside the "
            f"longest question, too few for a stride of {stride}: give max_length 384, or a smaller stride"
        )
