"""Worked examples of task metrics: numbers that can be checked by hand (ours)."""

import math

from nonet.metrics.classification import accuracy, auroc, count_error, macro_f1
from nonet.metrics.cross_modal import CrossModal, cross_modal, dual_softmax, fold_mean
from nonet.metrics.dialogue import answer_ranks, ndcg
from nonet.metrics.documents import anls, entity_f1, exact_match
from nonet.metrics.gqa import GqaScores, Question, gqa, grounding
from nonet.metrics.grounding import Relation, phrase_recall, referring_accuracy, relation_recall
from nonet.metrics.image_generation import clipscore, frechet_distance, inception_score, r_precision
from nonet.metrics.moments import moment_recall
from nonet.metrics.navigation import Navigation, Walk, navigation, ndtw, spl
from nonet.metrics.perplexity import perplexity
from nonet.metrics.reasoning import nlvr2, vcr
from nonet.metrics.sentiment import Sentiment, sentiment
from nonet.metrics.vqa import Convention, vqa_accuracy
from vlp_atlas.oracles import Oracle

EXACT = 1e-12

ANSWERS = {
    "0": ["yes"] * 10,
    "1": ["red", *["blue"] * 9],
    "2": ["two", "2", *["3"] * 8],
    "3": ["cat"] * 3 + ["dog"] * 7,
}
GUESSES = {"0": "no", "1": "red", "2": "three", "3": "cat"}  # 0, 1, 8 and 3 of ten
QUESTIONS = {
    "1": Question("red", entailed=("2", "3"), valid={"red", "blue"}, plausible={"red"}, group="car"),
    "2": Question("yes", balanced=False),
    "3": Question("no", balanced=False),
    "4": Question("blue", valid={"red", "blue"}, plausible={"blue"}, group="car"),
}
ANSWERED = {"1": "red", "2": "yes", "3": "yes", "4": "red"}
# Four images with one text each: own texts are at ranks 1, 2, 1, 4 in the rows and 1, 2, 2, 1 in the columns.
SIMILARITY = [[9.0, 1.0, 2.0, -9.0], [7.0, 6.0, 1.0, -8.0], [3.0, 5.0, 6.5, -7.0], [8.0, 7.0, 7.5, 0.0]]
LINE = [[2.0 * abs(i - j) for j in range(4)] for i in range(4)]  # four viewpoints, 2 m apart
FEELINGS = ([-1.0, 1.2, 2.0, -0.4], [0.0, 1.0, -3.0, -1.0])


def _vqa(convention: Convention) -> float:
    return vqa_accuracy(GUESSES, ANSWERS, convention=convention).accuracy


def _unanimous(convention: Convention) -> float:
    return vqa_accuracy({"q": "yes."}, {"q": ["yes."] * 10}, convention=convention).accuracy


def _gqa() -> GqaScores:
    return gqa(ANSWERED, QUESTIONS)


def _retrieval() -> CrossModal:
    return cross_modal(SIMILARITY, cuts=(1, 5, 10))


def _walks() -> Navigation:
    """One walk ends 4 m from the goal and was 2 m from it; one is perfect."""
    return navigation([Walk([0, 1, 2, 1], [0, 1, 2, 3], LINE), Walk([0, 1, 2], [0, 1, 2], LINE)])


def _sentiment() -> Sentiment:
    return sentiment(*FEELINGS)


def _none(value: float | None) -> float:
    return math.nan if value is None else value


_COVERED = (3 + math.exp(-2 / 3)) / 4  # of the first walk: the goal is 2 m away
_RELATIONS = [Relation(("man", "rides", "horse"), [[0, 0, 10, 10], [20, 0, 30, 10]])]
_TEXTS = "4 images with a text each; own texts at ranks 1, 2, 1, 4, own images at 1, 2, 2, 1"
_WALKS = "4 viewpoints 2 m apart: 0121 for 0123, and 012 for 012; radius 3 m"
_FOUR = "predictions -1, 1.2, 2, -.4 for truths 0, 1, -3, -1"

ORACLES: dict[str, Oracle] = {
    "vqa-accuracy": Oracle(
        "4 questions with 0, 1, 8 and 3 of ten people giving the answer: 0, .3, 1, .9",
        lambda: _vqa("fixed"), 0.55, EXACT,
    ),
    "vqa-unanimous-official": Oracle(
        "ten people say `yes.`, and so does the prediction: the 2015 evaluation says wrong",
        lambda: _unanimous("official-2015"), 0.0, EXACT,
    ),
    "vqa-unanimous-fixed": Oracle(
        "ten people say `yes.`, and so does the prediction: right", lambda: _unanimous("fixed"), 1.0, EXACT
    ),
    "anls": Oracle(
        "abd for abc (2/3), and ab for ax, where NL is exactly .5 (0)",
        lambda: anls({"1": "abd", "2": "ab"}, {"1": ["abc"], "2": ["ax"]}).mean, 1 / 3, EXACT,
    ),
    "exact-match": Oracle(
        "2 answers, one of them right",
        lambda: exact_match({"1": "a", "2": "b"}, {"1": ["a"], "2": ["a"]}).mean, 0.5, EXACT,
    ),
    "entity-f1": Oracle(
        "3 true and 3 predicted entities: one equal, one of another kind, one that ends too early",
        lambda: entity_f1(
            [["B-Q", "I-Q", "O", "B-Q"], ["B-A", "O"]], [["B-Q", "I-Q", "O", "B-A"], ["B-A", "I-A"]]
        ).f1,
        1 / 3, EXACT,
    ),
    "accuracy": Oracle("2 of 4 labels", lambda: accuracy(list("abca"), list("abab")), 0.5, EXACT),
    "macro-f1": Oracle(
        "a, a, b for a, b, b: both classes have 2/3", lambda: macro_f1(list("aab"), list("abb")), 2 / 3, EXACT
    ),
    "auroc-ties": Oracle(
        "scores .1, .4, .4, .8 for labels 0, 0, 1, 1: 3.5 of 4 pairs",
        lambda: auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]), 0.875, EXACT,
    ),
    "nlvr2-consistency": Oracle(
        "4 pairs of 3 sentences; one sentence has all its pairs right",
        lambda: nlvr2([1, 0, 1, 0], [1, 1, 1, 1], ["a", "a", "b", "c"]).consistency, 1 / 3, EXACT,
    ),
    "vcr-q-ar": Oracle(
        "4 questions: answers right in 1, 2, 3 and rationales in 2, 3, 4; the product would be .5625",
        lambda: vcr([0, 1, 2, 0], [3, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]).q_ar, 0.5, EXACT,
    ),
    "gqa-consistency": Oracle(
        "one rightly answered question with two that follow, one of them right",
        lambda: _none(_gqa().consistency), 0.5, EXACT,
    ),
    "gqa-validity": Oracle("red and red, both among the colours", lambda: _none(_gqa().validity), 1.0, EXACT),
    "gqa-plausibility": Oracle(
        "red where red is plausible, red where only blue is", lambda: _none(_gqa().plausibility), 0.5, EXACT
    ),
    "gqa-distribution": Oracle(
        "a group with the answers red, blue and the predictions red, red: (1 + 1) / 100",
        lambda: _none(_gqa().distribution), 0.02, EXACT,
    ),
    "gqa-grounding": Oracle(
        "even attention on 4 x 4 cells, a region of a quarter",
        lambda: grounding([[1 / 16] * 4] * 4, [[0, 0, 0.5, 0.5]]), 0.25, EXACT,
    ),
    "referring-half": Oracle(
        "2 boxes: one overlaps by exactly one half (wrong), one is equal",
        lambda: referring_accuracy([[0, 0, 2, 2], [5, 5, 9, 9]], [[0, 0, 2, 4], [5, 5, 9, 9]]), 0.5, EXACT,
    ),
    "phrase-any-box": Oracle(
        "2 phrases: one true box of two is hit, and one overlap of exactly one half, which counts here",
        lambda: phrase_recall(
            [[[0, 0, 10, 10]], [[0, 0, 2, 2]]], [[[0, 0, 10, 10], [20, 0, 30, 10]], [[0, 0, 2, 4]]],
            protocol="any",
        ).at[1],
        1.0, EXACT,
    ),
    "phrase-merged-box": Oracle(
        "one true box of two is hit, but the box around both is the truth",
        lambda: phrase_recall(
            [[[0, 0, 10, 10]]], [[[0, 0, 10, 10], [20, 0, 30, 10]]], protocol="merged"
        ).at[1],
        0.0, EXACT,
    ),
    "relation-recall": Oracle(
        "2 images with a relation each; the second's is not predicted",
        lambda: relation_recall([_RELATIONS, []], [_RELATIONS, _RELATIONS], cut=50), 0.5, EXACT,
    ),
    "text-to-image-recall": Oracle(_TEXTS, lambda: _retrieval().text_to_image.recall[1], 0.5, EXACT),
    "image-to-text-recall": Oracle(_TEXTS, lambda: _retrieval().image_to_text.recall[1], 0.5, EXACT),
    "recall-at-5": Oracle(_TEXTS, lambda: _retrieval().image_to_text.recall[5], 1.0, EXACT),
    "recall-at-10": Oracle(_TEXTS, lambda: _retrieval().text_to_image.recall[10], 1.0, EXACT),
    "median-rank": Oracle(_TEXTS, lambda: _retrieval().image_to_text.median_rank, 1.5, EXACT),
    "mean-rank": Oracle(_TEXTS, lambda: _retrieval().image_to_text.mean_rank, 2.0, EXACT),
    "rsum": Oracle(_TEXTS, lambda: _retrieval().rsum, 500.0, 1e-9),
    "retrieval-ties": Oracle(
        "4 images and texts that are all equally close: the rank is the worst, so that R@1 is 0",
        lambda: cross_modal([[0.5] * 4] * 4, cuts=(1,)).text_to_image.recall[1], 0.0, EXACT,
    ),
    "retrieval-folds": Oracle(
        "the same 4 images in folds of two: own texts at 1, 2 and 1, 1",
        lambda: fold_mean(SIMILARITY, folds=2, cuts=(1,)).image_to_text.recall[1], 0.5, EXACT,
    ),
    "dual-softmax": Oracle(
        "2 x 2 zeros and ones: 1 * e / (e + 1) for the first",
        lambda: float(dual_softmax([[1.0, 0.0], [0.0, 1.0]])[0, 0]), math.e / (math.e + 1), EXACT,
    ),
    "moment-recall": Oracle(
        "2 queries: 0-10 s for 0-20 s overlaps by exactly one half, which counts; 5-6 s for 0-10 s does not",
        lambda: moment_recall([[[0, 10]], [[5, 6]]], [[0, 20], [0, 10]], overlap=0.5), 0.5, EXACT,
    ),
    "ndcg-graded": Oracle(
        "scores 3, 2, 1 for relevances 0, 1, .5: K is 2",
        lambda: ndcg([[3, 2, 1]], [[0, 1, 0.5]]), 1 / (math.log2(3) + 0.5), EXACT,
    ),
    "mrr": Oracle(
        "right answers at ranks 2, 1 and 2 (a tie)",
        lambda: answer_ranks([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.5, 0.5, 0.1]], [2, 0, 1]).mrr,
        2 / 3, EXACT,
    ),
    "mae": Oracle(_FOUR, lambda: _sentiment().mae, 1.7, EXACT),
    "count-mse": Oracle(
        "counts 2.5 and 4 for 2 and 6: (.25 + 4) / 2", lambda: count_error([2.5, 4], [2, 6]), 2.125, EXACT
    ),
    "pearson": Oracle(
        "1, 2, 4 and 1, 3, 5: 6 / sqrt(14/3 * 8)",
        lambda: sentiment([1, 2, 4], [1, 3, 5]).pearson, 6 / math.sqrt(14 / 3 * 8), EXACT,
    ),
    "acc-7": Oracle(_FOUR, lambda: _sentiment().acc_7, 0.25, EXACT),
    "acc-2-nonneg": Oracle(_FOUR, lambda: _sentiment().acc_2_nonneg, 0.5, EXACT),
    "f1-nonneg": Oracle(_FOUR, lambda: _sentiment().f1_nonneg, 0.5, EXACT),
    "acc-2-pos": Oracle(_FOUR + ", the 0 left out", lambda: _sentiment().acc_2_pos, 2 / 3, EXACT),
    "f1-pos": Oracle(_FOUR + ", the 0 left out", lambda: _sentiment().f1_pos, 2 / 3, EXACT),
    "success-rate": Oracle(_WALKS, lambda: _walks().success, 0.5, EXACT),
    "oracle-success-rate": Oracle(_WALKS, lambda: _walks().oracle_success, 1.0, EXACT),
    "navigation-error": Oracle(_WALKS, lambda: _walks().error, 2.0, EXACT),
    "trajectory-length": Oracle(_WALKS, lambda: _walks().length, 5.0, EXACT),
    "spl": Oracle("success after 10 m where 5 m are shortest", lambda: spl([1], [5], [10]), 0.5, EXACT),
    "ndtw": Oracle("DTW 3, 3 viewpoints, radius 3 m", lambda: ndtw(3, 3, 3), 0.7165313, 1e-7),
    "sdtw": Oracle(_WALKS, lambda: _walks().sdtw, 0.5, EXACT),
    "cls": Oracle(
        _WALKS, lambda: _walks().cls, (1 + _COVERED**2 / (_COVERED + abs(_COVERED - 1))) / 2, EXACT
    ),
    "clipscore": Oracle(
        "an image (1, 0) and a text (3, 4): 2.5 * .6", lambda: clipscore([[1, 0]], [[3, 4]]), 1.5, EXACT
    ),
    "fid": Oracle(
        "features 0, 2 and 1, 3: equal spread, means 1 apart",
        lambda: frechet_distance([[0.0], [2.0]], [[1.0], [3.0]]), 1.0, 1e-9,
    ),
    "inception-score": Oracle(
        "4 images, certain, two of each class",
        lambda: inception_score([[1, 0], [1, 0], [0, 1], [0, 1]]), 2.0, EXACT,
    ),
    "r-precision": Oracle(
        "4 images with 3 captions: 2 are closest to their own; a tie is a miss",
        lambda: r_precision([[3, 1, 2], [1, 1, 0], [0, 1, 2], [2, 1, 1]]), 0.5, EXACT,
    ),
    "perplexity-uniform": Oracle(
        "3 tokens, each one of 4", lambda: perplexity([[math.log(1 / 4)] * 3]), 4.0, 1e-9
    ),
}  # fmt: skip
