"""What a shard folder holds: sizes, how much is cut, and which sentences are cut again and again."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from nonet.data.shards import Shards
from pegasus.options import MaskOptions

if TYPE_CHECKING:
    from pegasus.tokenizer import Tokenizer

FREQUENT = 20  # sentences listed


def corpus_statistics(shards: Shards, tokenizer: "Tokenizer", masks: MaskOptions) -> dict[str, Any]:
    """Sizes of documents and targets, and the sentences that are cut most often.

    A sentence that is cut hundreds of times is boilerplate (the footer of e-mails, a licence), which
    overlaps with nothing but itself and teaches nothing.

    Returns:
        documents, sentences, words, tokens, gap_sentences, gap_tokens: totals; sentences_per_document and
        tokens_per_document: mean, median and 95th percentile; gap_share: cut sentences of all; cut_inputs and
        cut_targets: shares of documents beyond the longest input and target; frequent: the most frequently
            cut sentences
        with their counts; target_entropy: of the target tokens' distribution, in nats.
    """
    lengths = {name: shards.lengths(name) for name in ("pieces", "ends", "words", "chosen")}
    targets = np.zeros(len(shards), np.int64)
    seen: Counter[bytes] = Counter()
    unigrams = np.zeros(len(tokenizer), np.int64)
    for i in range(len(shards)):
        row = shards[i]
        ends = row["ends"]
        for j in row["chosen"]:
            sentence = row["pieces"][ends[j - 1] if j else 0 : ends[j]]
            targets[i] += len(sentence)
            seen[sentence.tobytes()] += 1
            np.add.at(unigrams, sentence, 1)
    unigrams[1] += len(shards)  # every target ends
    gap_sentences = int(lengths["chosen"].sum())
    inputs = lengths["pieces"] + 1 - (targets - lengths["chosen"]) * masks.mask
    return {
        "documents": len(shards),
        "sentences": int(lengths["ends"].sum()),
        "words": int(lengths["words"].sum()),
        "tokens": int(lengths["pieces"].sum()),
        "gap_sentences": gap_sentences,
        "gap_tokens": int(targets.sum()),
        "sentences_per_document": _spread(lengths["ends"]),
        "tokens_per_document": _spread(lengths["pieces"]),
        "gap_tokens_per_document": _spread(targets),
        "gap_share": gap_sentences / max(1, int(lengths["ends"].sum())),
        "cut_inputs": float((inputs > masks.max_input).mean()) if len(shards) else 0.0,
        "cut_targets": float((targets + 1 > masks.max_target).mean()) if len(shards) else 0.0,
        "target_entropy": entropy(unigrams),
        "frequent": [
            {"count": count, "sentence": tokenizer.decode(np.frombuffer(data, np.int32).tolist())}
            for data, count in seen.most_common(FREQUENT)
            if count > 1
        ],
    }


def entropy(counts: np.ndarray) -> float:
    """The entropy of the distribution with these counts, in nats; 0 for none."""
    total = counts.sum()
    if not total:
        return 0.0
    shares = counts[counts > 0] / total
    return float(-(shares * np.log(shares)).sum())


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"mean": 0.0, "median": 0.0, "p95": 0.0}
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
    }
