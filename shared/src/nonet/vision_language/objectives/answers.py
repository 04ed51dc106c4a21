"""Question answering as a pre-training objective: an answer among many, right, half right or wrong.

Soft scores of VQA v2 (Goyal et al. 2017) with binary cross entropy: Teney et al. 2018, and most models since.
One label with cross entropy: LXMERT's pre-training. Generated answers (VL-T5, OFA) are `seq2seq_multitask`.
"""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from nonet.vision_language.objectives.language import masked_lm
from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: B questions, A answers.


def soft_scores(counts: Tensor) -> Tensor:
    """The score of an answer that so many of ten people gave: 0, .3, .6, .9, 1 for 0, 1, 2, 3, 4 and more.

    It is the mean over the ten ways to leave one person out of min(1, count / 3).

    Args:
        counts: (...) int.

    Returns:
        (...) float32 in 0..1.
    """
    return (counts.float() * 0.3).clamp_max(1.0)


def answer_scores(logits: Tensor, scores: Tensor, valid: Tensor | None = None) -> Objective:
    """Binary cross entropy of every answer with its soft score, summed over answers, mean over questions.

    loss = - 1/B sum over questions, sum over answers of s log σ(z) + (1 - s) log(1 - σ(z)). Logits 0 and A
    answers give A ln 2. The usual code takes the mean over answers too and multiplies with A: the same.

    Args:
        logits: (B, A) float.
        scores: (B, A) float in 0..1.
        valid: (B,) bool: questions that count.

    Returns:
        The loss; aux: score, the mean soft score of the likeliest answers, which is the VQA accuracy in 0..1.
    """
    logits = widen(logits)
    scores = scores.to(logits)
    each = binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(-1)
    best = scores.gather(-1, logits.detach().argmax(-1, keepdim=True)).squeeze(-1)
    return Objective(mean_over(each, valid), {"score": mean_over(best, valid)})


def answer_label(logits: Tensor, labels: Tensor) -> Objective:
    """Cross entropy with one answer a question.

    loss = - 1/B sum of log P(a | q, v).

    Args:
        logits: (B, A) float.
        labels: (B,) int64, -100 where there is no answer, as for the captions among LXMERT's texts.

    Returns:
        The loss; aux: accuracy, count of questions.
    """
    return masked_lm(logits, labels)
