"""The verb `models`: which models there are, filtered and sorted."""

from dataclasses import dataclass
from typing import Literal

from vlp_atlas.catalogue_options import TableOptions


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Models and checkpoints that fit all filters.

    A checkpoint with sizes of its own has its own row. Its year is that in which its paper was first public,
    which may be before that of its venue. What a model does not say fits no filter on it; the
    footer counts what is unknown in the column that is sorted by.
    """

    objective: str | None = None
    """only those trained with this objective (id, name or a survey's acronym)"""
    after: int | None = None
    """only those first public (on arXiv or elsewhere) after this year: 2021 begins with 2022"""
    before: int | None = None
    """only those first public before this year"""
    modality: str | None = None
    """image, video, text, audio, table, layout or point-cloud"""
    domain: str | None = None
    """general, fashion, medical, document, navigation, dialog, product, chart or ego-video"""
    vision_fe: str | None = None
    """visual features: od-rf (regions), cnn-gf (grid), vit-pf (patches), frame-2d, clip-3d, vq-token"""
    text_fe: str | None = None
    """text features: embedding, transformer-encoder or rnn"""
    fusion: str | None = None
    """single-stream, dual-stream, dual-encoder, mixture-of-experts or hybrid"""
    codec: str | None = None
    """encoder-only, encoder-decoder or decoder-only"""
    interaction: str | None = None
    """self-attention, co-attention or vse, derived from fusion"""
    granularity: str | None = None
    """roi, patch or pixel, derived from visual features"""
    survey: Literal["W", "C"] | None = None
    """only those of one survey: W is Wang et al. 2023, C is Chen et al. 2023"""
    text: str | None = None
    """only those with this text in name, title, authors, venue or objectives, taken literally"""
    sort: str | None = None
    """column to sort by, such as params or year; --sort=-params has the largest first; unknown comes last"""
    strict_params: bool = False
    """refuse to sort parameter counts that count different things"""


def run(options: Options) -> int:
    """Print the table."""
    from vlp_atlas.catalogue_options import emit

    atlas = options.load()
    table = atlas.models(
        objective=options.objective,
        after=options.after,
        before=options.before,
        modality=options.modality,
        domain=options.domain,
        vision_fe=options.vision_fe,
        text_fe=options.text_fe,
        fusion=options.fusion,
        codec=options.codec,
        interaction=options.interaction,
        granularity=options.granularity,
        survey=options.survey,
        text=options.text,
        sort=options.sort,
        strict_params=options.strict_params,
    )
    emit(table, atlas, as_json=options.json)
    return 0
