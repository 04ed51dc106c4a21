"""Caption metrics: hand cases, formulas spelled out, bad input; pycocoevalcap and NLTK where installed."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.bleu import caption_bleu
from nonet.metrics.caption_rouge import caption_rouge_l
from nonet.metrics.cider import DocumentFrequencies, cider, cider_d, document_frequencies
from nonet.metrics.meteor import aligned, caption_meteor
from nonet.metrics.spice_tuples import spice_tuples
from nonet.testing import needs

Captions = dict[str, str]
References = dict[str, list[str]]

ALL = [caption_bleu, caption_rouge_l, cider_d, cider, caption_meteor]
DISJOINT: References = {"a": ["one big dog sleeps"], "b": ["two small cats play here"], "c": ["x y z u v w"]}


def made_up(images: int, seed: int = 0, least: int = 0) -> tuple[Captions, References]:
    """Captions of 0 to 14 and references of 1 to 14 words of 40, low ones often; 1 to 6 references each."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 41)

    def text(shortest: int) -> str:
        chosen = rng.choice(40, size=rng.integers(shortest, 15), p=share / share.sum())
        return " ".join(f"w{word}" for word in chosen.tolist())

    return (
        {str(image): text(least) for image in range(images)},
        {str(image): [text(1) for _ in range(rng.integers(1, 7))] for image in range(images)},
    )


def plain_cider(captions: Captions, references: References, image: str, defended: bool) -> float:
    """The formula, with dictionaries."""

    def counts(text: str, n: int) -> Counter[tuple[str, ...]]:
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    total = 0.0
    for n in range(1, 5):
        df = Counter(
            gram for people in references.values() for gram in set().union(*(counts(t, n) for t in people))
        )
        idf = {gram: math.log(len(references)) - math.log(df[gram]) for gram in df}
        rare = math.log(len(references))
        ours = {gram: k * idf.get(gram, rare) for gram, k in counts(captions[image], n).items()}
        for text in references[image]:
            theirs = {gram: k * idf[gram] for gram, k in counts(text, n).items()}
            common = sum(
                (min(ours[gram], theirs[gram]) if defended else ours[gram]) * theirs[gram]
                for gram in ours.keys() & theirs.keys()
            )
            norm = math.hypot(*ours.values()) * math.hypot(*theirs.values())
            pairs = [max(0, len(each.split()) - 1) for each in (captions[image], text)]
            penalty = math.exp(-((pairs[0] - pairs[1]) ** 2) / 72) if defended else 1
            total += penalty * common / norm if norm else 0.0
    return 10 * total / 4 / len(references[image])


# ------------------------------------------------------------------------------------------------------ CIDEr


@pytest.mark.parametrize("metric", [cider_d, cider])
def test_equal_captions_of_four_words_without_shared_words_score_exactly_ten(
    metric: Callable[..., Any],
) -> None:
    found = metric({image: texts[0] for image, texts in DISJOINT.items()}, DISJOINT)
    assert found.score == 10.0
    assert set(found.by_image.values()) == {10.0}
    assert found.short == 0


@pytest.mark.parametrize(("metric", "defended"), [(cider_d, True), (cider, False)])
def test_cider_is_its_formula(metric: Callable[..., Any], defended: bool) -> None:
    captions, references = made_up(60, seed=3)
    found = metric(captions, references, tokenised=True)
    expected = {image: plain_cider(captions, references, image, defended) for image in references}
    assert found.by_image == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert found.score == pytest.approx(sum(expected.values()) / 60, rel=1e-12)
    assert found.short == sum(len(text.split()) < 4 for text in captions.values())


def test_short_captions_are_defined() -> None:
    references = {"a": ["red dog"], "b": ["cats"], "c": ["big old men"], "d": ["a bird flies"]}
    captions = {"a": "red dog", "b": "cats", "c": "", "d": "!"}
    found = cider_d(captions, references)
    assert found.by_image == {"a": 5.0, "b": 2.5, "c": 0.0, "d": 0.0}  # 1 and 2 of the four n
    assert found.short == 4


def test_words_of_all_images_weigh_nothing() -> None:
    found = cider_d({"a": "a dog", "b": "a dog"}, {"a": ["a dog"], "b": ["a dog"]})
    assert found.score == 0.0


def test_one_image_needs_document_frequencies() -> None:
    one = {"a": ["one big dog sleeps"]}
    with pytest.raises(UserError, match="CIDEr of one image is not defined"):
        cider_d({"a": "one big dog sleeps"}, one)
    found = cider_d({"a": "one big dog sleeps"}, one, frequencies=document_frequencies(DISJOINT))
    assert found.score == pytest.approx(10.0, rel=1e-15)


def test_own_document_frequencies_change_nothing_and_others_do() -> None:
    captions, references = made_up(40)
    own = document_frequencies(references, tokenised=True)
    assert own.images == 40
    assert own.counts["w0",] == sum(
        any("w0" in text.split() for text in people) for people in references.values()
    )
    expected = cider_d(captions, references, tokenised=True)
    assert cider_d(captions, references, tokenised=True, frequencies=own) == expected
    more = own._replace(images=4000)
    assert cider_d(captions, references, tokenised=True, frequencies=more).score > expected.score
    with pytest.raises(UserError, match="more than the 3 images"):
        cider_d(captions, references, frequencies=DocumentFrequencies(3, own.counts))


def test_the_order_of_images_and_references_does_not_matter() -> None:
    captions, references = made_up(30)
    turned = {image: references[image][::-1] for image in reversed(references)}
    found, other = (cider_d(captions, each, tokenised=True).by_image for each in (references, turned))
    assert found == pytest.approx(other, rel=1e-12)


# ------------------------------------------------------------------------------------------------------- BLEU


def test_bleu_clips_counts_and_sums_before_dividing() -> None:
    found = caption_bleu({"a": "the the the cat"}, {"a": ["the cat sat down"]})
    assert found.orders[:2] == pytest.approx((0.5, math.sqrt(0.5 / 3)), rel=1e-8)
    assert found.orders[3] < 1e-6
    assert found.score == found.orders[3]
    both = caption_bleu({"a": "p q", "b": "p q r s t u"}, {"a": ["x q"], "b": ["p q r s t u"]})
    assert both.orders[0] == pytest.approx(7 / 8, rel=1e-8)
    assert both.by_image["a"][0] == pytest.approx(1 / 2, rel=1e-8)


@pytest.mark.parametrize(("lengths", "nearest"), [((3, 5), 3), ((5, 3), 3), ((2, 5), 5), ((9, 4), 4)])
def test_the_nearest_reference_length_counts_and_of_equals_the_shorter(
    lengths: tuple[int, ...], nearest: int
) -> None:
    found = caption_bleu({"a": "a b c d"}, {"a": [" ".join("abcdefghi"[:n]) for n in lengths]})
    assert found.length_ratio == pytest.approx(4 / nearest, rel=1e-8)
    assert found.orders[0] == pytest.approx(
        min(1.0, math.exp(1 - nearest / 4)) * min(1, max(lengths) / 4), rel=1e-8
    )


# ---------------------------------------------------------------------------------------------------- ROUGE-L


def test_rouge_l_takes_precision_and_recall_from_different_references() -> None:
    assert caption_rouge_l({"a": "a b c d"}, {"a": ["a b", "a b c d e f g h"]}).score == 1.0
    assert caption_rouge_l({"a": "a b"}, {"a": ["a b c d"]}).score == pytest.approx(2.44 * 0.5 / 1.94)
    assert caption_rouge_l({"a": "d c b a"}, {"a": ["a b c d"]}).score == pytest.approx(1 / 4)
    assert caption_rouge_l({"a": ""}, {"a": ["a b", ""]}).score == 0.0


# ----------------------------------------------------------------------------------------------------- METEOR


def test_meteor_counts_chunks_and_takes_the_best_reference() -> None:
    assert caption_meteor({"a": "a dog runs"}, {"a": ["x", "a dog runs"]}).score == pytest.approx(
        1 - 0.5 / 27
    )
    assert caption_meteor({"a": "runs a dog"}, {"a": ["a dog runs"]}).score == pytest.approx(1 - 0.5 * 8 / 27)
    part = caption_meteor({"a": "dog"}, {"a": ["dog cat man sky"]}).score  # P 1, R 1/4, one chunk of one
    assert part == pytest.approx(0.25 / (0.9 + 0.025) * 0.5)


def test_meteor_matches_equal_words_then_stems_then_synonyms() -> None:
    assert aligned(["dogs"], ["dog"]).stages == (0, 1, 0)
    assert aligned(["dogs", "dog"], ["dog"]).stages == (1, 0, 0)
    groups = {"hound": {0}, "dog": {0, 1}, "hot": {1}}
    assert aligned(["hound", "hot"], ["dog", "dog"], groups).stages == (0, 0, 2)
    assert aligned(["hound"], ["hot"], groups).stages == (0, 0, 0)
    assert caption_meteor({"a": "hound"}, {"a": ["dog"]}).score == 0.0
    assert caption_meteor({"a": "hound"}, {"a": ["dog"]}, synonyms=[["Dog", "hound"]]).score == 0.5


def fewest_chunks(caption: list[str], reference: list[str]) -> tuple[int, int]:
    """Most matches and then fewest chunks, by trying all alignments of equal words."""
    best = (0, 0)
    choices = [[None, *(i for i, word in enumerate(reference) if word == own)] for own in caption]
    for places in product(*choices):
        used = [place for place in places if place is not None]
        if len(set(used)) == len(used):
            pairs = zip([None, *places], places, strict=False)
            chunks = sum(b is not None and (a is None or b != a + 1) for a, b in pairs)
            best = max(best, (len(used), -chunks))
    return best[0], -best[1]


def test_alignments_have_the_fewest_chunks() -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        caption, reference = ([str(w) for w in rng.choice(list("abc"), rng.integers(1, 7))] for _ in range(2))
        found = aligned(caption, reference)
        assert (sum(found.stages), found.chunks) == fewest_chunks(caption, reference)


# ------------------------------------------------------------------------------------------------------ SPICE


def test_tuples_of_all_references_count_together() -> None:
    graphs = {"a": [("dog",), ("Dog", "brown"), ("dog",)], "b": []}
    found = spice_tuples(graphs, {"a": [[("dog",)], [("grass",)]], "b": [[("man",)]]})
    assert found.by_image == {"a": 0.5, "b": 0.0}
    assert (found.score, found.precision, found.recall) == (0.25, 0.25, 0.25)
    assert spice_tuples({"a": [("hound",)]}, {"a": [[("dog",)]]}, synonyms=[["dog", "hound"]]).score == 1.0
    assert spice_tuples({"a": []}, {"a": [[]]}).score == 0.0


@pytest.mark.parametrize("wrong", [["dog"], [()], [("a", "b", "c", "d")], [("a", 1)]])
def test_what_is_no_tuple_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"image a: .* is no tuple"):
        spice_tuples({"a": wrong}, {"a": [[("dog",)]]})
    with pytest.raises(UserError, match="image a has no references"):
        spice_tuples({"a": [("dog",)]}, {"a": []})


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("metric", ALL)
def test_bad_input_is_refused_with_the_image(metric: Callable[..., Any]) -> None:
    good = {"a": ["a dog"], "b": ["a cat"]}
    with pytest.raises(UserError, match="the references of image b are empty"):
        metric({"a": "x", "b": "y"}, {"a": ["a dog"], "b": []})
    with pytest.raises(UserError, match="the references of image b are one text"):
        metric({"a": "x", "b": "y"}, {"a": ["a dog"], "b": "a cat"})
    with pytest.raises(UserError, match="1 of 2 predictions are missing: b"):
        metric({"a": "x"}, good)
    with pytest.raises(UserError, match="a caption of image b is 3"):
        metric({"a": "x", "b": 3}, good)
    with pytest.raises(UserError, match="nothing to score"):
        metric({}, {})


@pytest.mark.parametrize("metric", ALL)
def test_empty_texts_score_nothing_and_never_nan(metric: Callable[..., Any]) -> None:
    found = metric({"a": "", "b": "."}, {"a": [""], "b": ["", "..."]})
    assert found.score == 0.0
    some = metric({"a": "", "b": "two cats"}, {"a": ["a dog", ""], "b": ["two cats", ""]})
    assert np.isfinite(some.score)
    assert np.ravel(some.by_image["a"]).max() == 0.0
    assert np.ravel(some.by_image["b"]).max() > 0.0


@pytest.mark.parametrize("metric", ALL)
def test_punctuation_and_letter_case_do_not_count_unless_texts_are_tokens(metric: Callable[..., Any]) -> None:
    references = {"a": ["A man's dog, sleeping."], "b": ["two red cats play"]}
    plain = metric({"a": "a man 's dog sleeping", "b": "TWO red cats: play!"}, references)
    equal = metric({image: texts[0] for image, texts in references.items()}, references)
    assert plain == equal
    assert metric({"a": "A man's dog", "b": "x"}, references, tokenised=True) != metric(
        {"a": "A man's dog", "b": "x"}, references
    )


# ------------------------------------------------------------------------------------------------------ peers


@pytest.mark.peer
@needs("pycocoevalcap")
def test_a_thousand_random_captions_score_as_with_pycocoevalcap() -> None:
    peer_cider = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    peer_bleu = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    peer_rouge = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    captions, references = made_up(1000)
    lists = {image: [text] for image, text in captions.items()}

    ours = cider_d(captions, references, tokenised=True)
    score, each = peer_cider.compute_score(references, lists)
    assert ours.score == pytest.approx(score, rel=0, abs=1e-9)
    assert list(ours.by_image.values()) == pytest.approx(each, rel=0, abs=1e-9)

    bleu = caption_bleu(captions, references, tokenised=True)
    score, each = peer_bleu.compute_score(references, lists, verbose=0)
    assert bleu.orders == pytest.approx(score, rel=0, abs=1e-12)
    assert np.allclose(list(bleu.by_image.values()), np.transpose(each), rtol=0, atol=1e-12)

    rouge = caption_rouge_l(captions, references, tokenised=True)
    score, each = peer_rouge.compute_score(references, lists)
    assert rouge.score == pytest.approx(score, rel=0, abs=1e-12)
    assert list(rouge.by_image.values()) == pytest.approx(each, rel=0, abs=1e-12)


@pytest.mark.peer
@needs("nltk")
def test_meteor_of_texts_without_repeated_words_is_that_of_nltk() -> None:
    peer = pytest.importorskip("nltk.translate.meteor_score")

    class NoSynonyms:
        def synsets(self, word: str) -> list[str]:
            return []

    rng = np.random.default_rng(0)
    stems = ["walk", "jump", "play", "look", "rain", "paint", "kick", "sail", "turn", "wait"]
    for _ in range(200):
        caption, reference = (
            [
                stem + rng.choice(["", "s", "ing", "ed"])
                for stem in rng.permutation(stems)[: rng.integers(1, 9)]
            ]
            for _ in range(2)
        )
        expected = peer.single_meteor_score(reference, caption, wordnet=NoSynonyms())
        ours = caption_meteor({"a": " ".join(caption)}, {"a": [" ".join(reference)]}, tokenised=True)
        assert ours.score == pytest.approx(expected, rel=1e-12)
