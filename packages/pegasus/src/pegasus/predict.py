"""Summaries of a stream of documents, in the order they came, whatever the batches."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nonet.data.batching import OrderedBatches
from nonet.training.devices import pick_device
from pegasus.data import pad
from pegasus.masking import EOS, PAD, cut
from pegasus.options import DecodeOptions

if TYPE_CHECKING:
    from pegasus.model import Summarizer
    from pegasus.tokenizer import Tokenizer

WINDOW = 1024  # documents read ahead, to batch those of similar length


class Summary(NamedTuple):
    """What a model wrote of one document."""

    text: str
    score: float
    """normalised log-probability"""
    tokens: int
    """of the summary, with the end token"""
    cut: int
    """document tokens beyond the longest input"""


def summarize_texts(
    model: str | Path,
    documents: Iterable[str],
    options: DecodeOptions | None = None,
    *,
    batch_tokens: int = 8192,
    device: str = "auto",
) -> Iterator[str]:
    """Summaries of documents, one by one in their order.

    Args:
        model: folder of a model and its tokenizer, or a hub name.
        documents: texts; an empty one gets an empty summary.
        options: decoding; its defaults are those of `DecodeOptions`.
        batch_tokens: padded document tokens a batch.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
    """
    from nonet.training.hub import local_folder
    from pegasus.model import check_vocabulary, load_model
    from pegasus.tokenizer import Tokenizer

    loaded, tokenizer = load_model(model), Tokenizer.load(local_folder(model))
    check_vocabulary(loaded, tokenizer, model)
    loaded.to(pick_device(device))
    options = options or DecodeOptions()
    for summary in summarize(loaded, tokenizer, documents, options, batch_tokens=batch_tokens):
        yield summary.text


def summarize(
    model: "Summarizer",
    tokenizer: "Tokenizer",
    documents: Iterable[str],
    options: DecodeOptions,
    *,
    batch_tokens: int = 8192,
) -> Iterator[Summary]:
    """Summaries of documents with their scores, in order; see `summarize_texts`.

    Documents of similar length share a batch, out of windows of 1024.
    """
    window: list[str] = []
    for document in documents:
        window.append(document)
        if len(window) == WINDOW:
            yield from _window(model, tokenizer, window, options, batch_tokens)
            window = []
    yield from _window(model, tokenizer, window, options, batch_tokens)


def _window(
    model: "Summarizer",
    tokenizer: "Tokenizer",
    documents: list[str],
    options: DecodeOptions,
    batch_tokens: int,
) -> Iterator[Summary]:
    import torch

    from pegasus.decoding import generate

    encoded = [np.array([*tokenizer.encode(text), EOS], np.int32) for text in documents]
    rows = [cut(ids, options.max_input, True) for ids in encoded]
    found: dict[int, Summary] = {
        i: Summary("", 0.0, 0, 0) for i, text in enumerate(documents) if not text.strip()
    }
    todo = np.array([i for i in range(len(documents)) if i not in found], np.int64)
    order = todo[np.argsort([len(rows[i]) for i in todo], kind="stable")]
    device = model.device
    lengths_of = [len(rows[i]) for i in order]
    limit = max(batch_tokens, options.max_input)
    batches = OrderedBatches(lengths_of, max_tokens=limit).epoch(0) if len(order) else []
    for places in batches:
        batch = [int(i) for i in order[places]]
        ids = torch.from_numpy(pad([rows[i] for i in batch], PAD)).to(device)
        lengths = torch.tensor([len(rows[i]) for i in batch], device=device)
        mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
        tokens, scores = generate(model, ids, mask, options)
        for i, line, score in zip(batch, tokens.tolist(), scores.tolist(), strict=True):
            written = line[: line.index(EOS)] if EOS in line else [token for token in line if token != PAD]
            text = tokenizer.decode(written)
            found[i] = Summary(
                text, score, len(written) + (EOS in line), max(0, len(encoded[i]) - len(rows[i]))
            )
    for i in range(len(documents)):
        yield found[i]
