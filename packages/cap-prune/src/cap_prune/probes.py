"""What an encoder knows apart from its task: similarity without training, and linear probes.

The frozen encoder gives a vector for each sentence. Their cosines are compared with people's judgement
(Spearman's rank correlation on STS-B), and a linear classifier on them is trained for other tasks, as
SentEval does (Conneau and Kiela 2018). The higher, the more general knowledge has survived pruning.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from cap_prune.embedding import Floats, embed
from cap_prune.probe_files import Labelled, Pairs
from nonet.errors import UserError
from nonet.metrics.correlation import spearman

STRENGTH = 0.01
"""inverse of the L2 penalty on standardised vectors: of 0.001 to 1 the best for MiniLM on CR, nearly so on
TREC"""
STEPS = 2000
"""of the classifier's optimiser at most"""


class Probe(NamedTuple):
    """Accuracy of a linear classifier on frozen vectors, in percent."""

    mean: float
    spread: float
    """standard deviation over the folds; 0 for one training and one test set"""
    majority: float
    """what the commonest class alone would give"""
    scored: int
    """texts that were scored"""


def similarity(
    model: Any,
    tokenizer: Any,
    pairs: Pairs,
    *,
    pooling: Literal["mean", "cls"] = "mean",
    batch: int = 64,
    max_length: int | None = None,
) -> float:
    """Spearman's correlation in -1..1 of the vectors' cosines with the scores; nothing is trained.

    all-MiniLM-L6-v2, untouched, reaches 0.8203 on STS-B's test set with pooling `mean`.

    Args:
        model: a supported encoder with or without head.
        tokenizer: of transformers.
        pairs: two at least.
        pooling: as in `embed`.
        batch: texts at a time.
        max_length: as in `embed`.

    Raises:
        UserError: as `embed` does.
    """
    half = len(pairs.scores)
    vectors = embed(
        model, tokenizer, [*pairs.first, *pairs.second], pooling=pooling, batch=batch, max_length=max_length
    ).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return float(spearman((vectors[:half] * vectors[half:]).sum(1), np.array(pairs.scores)))


def linear_probe(
    vectors: Floats, labels: Sequence[str], *, folds: int = 5, seed: int = 0, strength: float = STRENGTH
) -> Probe:
    """Cross-validated accuracy of logistic regression on standardised vectors.

    Args:
        vectors: (N, d) float.
        labels: N classes.
        folds: parts; each is scored by a classifier trained on the others, classes in equal shares.
        seed: of the parts.
        strength: inverse of the L2 penalty (scikit-learn's C).

    Raises:
        UserError: one class only, or one with fewer texts than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    names, classes = np.unique(np.array(labels), return_inverse=True)
    counts = np.bincount(classes)
    if len(counts) < 2:
        raise UserError("a probe needs two classes at least")
    if folds < 2 or counts.min() < folds:
        raise UserError(
            f"folds is {folds}; it is 2 or more, and at most {counts.min()}, the texts of class "
            f"{str(names[counts.argmin()])!r}"
        )
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scores = [
        _accuracy(vectors[train], classes[train], vectors[test], classes[test], strength)
        for train, test in split.split(vectors, classes)
    ]
    majority = 100 * counts.max() / len(classes)
    return Probe(float(np.mean(scores)), float(np.std(scores, ddof=1)), float(majority), len(classes))


def transfer_probe(
    vectors: Floats, labels: Sequence[str], test_vectors: Floats, test_labels: Sequence[str],
    *, strength: float = STRENGTH,
) -> Probe:  # fmt: skip
    """Accuracy on a test set of logistic regression that was trained on another set.

    Args:
        vectors: (N, d) float.
        labels: N classes.
        test_vectors: (M, d) float.
        test_labels: M classes.
        strength: inverse of the L2 penalty.

    Raises:
        UserError: a class of the test set is not in the other, or there is one class only.
    """
    names = sorted(set(labels))
    unknown = set(test_labels) - set(names)
    if unknown or len(names) < 2:
        what = (
            f"classes {sorted(unknown)} are in the test set alone" if unknown else "there is one class only"
        )
        raise UserError(f"no linear probe: {what}")
    number = {name: place for place, name in enumerate(names)}
    train, test = (np.array([number[each] for each in part]) for part in (labels, test_labels))
    score = _accuracy(vectors, train, test_vectors, test, strength)
    return Probe(score, 0.0, float(100 * (test == np.bincount(train).argmax()).mean()), len(test))


def probe_set(
    model: Any, tokenizer: Any, parts: Sequence[Labelled], *, folds: int = 5, seed: int = 0, **how: Any
) -> Probe:
    """Probe an encoder on one data set.

    Args:
        model: a supported encoder.
        tokenizer: of transformers.
        parts: one set, for cross-validation, or a training and a test set.
        folds: of the cross-validation.
        seed: of the folds.
        **how: for `embed`: `pooling`, `batch`, `max_length`.

    Raises:
        UserError: as the functions above do.
    """
    vectors = [embed(model, tokenizer, part.texts, **how) for part in parts]
    if len(parts) == 1:
        return linear_probe(vectors[0], parts[0].labels, folds=folds, seed=seed)
    return transfer_probe(vectors[0], parts[0].labels, vectors[1], parts[1].labels)


def _accuracy(train: Floats, classes: Any, test: Floats, truth: Any, strength: float) -> float:
    """Percent right; means and deviations are those of the training part."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = train.mean(0), train.std(0) + 1e-8
    model = LogisticRegression(C=strength, max_iter=STEPS)
    model.fit((train - mean) / spread, classes)
    return float(100 * (model.predict((test - mean) / spread) == truth).mean())
