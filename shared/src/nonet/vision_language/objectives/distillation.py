"""A student learns the distribution of a teacher, or two tasks agree on one.

Hinton et al. 2015. RegionCLIP (Zhong et al. 2022; released code `detectron2/modeling/meta_arch/clip_rcnn.py`)
gives regions CLIP's distribution over concepts; COTS (Lu et al. 2022) brings the distributions of
image-to-text and text-to-image retrieval together.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: K classes or candidates, B pairs, N candidates.


def distill(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: Tensor | float = 1.0,
    teacher_temperature: Tensor | float | None = None,
    scaled: bool = False,
) -> Objective:
    """Divergence of the student's from the teacher's distribution.

    loss = mean of KL(softmax(teacher / t') || softmax(student / t)). A teacher of (.7, .3) and an undecided
    student give 0.0822829.

    Args:
        student: (..., K) float.
        teacher: (..., K) float; no gradient flows into it. -inf for what it rules out.
        mask: (...) bool: rows that count; None: all.
        temperature: of the student; .01 in RegionCLIP.
        teacher_temperature: of the teacher; None: that of the student.
        scaled: times temperature^2, which keeps the size of gradients (Hinton et al.).

    Returns:
        The loss; aux: agreement, how often both find the same class likeliest; teacher_entropy.
    """
    logs = log_softmax(widen(student) / temperature, -1)
    divisor = temperature if teacher_temperature is None else teacher_temperature
    with torch.no_grad():
        target = torch.softmax(teacher.to(logs.dtype) / divisor, -1)
        entropy = -torch.xlogy(target, target).sum(-1)
        same = (logs.argmax(-1) == target.argmax(-1)).float()
    each = -torch.where(target > 0, target * logs, 0).sum(-1) - entropy
    loss = mean_over(each, mask)
    if scaled:
        loss = loss * temperature**2
    aux = {"agreement": mean_over(same, mask), "teacher_entropy": mean_over(entropy, mask)}
    return Objective(loss, aux)


def retrieval_agreement(image_to_text: Tensor, text_to_image: Tensor) -> Objective:
    """Divergence between what an image finds among texts and what its text finds among images (COTS).

    loss = 1/2 mean of [KL(p || q) + KL(q || p)]; p_i = softmax of image i over N texts, q_i of text i over
    the images of the same N pairs. 0 for a symmetric matrix. That both directions count alike is ours.

    Args:
        image_to_text: (B, N) float, divided by the temperature; queues in the same order.
        text_to_image: (B, N) float.

    Returns:
        The loss; aux: agreement, how often both find the same pair likeliest.
    """
    p, q = (log_softmax(widen(each), 1) for each in (image_to_text, text_to_image))
    each = ((p.exp() - q.exp()) * (p - q)).sum(1) / 2
    same = (p.detach().argmax(1) == q.detach().argmax(1)).float()
    return Objective(mean_over(each), {"agreement": mean_over(same)})
