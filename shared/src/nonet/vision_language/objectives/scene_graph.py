"""Scene-graph prediction: only words of a parsed scene graph are masked, whole nodes at a time.

ERNIE-ViL (Yu et al. 2021, section 3.2): a caption is parsed into objects, attributes and relations, 30 % of
these nodes are masked, and each is predicted from the rest of the caption and the image.
"""

from torch import Generator, Tensor

from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.masking import MaskedTokens, choose, corrupt
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over

# Shapes: B captions, L tokens, V vocabulary.

OTHER, OBJECT, ATTRIBUTE, RELATION = range(4)
KINDS = ("object", "attribute", "relation")


def mask_nodes(
    ids: Tensor,
    kinds: Tensor,
    nodes: Tensor,
    *,
    mask_id: int,
    replacements: Tensor,
    generator: Generator,
    share: float = 0.3,
) -> MaskedTokens:
    """Mask nodes of the scene graph, each with all its tokens, and nothing else.

    Args:
        ids: (B, L) int64.
        kinds: (B, L) int: OTHER, OBJECT, ATTRIBUTE or RELATION, what the token is in the scene graph.
        nodes: (B, L) int64 in 0..L-1: number of the node that a token belongs to; any for OTHER.
        mask_id: id of the mask.
        replacements: (V,) ids that may stand for a masked token.
        generator: of all draws.
        share: of nodes that are masked.
    """
    mask = choose(kinds != OTHER, share, generator, groups=nodes)
    return corrupt(ids, mask, mask_id=mask_id, replacements=replacements, generator=generator)


def scene_graph_prediction(logits: Tensor, labels: Tensor, kinds: Tensor) -> Objective:
    """Cross entropy of masked objects, attributes and relations, each with its own mean.

    loss = L_object + L_attribute + L_relation, L_k = the mean over masked tokens of kind k of
    -log P(w | w_rest, v); a kind without masked tokens has 0. Uniform logits over V and all three kinds give
    3 ln V.

    Args:
        logits: (B, L, V) float.
        labels: (B, L) int64, -100 where nothing is masked.
        kinds: (B, L) int, as in `mask_nodes`; masked tokens of kind OTHER do not count.

    Returns:
        The loss; aux: object, attribute, relation.
    """
    losses = token_losses(logits, labels)
    counted = labels != IGNORE
    parts = {name: mean_over(losses, counted & (kinds == kind)) for kind, name in enumerate(KINDS, start=1)}
    return Objective(
        parts["object"] + parts["attribute"] + parts["relation"],
        {name: part.detach() for name, part in parts.items()},
    )
