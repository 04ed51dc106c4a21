import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.names import distance, folded


@pytest.mark.parametrize(
    ("name", "kinds", "found"),
    [
        ("one", ("models",), ("models", "one")),
        ("ONE", (), ("models", "one")),
        ("óne", ("model",), ("models", "one")),
        ("o n-e", ("models",), ("models", "one")),
        ("one base", (), ("checkpoints", "one-base")),
        ("infonce", ("objectives",), ("objectives", "itc")),
        ("MML", ("objectives",), ("objectives", "itm")),
        ("Two & more", ("papers",), ("papers", "2021-two")),
        ("dataset:coco", (), ("datasets", "coco")),
        ("checkpoints:two", (), ("checkpoints", "two")),
        ("two", ("checkpoints",), ("checkpoints", "two")),
    ],
)
def test_ids_names_and_aliases_are_found_whatever_their_case_and_accents(small_atlas, name, kinds, found):
    assert small_atlas.resolve(name, *kinds) == found


def test_a_model_stands_for_the_checkpoint_of_the_same_name(small_atlas):
    assert small_atlas.resolve("two") == ("models", "two")


def test_a_name_with_several_senses_lists_them_and_picks_none(small_atlas):
    with pytest.raises(
        UserError, match=r"'Twin' may mean model:two, dataset:coco \(a joke\): write one of them"
    ):
        small_atlas.resolve("Twin")


def test_a_name_is_ambiguous_even_if_only_one_sense_is_in_the_catalogue(small):
    senses = [{"kind": "model", "id": "one"}, {"kind": "unmapped", "id": "another ONE"}]
    small["aliases"].append({"alias": "Uno", "senses": senses, "source": []})
    with pytest.raises(UserError, match="may mean model:one, another ONE"):
        Atlas(small).resolve("uno", "models")


def test_an_alias_does_not_hide_a_record_of_that_name(small):
    small["aliases"].append(
        {
            "alias": "ONE",
            "senses": [{"kind": "dataset", "id": "coco"}, {"kind": "task", "id": "vqa"}],
            "source": [],
        }
    )
    with pytest.raises(UserError, match="may mean dataset:coco, task:vqa, model:one"):
        Atlas(small).resolve("One")
    assert Atlas(small).resolve("one") == ("models", "one")  # an id, letter by letter, is no name


def test_an_id_of_two_kinds_needs_its_kind(small):
    small["datasets"].append({**small["datasets"][0], "id": "vqa", "name": "VQA"})
    with pytest.raises(UserError, match="'vqa' may mean dataset:vqa, task:vqa"):
        Atlas(small).resolve("vqa")
    assert Atlas(small).resolve("task:vqa") == ("tasks", "vqa")
    assert Atlas(small).resolve("vqa", "datasets") == ("datasets", "vqa")


def test_an_id_that_was_given_up_leads_to_the_one_that_replaced_it(small):
    gone = {**small["models"][0], "id": "uno", "name": "Uno", "aliases": [], "replaced_by": "one"}
    small["models"].append(gone)
    assert Atlas(small).resolve("uno") == Atlas(small).resolve("UNO", "models") == ("models", "one")
    assert "uno" not in {row["model"] for row in Atlas(small).models().rows}


def test_the_kinds_asked_for_decide_between_senses(small_atlas):
    assert small_atlas.resolve("Twin", "models") == ("models", "two")


def test_an_unknown_name_tells_the_three_nearest_with_their_aliases(small_atlas):
    with pytest.raises(UserError) as caught:
        small_atlas.resolve("itcc", "objectives")
    assert str(caught.value) == (
        "no objective 'itcc'; the nearest: itc (image-text contrast, ITC, InfoNCE), "
        "itm (image-text matching, ITM), mlm (masked language modelling, MLM)"
    )


def test_an_acronym_that_nobody_explains_is_told_to_be_one(small_atlas):
    with pytest.raises(
        UserError, match=r"it is known as GR \(the table does not say\), which is not in the cat"
    ):
        small_atlas.resolve("gr", "objectives")


def test_get_knows_ids_only(small_atlas):
    assert small_atlas.get("model", "one")["name"] == "ONE"
    with pytest.raises(UserError, match="no model 'ONE'; the nearest: one"):
        small_atlas.get("models", "ONE")
    with pytest.raises(UserError, match="no kind 'modle'"):
        small_atlas.get("modle", "one")


def test_plus_is_a_letter_of_a_name():
    assert folded("RefCOCO+") != folded("RefCOCO")
    assert folded("Réf-COCO g") == "refcocog"


def by_definition(one, other):
    """Optimal string alignment by its recurrence, from the end of both texts."""
    if not one or not other:
        return len(one) + len(other)
    best = min(
        by_definition(one[:-1], other) + 1,
        by_definition(one, other[:-1]) + 1,
        by_definition(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    )
    if len(one) > 1 and len(other) > 1 and one[-1] == other[-2] and one[-2] == other[-1]:
        best = min(best, by_definition(one[:-2], other[:-2]) + 1)
    return best


def test_edit_distance_equals_its_recurrence():
    words = ["".join(letters) for size in range(4) for letters in itertools.product("ab", repeat=size)]
    for one, other in itertools.product(words, words):
        assert distance(one, other) == by_definition(one, other), (one, other)
    assert distance("itmc", "itcm") == 1


@given(st.text(max_size=8), st.text(max_size=8))
def test_edit_distance_is_symmetric(one, other):
    assert distance(one, other) == distance(other, one)
