"""`make bench-vlp-atlas`: caption metrics against pycocoevalcap, in one process, on captions of people.

5,000 images with five references each, and as many captions to score, drawn from the captions of Flickr8k
and COCO samples (made-up ones where these are absent): an image's references are recombined from the
captions of one image and of another, and so is what is scored. Both get the same words with blanks between
them. Values of all images agree before anything is timed. Source: ours.
"""

import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from nonet.metrics.bleu import caption_bleu
from nonet.metrics.caption_rouge import caption_rouge_l
from nonet.metrics.caption_tokens import tokens
from nonet.metrics.cider import cider_d

SEED = 0
IMAGES, EACH = 5000, 5
CLOSE = 1e-9
MADE_UP = "a the two man dog woman child bike ball street grass red small runs sits holds on in with".split()

Texts = dict[str, list[str]]


def captions_of_people() -> tuple[list[list[list[str]]], str]:
    """Words of captions by image, and which data they are."""
    flickr, coco = data_folder("flickr8k-mini", "captions.txt"), data_folder("coco-mini", "annotations")
    found: dict[str, list[list[str]]] = {}
    if flickr is not None:
        with flickr.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["image"], []).append(tokens(row["caption"]))
    if coco is not None:
        for path in sorted(coco.glob("captions_*.json")):
            for note in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
                found.setdefault(f"coco-{note['image_id']}", []).append(tokens(note["caption"]))
    if found:
        return list(found.values()), "captions of Flickr8k and COCO samples, recombined"
    rng = np.random.default_rng(SEED)
    drawn = [
        [[str(word) for word in rng.choice(MADE_UP, rng.integers(8, 15))] for _ in range(EACH)]
        for _ in range(200)
    ]
    return drawn, "made-up captions"


def collection(count: int) -> tuple[dict[str, str], Texts, str]:
    """Captions to score and references: the first half of one caption and the second of another."""
    people, data = captions_of_people()
    rng = np.random.default_rng(SEED)
    captions, references = {}, {}
    for number in range(count):
        one, other = (people[place] for place in rng.integers(len(people), size=2).tolist())
        texts = []
        for start in rng.integers(len(one), size=EACH + 1).tolist():
            first, second = one[start], other[int(rng.integers(len(other)))]
            texts.append(" ".join(first[: (len(first) + 1) // 2] + second[len(second) // 2 :]))
        captions[str(number)], references[str(number)] = texts[0], texts[1:]
    return captions, references, data


def contest(name: str, ours: Callable[[], Any], peer: Callable[[], Any], tiny: bool, count: int) -> Row:
    """Time both; each gives the score and a list of all images' values, whose largest difference is kept."""
    seen: list[float] = []
    scores: list[float] = []

    def same(mine: Any, theirs: Any) -> bool | str:
        scores.extend([float(mine[0]), float(theirs[0])])
        apart = np.abs(np.asarray(mine[1], float) - np.asarray(theirs[1], float))
        seen.append(float(max(apart.max(), abs(mine[0] - theirs[0]))))
        return seen[0] <= CLOSE or f"largest difference {seen[0]}"

    row = versus(
        name, ours, peer, same, rounds=1 if tiny else 5, min_seconds=0 if tiny else 0.2, unit="captions",
        per_call=count,
    )  # fmt: skip
    return row | {"ours_value": scores[0], "peer_value": scores[1], "largest_difference": seen[0]}


def contests(tiny: bool) -> tuple[list[Row], str]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    count = 20 if tiny else IMAGES
    captions, references, data = collection(count)
    lists = {image: [text] for image, text in captions.items()}

    def ours(metric: Callable[..., Any]) -> tuple[float, list[Any]]:
        found = metric(captions, references, tokenised=True)
        return found.score, list(found.by_image.values())

    def bleu() -> tuple[float, Any]:
        scores, each = Bleu(4).compute_score(references, lists, verbose=0)
        return scores[3], np.transpose(each)

    size = f"of {count:,} captions with {EACH} references against pycocoevalcap"
    return [
        contest(f"CIDEr-D {size}", lambda: ours(cider_d),
                lambda: Cider().compute_score(references, lists), tiny, count),
        contest(f"BLEU {size}", lambda: ours(caption_bleu), bleu, tiny, count),
        contest(f"ROUGE-L {size}", lambda: ours(caption_rouge_l),
                lambda: Rouge().compute_score(references, lists), tiny, count),
    ], data  # fmt: skip


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    rows, data = contests(tiny)
    print(table(rows))
    for row in rows:
        print(row["name"], row["ours_value"], row["peer_value"], "difference", row["largest_difference"])
    if not tiny:
        save("vlp-atlas", rows, table="captions", versions=("numpy", "pycocoevalcap"), data=data, seed=SEED)
    return rows


if __name__ == "__main__":
    main()
