"""Learning a SentencePiece vocabulary (Kudo 2018 for unigram) with the settings of PEGASUS."""

import io
import random
import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import sentencepiece

from nonet.errors import UserError
from pegasus.tokenizer_files import reserved_names

T = TypeVar("T")

LONGEST = 4000
"""bytes; SentencePiece leaves out longer lines without a word, so they are cut"""

_RESERVED = re.compile("|".join(re.escape(name) for name in ("<n>", "<unk>", *reserved_names())))
_SPELLING = "".join(sorted(set("<n>" + "".join(reserved_names()))))


def train(
    texts: Iterable[str],
    vocab_size: int,
    *,
    character_coverage: float = 0.9995,
    model_type: Literal["unigram", "bpe"] = "unigram",
    threads: int = 2,
    seed: int = 0,
    newline: bool = True,
) -> bytes:
    """Learn a vocabulary from texts.

    Args:
        texts: documents or sentences; they are read once, and held in memory by SentencePiece.
        vocab_size: pieces, among them pad, end and unknown; the model's vocabulary has 103 more.
        character_coverage: share of the characters seen that get a piece of their own; the rest is unknown.
        model_type: how pieces are chosen.
        threads: the result may differ in rare pieces between numbers of threads; one number, one result.
        seed: of SentencePiece's generator.
        newline: whether `<n>` stands for a newline.

    Returns:
        The serialized model.

    Raises:
        UserError: no text, or a vocabulary too large or too small for it.
    """
    if vocab_size < 4:
        raise UserError(f"vocab_size is {vocab_size}; at least pad, end, unknown and the newline must fit")
    if not 0 < character_coverage <= 1:
        raise UserError(f"character_coverage is {character_coverage}; it lies in (0, 1]")
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for text in texts:
            for line in lines_of(text):
                count += 1
                yield line

    sentencepiece.set_random_generator_seed(seed)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=counted(),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            character_coverage=character_coverage,
            num_threads=threads,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            user_defined_symbols=["<n>"] if newline else [],
            required_chars=_SPELLING,
            max_sentence_length=2 * LONGEST,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_reason(str(error), vocab_size, count)) from error
    return model.getvalue()


def _reason(said: str, vocab_size: int, count: int) -> str:
    if count == 0:
        return "there is no text to learn a vocabulary from; check --input and --text-field"
    if high := re.search(r"Vocabulary size too high \((\d+)\).*<= (\d+)", said):
        return (
            f"vocab_size {high[1]} is more than {count} lines of text support: --vocab-size {high[2]} at most"
        )
    if low := re.search(r"smaller than required_chars\. (\d+) vs (\d+)", said):
        return (
            f"vocab_size {low[1]} is smaller than the {low[2]} pieces that single characters need; "
            "raise --vocab-size or lower --character-coverage"
        )
    return f"SentencePiece cannot learn {vocab_size} pieces from {count} lines of text: {said}"


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text, without reserved strings, cut so that none is longer than LONGEST bytes."""
    for line in text.splitlines():
        line = _RESERVED.sub(lambda found: "< " + found[0][1:], line).replace("\0", "").strip()
        line = line.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        while len(line.encode("utf-8")) > LONGEST:
            cut = len(line.encode("utf-8")[:LONGEST].decode("utf-8", "ignore"))
            space = line.rfind(" ", 0, cut)
            cut = space if space > 0 else cut
            yield line[:cut]
            line = line[cut:].lstrip()
        if line:
            yield line


def sample(items: Iterable[T], size: int, seed: int = 0) -> list[T]:
    """At most `size` items, every set of that size being equally likely, in their order (Vitter 1985,
    method R).

    Args:
        items: read once; only `size` of them are held.
        size: how many to keep.
        seed: of the choice.
    """
    generator = random.Random(seed)
    kept: list[tuple[int, T]] = []
    for i, item in enumerate(items):
        if i < size:
            kept.append((i, item))
        elif (slot := generator.randrange(i + 1)) < size:
            kept[slot] = (i, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]
