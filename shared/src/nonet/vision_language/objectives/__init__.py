"""Objectives of vision-language pre-training as pure functions of logits or embeddings, targets and masks.

Each module is one idea; all public functions are here by name and load their module when they are used.
Every objective returns an `Objective`: the loss, and what else is worth a look.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "objective": "Objective IGNORE mean_over",
    "masking": "MaskedTokens mask_tokens choose choose_segments corrupt one_modality",
    "attention": "bidirectional_attention prefix_attention mixed_attention choose_prefix choose_seq2seq",
    "language": "masked_lm causal_lm prefix_lm bidirectional_seq2seq token_losses",
    "denoising": "Corrupted noise_spans corrupt_spans shift_right denoise",
    "answers": "soft_scores answer_scores answer_label",
    "multitask": "instruct box_to_bins bins_to_box regions_to_ids seq2seq_multitask",
    "regions": "with_overlapping mask_regions region_regression region_classification region_kl"
    " detector_labels",
    "image_modelling": "masked_codes masked_pixels patchify frame_regression frame_contrast",
    "image_generation": "text_to_image_lm discrete_elbo logit_laplace",
    "scene_graph": "mask_nodes scene_graph_prediction",
    "knowledge": "choose_anchors knowledge_masking sentiment_prediction place_logits aspect_places",
    "modality": "choose_modalities hide_modality modality_decoding choose_stretches masked_audio",
    "matching": "MatchingPairs image_text_matching hard_negatives matching_pairs",
    "contrastive": "contrastive_logits same_label_targets turned_targets momentum_targets"
    " image_text_contrastive unified_contrastive sigmoid_contrastive mil_nce video_text_candidates",
    "local_contrastive": "late_interaction late_interaction_contrastive intra_modal_contrastive"
    " local_global_contrastive",
    "ranking": "hinge_ranking video_query_ranking",
    "transport": "cosine_cost transport_plan transport_distance word_region_alignment",
    "grounding": "phrase_positions phrase_grounding soft_token_prediction contrastive_alignment",
    "detection": "DetectionWeights corners generalised_overlap match_boxes object_detection",
    "temporal": "ShuffledFrames shuffle_frames frame_order moment_start_end",
    "patches": "ChangedPatches cut_grid join_grid rotate_patches jigsaw_orders shuffle_jigsaw"
    " camouflage_patches grey_patches blank_patches patch_classification patch_divergence aligned_patches",
    "action": "next_viewpoint",
    "distillation": "distill retrieval_agreement",
    "adversarial": "find_perturbation adversarial_loss",
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names.split()}
__all__ = list(_MODULE)


def __getattr__(name: str) -> Any:
    """Import the module that has the name."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    """All public names."""
    return sorted([*globals(), *_MODULE])
