"""Are the selected sentences like the summary that a person wrote? ROUGE of gap sentences against human
summaries.

`python -m benchmarks.pegasus.claim_proxy`: no training, some seconds. Each strategy selects one sentence,
or 30 %, of every document; the selection, joined by spaces, is scored (ROUGE F1, stemmed, times 100)
against the first reference. On abstracts of papers (SciTLDR dev + test) the principal sentences beat the
lead, and the lead beats chance, as the paper says of its corpora. On e-mails (AESLC dev) the subject
follows the first line, and principal sentences are no better than random ones.
"""

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.pegasus.experiment import jsonl

from nonet.metrics.rouge import score_pairs
from pegasus.gap_sentences import select
from pegasus.options import GapOptions
from pegasus.sentences import words_of_sentences

STRATEGIES = {
    "Lead": ("lead", True),
    "Random (mean of 20 seeds)": ("random", True),
    "Ind-Orig": ("ind-orig", True),
    "Ind-Orig, stop-words counted": ("ind-orig", False),
    "Ind-Uniq": ("ind-uniq", True),
    "Seq-Orig": ("seq-orig", True),
    "Seq-Uniq": ("seq-uniq", True),
}
TYPES = ("rouge1", "rouge2", "rougeL")


def scores(
    documents: list[list[str]], summaries: list[str], strategy: str, stop_words: bool, ratio: float
) -> str:
    """R1/R2/RL of the selected sentences against the summaries."""
    words = words_of_sentences(documents, stop_words=stop_words)
    found = []
    for seed in range(20 if strategy == "random" else 1):
        picks, _ = select(words, GapOptions(strategy=strategy, ratio=ratio), seed=seed)  # type: ignore[arg-type]
        texts = [
            " ".join(sentences[i] for i in pick) for sentences, pick in zip(documents, picks, strict=True)
        ]
        by_type = score_pairs(summaries, texts, TYPES)
        found.append([100 * by_type[kind][:, 2].mean() for kind in TYPES])
    return " / ".join(f"{value:.2f}" for value in np.mean(found, axis=0))


def corpora() -> dict[str, tuple[list[list[str]], list[str]]]:
    """Sentences and first references; empty without the data."""
    folder = data_folder()
    if folder is None or not (folder / "scitldr").exists() or not (folder / "aeslc").exists():
        return {}
    papers = [record for side in ("dev", "test") for record in jsonl(folder / "scitldr" / f"{side}.jsonl")]
    mails = jsonl(folder / "aeslc" / "dev.jsonl")
    return {
        "SciTLDR": ([r["source"] for r in papers], [r["target"][0] for r in papers]),
        "AESLC": ([r["body"] for r in mails], [r["subject"] for r in mails]),
    }


def rows(tiny: bool = False) -> list[Row]:
    """The table: a row a strategy, a column a corpus and share."""
    found = corpora()
    out: list[Row] = []
    for name, (strategy, stop_words) in STRATEGIES.items():
        row: Row = {"name": name}
        for corpus, (documents, summaries) in found.items():
            side = documents[:20] if tiny else documents, summaries[:20] if tiny else summaries
            row[f"{corpus}, top 1"] = scores(*side, strategy, stop_words, 1e-9)
            row[f"{corpus}, 30 %"] = scores(*side, strategy, stop_words, 0.3)
        out.append(row)
    return out if found else []


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    told = rows(tiny)
    if not told:
        print("claim_proxy: skipped, the real data (NONET_DATA) is not here")
        return []
    print(table(told))
    if not tiny:
        data = "SciTLDR dev + test (1,237 abstracts), AESLC dev (1,960 e-mails), first references"
        save("pegasus", told, table="proxy", versions=("numpy", "numba"), data=data)
    return told


if __name__ == "__main__":
    main()
