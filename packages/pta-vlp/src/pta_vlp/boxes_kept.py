"""Recall at keep on boxes: how much of what texts are about survives the selection (ours).

The number that foretells what dropping patches costs a task: of the patches that the boxes of a text overlap,
the share among those kept. Whole images are looked at, without crop or chance.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.patch_alignment import PatchMeasures
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_samples import RegionImages
from nonet.vision_language.whole_regions import WholeCollate, WholeRegions
from pta_vlp.model_folders import Loaded
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions, kept_count

# Shapes: E texts of regions, N patches.

BEST = "best"
"""name of the row of a selection that knows the boxes"""


def recall_of_boxes(
    loaded: Loaded, table: RegionTable, selections: Sequence[SelectOptions], keeps: Sequence[float], *,
    batch: int = 16, device: str = "cpu", unusable: Any = lambda text: None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Measure selections on the regions of images.

    Args:
        loaded: the model.
        table: the regions; all of their images are looked at.
        selections: what says which patches are kept; `keep` in them is not looked at.
        keeps: shares of the patches, each above 0 and at most 1.
        batch: images at a time.
        device: to compute on.
        unusable: takes a text for each image that cannot be used.

    Returns:
        By the name of the selection `recall@K` for each share, in 0..1 and over all patches of all texts; for
        "text" also what `PatchMeasures` says of the detector's probabilities. `best` has what a selection
        could reach that knows the boxes: less than 1 where boxes are larger than what is kept.

    Raises:
        UserError: no image can be used; a selection needs a detector, and there is none.
    """
    measures = {options.selection: PatchMeasures(keeps) for options in selections}
    detected = PatchMeasures(())
    counted, kept = 0, [0] * len(keeps)
    model = loaded.model.to(device).eval()
    towers = [
        PrunedVision(model.vision, None if loaded.detector is None else loaded.detector.to(device), options)
        for options in selections
    ]
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of a random selection
        for images, ids, mask, of_image, masks in _batches(loaded, table, batch, unusable):
            text = model.encode_text(ids.to(device), mask.to(device))[:, 0]
            for options, tower in zip(selections, towers, strict=True):
                trunk = tower.trunk(images.to(device))
                rows = of_image.to(device)
                measures[options.selection].add(tower.scores(trunk, text, rows), masks)
                if options.selection == "text" and tower.detector is not None:
                    logits = tower.detector(trunk.tokens[:, 1:], text, rows)
                    detected.add(tower.detector.score(logits), masks)
            sizes = masks.sum(1)
            counted += int(sizes.sum())
            for place, share in enumerate(keeps):
                kept[place] += int(sizes.clamp(max=kept_count(share, masks.shape[1])).sum())
    # scores are no probabilities: only their order means something
    found = {
        name: {key: value for key, value in each.result().items() if key.startswith("recall@")}
        for name, each in measures.items()
    }
    if "text" in found:
        found["text"] |= detected.result()
    best = [count / max(counted, 1) for count in kept]
    return found | {BEST: {f"recall@{share:g}": value for share, value in zip(keeps, best, strict=True)}}


def _batches(
    loaded: Loaded, table: RegionTable, batch: int, unusable: Any
) -> Iterable[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Images, word pieces and their mask, the image of each text, and its patches."""
    config = loaded.model.config
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.folder}: has no tokenizer, so texts of regions cannot be read")
    height, width = config.image_size
    how = RegionImages(
        height=height, width=width, patch=config.patch, mean=config.mean, deviation=config.deviation
    )
    whole, collate = WholeRegions(table, how), WholeCollate(loaded.tokenizer)
    some = False
    for start in range(0, len(whole), batch):
        items = [whole[(0, index)] for index in range(start, min(start + batch, len(whole)))]
        for item in items:
            if isinstance(item, str):
                unusable(item)
        found = collate(items)
        if found is not None:
            some = True
            yield (
                found["images"], found["input_ids"], found["attention_mask"], found["of_image"],
                found["masks"],
            )  # fmt: skip
    if not some:
        raise UserError(f"{len(whole)} images with regions, and none of them can be used")
