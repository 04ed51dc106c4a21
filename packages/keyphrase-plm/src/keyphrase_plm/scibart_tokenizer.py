"""SciBART's tokenizer from its SentencePiece file, which no stock class of transformers reads.

Like XLM-R's it was made for fairseq, whose dictionary begins with `<s>`, `<pad>`, `</s>`, `<unk>`; the file's
own first three pieces are `<unk>`, `<s>`, `</s>`. Hence the piece that the file numbers i, from 3 on, has the
id i + 1, and `<mask>` is behind the last one. Whether a checkpoint was made that way is seen by its number of
embeddings, with which the length is compared. Source: the layout of fairseq dictionaries; the file's own ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonet.errors import UserError

FIRST = ("<s>", "<pad>", "</s>", "<unk>")
OFFSET = 1
NAMES = ("sentencepiece.bpe.model", "spm.model", "sentencepiece.model")
"""what the file is called in the folder of a model"""
OWN = 3
"""pieces at the beginning of the file that fairseq has in another order"""


def scibart_file(folder: str | Path) -> Path | None:
    """The SentencePiece file of a model's folder that has no tokenizer of transformers beside it."""
    folder = Path(folder)
    if not folder.is_dir() or (folder / "tokenizer.json").is_file():
        return None
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def load_scibart_tokenizer(
    path: str | Path, *, vocab_size: int | None = None, positions: int = 1024, lower: bool = False
) -> Any:
    """A fast tokenizer that gives the ids of the SentencePiece file, moved as fairseq does.

    Args:
        path: the file, such as `sentencepiece.bpe.model`.
        vocab_size: of the model's config; the tokenizer has to fit. A few rows more than pieces are padding.
        positions: pieces of the longest input.
        lower: lower-case first.

    Returns:
        A `PreTrainedTokenizerFast`; "a text" becomes `<s> ... </s>`.

    Raises:
        UserError: not a SentencePiece file, an unknown kind, or a vocabulary that does not fit the model.
    """
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as a SentencePiece model: {str(error)[:150]}") from error
    count = processor.get_piece_size()
    own = [processor.id_to_piece(i) for i in range(min(OWN, count))]
    if own != ["<unk>", "<s>", "</s>"]:
        raise UserError(f"{path}: begins with {' '.join(own)}, but fairseq's offset is for <unk> <s> </s>")
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(OWN, count)]
    length = len(FIRST) + len(pieces) + 1
    if vocab_size is not None and not length <= vocab_size <= length + 128:
        raise UserError(
            f"{path}: {length:,} pieces with the special ones, but the model has {vocab_size:,} embeddings: "
            "they are not of one model"
        )
    backend = _matching(processor, pieces, lower=lower, path=path)
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token=AddedToken("<mask>", lstrip=True),
        model_max_length=positions, clean_up_tokenization_spaces=False,
    )  # fmt: skip


PROBES = (
    "deep neural networks for keyphrase generation",
    "graph colouring of 3-regular graphs",
    "we study the quality of (noisy) labels, in 2022.",
)


def _matching(processor: Any, pieces: Sequence[tuple[str, float]], *, lower: bool, path: str | Path) -> Any:
    """The tokenizer of the kind, unigram or byte-pair, that splits as the file itself does."""
    from tokenizers import models

    vocabulary = [*((name, 0.0) for name in FIRST), *pieces]
    unknown = FIRST.index("<unk>")
    for model in (
        lambda: models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False),
        lambda: models.BPE({piece: i for i, (piece, _) in enumerate(vocabulary)}, _merges(pieces),
                           unk_token="<unk>", fuse_unk=True),
    ):  # fmt: skip
        backend = _around(model(), lower)
        if all(
            [i + OFFSET if i >= OWN else unknown for i in processor.encode(text)]
            == backend.encode(text, add_special_tokens=False).ids
            for text in PROBES
        ):
            return backend
    raise UserError(
        f"{path}: SentencePiece splits {PROBES[0]!r} in another way than unigram or byte pairs do"
    )


def _merges(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, str]]:
    """The pairs that make up each piece, best piece first: what a byte-pair file leaves to be found."""
    rank = {piece: place for place, (piece, _) in enumerate(pieces)}
    found: list[tuple[str, str]] = []
    for piece, _ in sorted(pieces, key=lambda each: -each[1]):
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = [pair for pair in splits if pair[0] in rank and pair[1] in rank]
        found += sorted(known, key=lambda pair: (rank[pair[0]], rank[pair[1]]))
    return found


def _around(model: Any, lower: bool) -> Any:
    """A tokenizer with that model between SentencePiece's way with spaces and BART's special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

    backend = Tokenizer(model)
    steps: list[Any] = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lower else steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    backend.add_special_tokens([*FIRST, AddedToken("<mask>", lstrip=True)])
    ends = [(name, FIRST.index(name)) for name in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    return backend
