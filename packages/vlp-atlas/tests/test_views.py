"""How the survey at IJCAI 2022 sorts models, by hand from the catalogue's words."""

import pytest

from vlp_atlas import Atlas
from vlp_atlas.views import VIEWS, fact_of, word_of
from vlp_atlas.vocabulary import Fusion, VisionFeatures

FUSIONS = {
    "single-stream": "self-attention", "dual-stream": "co-attention", "dual-encoder": "vse",
    "mixture-of-experts": None, "hybrid": None, "none": None,
}  # fmt: skip
FEATURES = {
    "od-rf": "roi", "cnn-gf": "pixel", "vit-pf": "patch", "frame-2d": None, "clip-3d": None, "vq-token": None,
    "none": None,
}  # fmt: skip


def test_every_word_of_the_catalogue_has_its_meaning_or_none():
    assert {word: word_of(word, "interaction") for word in Fusion.__args__} == FUSIONS
    assert {word: word_of(word, "granularity") for word in VisionFeatures.__args__} == FEATURES
    assert word_of(None, "interaction") is None


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_as_sure_as_what_it_is_derived_from(view):
    for model in Atlas.load(unverified=True).all("models"):
        base, fact = model.get(VIEWS[view].field), fact_of(model, view)
        if fact is not None:
            assert (fact["confidence"], fact["source"]) == (base["confidence"], base["source"])
        else:
            assert word_of((base or {}).get("value"), view) is None


def test_show_prints_views_with_their_reason_and_hides_those_from_memory(vlp, small_atlas):
    out = vlp("show ONE --sources")[1]
    assert "  interaction       self-attention  [verified]\n" in out
    assert "  granularity       roi  [verified]\n" in out
    assert "note: derived from fusion: single-stream" in out
    assert "interaction" not in vlp("show three")[1]
    assert "interaction" not in vlp("show ONE --json")[1]  # the record as it stands


def test_a_view_of_what_is_remembered_is_hidden():
    align = Atlas.load().get("models", "align")
    assert align["fusion"]["confidence"] == fact_of(align, "interaction")["confidence"] == "unverified"
    assert "align" not in {row["model"] for row in Atlas.load().models(interaction="vse").rows}
    assert "align" in {row["model"] for row in Atlas.load(unverified=True).models(interaction="vse").rows}
