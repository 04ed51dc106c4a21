"""Documents a second from text to a masked example: pieces, gap sentences, input and target.

Ours goes the way of training: `corpus.Encoder` encodes batches of documents into rows, as `gsg build` does,
and `GapSentenceData` selects and masks, as every epoch does. The peer is the usual way as a data collator
would do it: transformers' fast tokenizer over the document's sentences in one call, the ROUGE-1 F1 of every
sentence against the rest of its document from two `collections.Counter`s, and lists put together. Both use
the same vocabulary, the same rules for sentences and words, no stop-words, and mask every chosen sentence;
examples are equal before anything is timed, but for documents whose choice is decided by an exact tie: there
the chosen sentences' scores are equal to 1e-9; and but for texts that can be spelt with the same pieces in
two orders, which are equally likely. At most one document in 20 may differ so. One thread.
"""

import gzip
import itertools
import json
import os
import re
import string
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from pegasus.corpus import Encoder, Source, batches
from pegasus.data import GapSentenceData
from pegasus.gap_sentences import gap_count
from pegasus.masking import EOS, MASK_SENTENCE
from pegasus.options import CorpusOptions, GapOptions, MaskOptions, WordOptions
from pegasus.sentences import split_sentences
from pegasus.tokenizer import Tokenizer
from pegasus.toy import reports

SEED = 0
BATCH = 256  # documents encoded at once, as in `gsg build`
WORD = re.compile("[a-z0-9]+")
GAPS = GapOptions(strategy="ind-orig", ratio=0.3)
MASKS = MaskOptions(mask=1.0, intact=0.0)
WORDS = WordOptions(stop_words=False)
CORPUS = CorpusOptions(min_sentences=1, chunk=0)

Examples = list[tuple[list[int], list[int]]]
"""input and target ids of each document"""


class Rows:
    """Encoded rows in memory, with the face of `Shards` that `GapSentenceData` looks at."""

    def __init__(self, rows: list[dict[str, np.ndarray]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.rows[index]


class Both(NamedTuple):
    """One vocabulary in both tokenizers."""

    ours: Tokenizer
    peer: Any


def tokenizers(texts: list[str], vocabulary: int) -> Both:
    """A SentencePiece model trained on the texts, and transformers' fast tokenizer of the same folder."""
    from transformers import AutoTokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        sample = [*texts, *string.printable.strip()]
        ours = Tokenizer.train(sample, vocabulary, Path(folder) / "t", character_coverage=0.9999, threads=1)
        return Both(ours, AutoTokenizer.from_pretrained(Path(folder) / "t"))


def ours(texts: list[str], tokenizer: Tokenizer) -> Examples:
    """The way of `gsg build` and of training."""
    encoder = Encoder(tokenizer, WORDS, GAPS, CORPUS, seed=SEED)
    rows: list[dict[str, np.ndarray]] = []
    sources = (Source(text, "") for text in texts)
    for number, batch in enumerate(batches(sources, BATCH)):
        rows += encoder((number * BATCH, batch)).rows
    data = GapSentenceData(Rows(rows), GAPS, MASKS, tokenizer.starts_word, seed=SEED)  # type: ignore[arg-type]
    examples = (data.example((0, i)) for i in range(len(data)))
    return [(example.input_ids, example.target_ids) for example in examples]  # type: ignore[misc]


def peer(texts: list[str], tokenizer: Any) -> Examples:
    """The way of a data collator written in Python."""
    return [masked(text, tokenizer) for text in texts]


def masked(text: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Input and target of one document."""
    sentences = split_sentences(text, "pegasus")
    chosen = set(select(sentences))
    encoded = tokenizer([sentence.strip() for sentence in sentences], add_special_tokens=False)["input_ids"]
    source: list[int] = []
    target: list[int] = []
    for i, ids in enumerate(encoded):
        if i in chosen:
            target += ids
            source.append(MASK_SENTENCE)
        else:
            source += ids
    source, target = [*source, EOS], [*target, EOS]
    if len(source) > MASKS.max_input:
        source = [*source[: MASKS.max_input - 1], EOS]
    return source, target[: MASKS.max_target]


def select(sentences: list[str]) -> list[int]:
    """The sentences with the highest ROUGE-1 F1 against the rest; of equal ones the later."""
    f = importance(sentences)
    count = int(gap_count(np.array([len(sentences)]), GAPS.ratio)[0])
    ranked = sorted(range(len(sentences)), key=lambda i: (f[i], i))
    return sorted(ranked[len(ranked) - count :])


def importance(sentences: list[str]) -> list[float]:
    """ROUGE-1 F1 of each sentence against the rest of the document."""
    counts = [Counter(WORD.findall(sentence.lower())) for sentence in sentences]
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    total = sum(whole.values())
    # a word's hits: no more than in the sentence, no more than in the rest; 2 hits / (sentence + rest) is F1
    return [
        2 * sum(min(n, whole[word] - n) for word, n in each.items()) / total if total else 0.0
        for each in counts
    ]


def same(texts: list[str], mine: Examples, other: Examples) -> bool | str:
    """Equal examples, or equal scores of what was chosen."""
    if len(mine) != len(texts):
        return f"{len(mine)} examples of {len(texts)} documents"
    ties = 0
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        if list(a[0]) == list(b[0]) and list(a[1]) == list(b[1]):
            continue
        if sorted(a[0]) == sorted(b[0]) and sorted(a[1]) == sorted(b[1]):
            ties += 1
            continue
        scores = np.sort(np.array(importance(split_sentences(texts[i], "pegasus"))))
        count = int(gap_count(np.array([len(scores)]), GAPS.ratio)[0])
        if not 0 < count < len(scores) or scores[-count] - scores[-count - 1] > 1e-9:
            return f"document {i}: {list(a[1])[:20]} against {b[1][:20]}"
        ties += 1
    return ties <= len(texts) / 20 or f"{ties} of {len(texts)} documents differ by ties"


def contest(name: str, texts: list[str], both: Both, tiny: bool) -> Row:
    """Time both on the same texts."""
    row = versus(
        name,
        lambda: ours(texts, both.ours),
        lambda: peer(texts, both.peer),
        lambda mine, other: same(texts, mine, other),
        rounds=1 if tiny else 3,
        min_seconds=0 if tiny else 0.2,
        unit="examples",
        per_call=len(texts),
    )
    size = sum(len(text.encode()) for text in texts) / 1e6
    return row | {"ours, MB/s": size / row["ours_seconds"], "peer, MB/s": size / row["peer_seconds"]}


def abstracts(count: int) -> list[str] | None:
    """Abstracts of papers that are plain ASCII, or None without the data.

    SentencePiece and transformers' copy of it normalise a few other characters differently.
    """
    path = data_folder("papers", "abstracts.jsonl.gz")
    if path is None:
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = (json.loads(line)["abstract"] for line in lines)
        usable = (text for text in texts if text.isascii() and text.isprintable() and text.strip())
        return list(itertools.islice(usable, count))


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    toys = [report.text for report in reports(5 if tiny else 500, seed=SEED)]
    both = tokenizers([report.text for report in reports(300, seed=SEED + 1)], 190)
    rows = [contest("text to example, made-up reports, V = 293", toys, both, tiny)]
    real = None if tiny else abstracts(1000)
    if real is not None:
        rows.append(contest("text to example, abstracts, V = 8,103", real, tokenizers(real, 8000), tiny))
    elif not tiny:
        print("speed_encode: abstracts skipped, the real data (NONET_DATA) is not here")
    print(table(rows))
    if not tiny:
        versions = ("numpy", "numba", "sentencepiece", "transformers", "tokenizers")
        save("pegasus", rows, table="encode", versions=versions, data="made-up reports; abstracts", seed=SEED)
    return rows


if __name__ == "__main__":
    main()
