"""The scorer of Chan et al. 2019 and DeepKPG as lists and loops, one document at a time, in words of our own.

What costs time there is kept: every word of every text is stemmed by NLTK each time it occurs; phrases are
compared as strings joined anew for each pair; a phrase is looked for in the text word by word; the ideal
order of alpha-NDCG, where it is asked for, is built by a vector product for each candidate at each rank.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Document = tuple[str, Sequence[str], Sequence[str]]
MOST = 200
ALPHA = 0.5


def plain_scores(
    documents: Sequence[Document], ks: Sequence[int | str], stemmer: Any, alpha: bool
) -> dict[str, float]:
    """Macro precision, recall, F1, MAP, NDCG and alpha-NDCG, by `"measure class@k"`.

    Args:
        documents: text with `[sep]`, gold phrases, predictions.
        ks: cuts: numbers, M or O.
        stemmer: of NLTK.
        alpha: with alpha-NDCG.
    """
    sums: dict[str, float] = {}
    for text, gold, said in documents:
        title, _, body = text.strip().partition("[sep]")
        words = [stemmer.stem(word.strip().lower()) for word in title.split() + body.split()]
        golds, saids = (
            _unique(
                [[stemmer.stem(word.strip().lower()) for word in phrase.split(" ")] for phrase in phrases]
            )
            for phrases in (gold, said[:MOST])
        )
        golds_in, golds_out = _parted(words, golds)
        saids_in, saids_out = _parted(words, saids)
        of_class = {"all": (golds, saids), "present": (golds_in, saids_in), "absent": (golds_out, saids_out)}
        for name, (some_gold, some_said) in of_class.items():
            for key, value in _document(some_gold, some_said, ks, alpha).items():
                full = key.replace("@", f" {name}@")
                sums[full] = sums.get(full, 0.0) + value
    means = {key: value / len(documents) for key, value in sums.items()}
    for key in [key for key in means if key.startswith("P ")]:
        p, r = means[key], means[f"R {key[2:]}"]
        means[f"F1 {key[2:]}"] = 2 * p * r / (p + r) if p + r else 0.0
    return means


def _unique(phrases: list[list[str]]) -> list[list[str]]:
    seen = set()
    kept = []
    for phrase in phrases:
        if "_".join(phrase) not in seen:
            kept.append(phrase)
        seen.add("_".join(phrase))
    return kept


def _parted(words: list[str], phrases: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Phrases that are in the text and those that are not."""
    present, absent = [], []
    for phrase in phrases:
        found = False
        if " ".join(phrase).strip():
            for start in range(len(words) - len(phrase) + 1):
                found = True
                for i, word in enumerate(phrase):
                    if words[start + i] != word:
                        found = False
                        break
                if found:
                    break
        (present if found else absent).append(phrase)
    return present, absent


def _document(
    gold: list[list[str]], said: list[list[str]], ks: Sequence[int | str], alpha: bool
) -> dict[str, float]:
    right = np.zeros(len(said), bool)
    for i, one in enumerate(said):
        joined = " ".join(one)
        for other in gold:
            if joined == " ".join(other):
                right[i] = True
                break
    found = {}
    for k in ks:
        top = len(said) if k == "M" else len(gold) if k == "O" else int(k)
        some = right[:top]
        hits = int(some.sum())
        found[f"P@{k}"] = hits / top if said and top else 0.0
        found[f"R@{k}"] = hits / len(gold) if gold else 0.0
        precisions = [some[: i + 1].sum() / (i + 1) for i in range(len(some)) if some[i]]
        found[f"MAP@{k}"] = sum(precisions) / len(gold) if gold else 0.0
        found[f"NDCG@{k}"] = _share(right * 1.0, np.array(sorted(right, reverse=True)) * 1.0, top)
    if alpha:
        serves = np.zeros((len(gold), len(said)), bool)
        for row, other in enumerate(gold):
            joined = " ".join(other)
            for column, one in enumerate(said):
                serves[row, column] = " ".join(one) in joined
        gains, best = _gains(serves), _gains(serves[:, _ideal(serves)])
        for k in ks:
            top = len(said) if k == "M" else len(gold) if k == "O" else int(k)
            found[f"alpha-NDCG@{k}"] = _share(gains, best, top)
    return found


def _share(gains: np.ndarray, best: np.ndarray, top: int) -> float:
    ours, ideal = (
        float(np.sum(row[:top] / np.log2(np.arange(2, row[:top].size + 2)))) for row in (gains, best)
    )
    return ours / ideal if ideal > 0 else 0.0


def _gains(serves: np.ndarray) -> np.ndarray:
    before = np.concatenate([np.zeros((len(serves), 1)), np.cumsum(serves, axis=1)], axis=1)
    worth = np.ones(len(serves)) * (1 - ALPHA)
    gains = np.zeros(serves.shape[1])
    for i in range(serves.shape[1]):
        gains[i] = np.dot(serves[:, i], np.power(worth, before[:, i]))
    return gains


def _ideal(serves: np.ndarray) -> list[int]:
    met = np.zeros(len(serves))
    worth = np.ones(len(serves)) * (1 - ALPHA)
    order: list[int] = []
    for _ in range(serves.shape[1]):
        gains = np.zeros(serves.shape[1])
        for i in range(serves.shape[1]):
            gains[i] = -1000.0 if i in order else np.dot(serves[:, i], np.power(worth, met))
        order.append(int(np.argmax(gains)))
        met = met + serves[:, order[-1]]
    return order
