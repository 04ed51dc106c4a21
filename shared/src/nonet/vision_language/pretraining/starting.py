"""What a pre-training begins with: pairs, regions, tokenizer, model; checked before there is a run."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nonet.data.batching import generator
from nonet.data.caption_noise import WrongCaption, corrupt_captions
from nonet.data.image_augment import PlainImages, TrainImages
from nonet.data.image_text_pairs import PairTable, read_pairs, refuse_overlap
from nonet.errors import UserError
from nonet.files import write_json
from nonet.runs import Run
from nonet.vision_language.bert_weights import start_pair_model, with_bert_sizes
from nonet.vision_language.caption_tokenizer import named_tokenizer, train_tokenizer
from nonet.vision_language.pair_data import PairCollate, PairDataset
from nonet.vision_language.pair_folders import load_extra, load_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_preparation import write_wrong_captions
from nonet.vision_language.patch_detector import PREDICTOR, PatchDetector
from nonet.vision_language.pretraining.options import PretrainOptions, RegionOptions
from nonet.vision_language.pretraining.pairs_and_regions import (
    MakeRegions,
    PairRegionCollate,
    PairsAndRegions,
)
from nonet.vision_language.region_data import RegionBatches, RegionImages
from nonet.vision_language.region_files import RegionTable, read_regions
from nonet.vision_language.tasks.retrieval import RetrievalSet, retrieval_set

WRONG = "wrong_captions.jsonl"  # in a run's folder, what was replaced on purpose
SOURCES = "data.json"  # likewise, which files were read
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Start:
    """What is trained on what; the detector is None where nothing needs one."""

    model: PairModel
    tokenizer: Any
    detector: PatchDetector | None
    train: PairTable
    val: RetrievalSet | None
    regions: RegionTable | None
    boxes: RegionOptions
    wrong: list[WrongCaption]
    files: tuple[Path, ...]

    @property
    def plain(self) -> PlainImages:
        """How an image is made ready for evaluation."""
        config = self.model.config
        height, width = config.image_size
        return PlainImages(height=height, width=width, mean=config.mean, deviation=config.deviation)

    def visits(self, options: PretrainOptions) -> PairsAndRegions:
        """The data set."""
        augment, plain, seed = options.augment, self.plain, options.trainer.seed
        images = TrainImages(
            height=plain.height, width=plain.width, scale=augment.scale, flip=augment.flip,
            operations=augment.operations, magnitude=augment.magnitude, mean=plain.mean,
            deviation=plain.deviation,
        )  # fmt: skip
        pairs = PairDataset(self.train, images, seed=seed, careful_flip=augment.careful_flip)
        return PairsAndRegions(pairs, share=self.boxes.regions_prob, seed=seed)

    def collate(self, options: PretrainOptions) -> PairRegionCollate:
        """Items to a batch."""
        prefix = options.losses.prefix > 0 and self.model.decoder is not None
        return PairRegionCollate(
            PairCollate(self.tokenizer, max_length=self.model.config.max_length, prefix=prefix)
        )

    def make_regions(self, options: PretrainOptions) -> MakeRegions | None:
        """Batches of regions for each process."""
        table, plain, boxes, augment = self.regions, self.plain, self.boxes, options.augment
        if table is None:
            return None
        images = RegionImages(
            height=plain.height, width=plain.width, patch=self.model.config.patch,
            max_regions=boxes.max_regions, min_visible=boxes.min_visible, flip=augment.flip,
            operations=augment.operations, magnitude=augment.magnitude, mean=plain.mean,
            deviation=plain.deviation,
        )  # fmt: skip

        def make(rank: int, world: int) -> RegionBatches:
            return RegionBatches(
                table, images, self.tokenizer, size=boxes.regions_batch, seed=options.trainer.seed, rank=rank,
                world=world, max_length=min(boxes.max_length, self.model.config.positions),
            )  # fmt: skip

        make(0, 1)  # refuses what does not fit before the run
        return make

    def write_notes(self, run: Run) -> None:
        """Leave in the run's folder which files were read, and which captions were replaced."""
        if not run.writes or (run.folder / SOURCES).exists():
            return
        write_json(run.folder / SOURCES, {str(path): _mark(path) for path in self.files if path.is_file()})
        if self.wrong:
            write_wrong_captions(self.wrong, run.folder / WRONG)


def start(
    options: PretrainOptions, say: Any, *, boxes: RegionOptions, guided: bool = False, box_free: str = ""
) -> Start:
    """Read, check and build.

    Args:
        options: of the verb `pretrain`.
        say: takes lines on what was read and left out.
        boxes: how regions are shown.
        guided: a detector is needed, from regions or from the model that training goes on from.
        box_free: what to do without both, for the error.

    Raises:
        UserError: something is missing, broken, or does not fit.
    """
    train = read_pairs(
        options.pairs, folder=options.images, split=options.split, max_words=options.max_words, remark=say
    )
    train, val = _validation(options, train, say)
    wrong: list[WrongCaption] = []
    if options.corrupt_captions:
        train, wrong = corrupt_captions(train, options.corrupt_captions, options.trainer.seed)
        say(f"{len(wrong):,} of {len(train.captions):,} captions are replaced on purpose: {WRONG}")
    regions = None
    if options.regions:
        regions = read_regions(options.regions, folder=options.region_images, max_words=options.max_words)
        for line in regions.said():
            say(f"regions: {line}")
    model, tokenizer, detector = _model(options, train, regions is not None, guided, box_free, say)
    files = (*options.pairs, *options.val, *options.regions)
    return Start(
        model,
        tokenizer,
        detector,
        train,
        None if val is None else retrieval_set(val),
        regions,
        boxes,
        wrong,
        files,
    )


def _validation(options: PretrainOptions, train: PairTable, say: Any) -> tuple[PairTable, PairTable | None]:
    if options.val:
        val = read_pairs(options.val, folder=options.val_images, max_words=options.max_words, remark=say)
        refuse_overlap(train, val, "validation")
        return train, val
    images = np.unique(train.numbers)
    kept = min(options.val_size, len(images) // 10)
    if not kept:
        return train, None
    chosen = generator(options.trainer.seed, "held out").permutation(images)[:kept]
    held = np.isin(train.numbers, chosen)
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def _model(
    options: PretrainOptions, train: PairTable, boxes: bool, guided: bool, box_free: str, say: Any
) -> tuple[PairModel, Any, PatchDetector | None]:
    folder = None
    if options.init is not None:
        loaded = load_pair_model(options.init, say=say, image=options.resize)
        model, tokenizer, folder = loaded.model.train(), loaded.tokenizer, loaded.folder
        if options.tokenizer is not None or tokenizer is None:
            tokenizer = _tokenizer(options, train, model.config.vocabulary, "")
    else:
        config = options.model
        if options.pretrained and config.text:
            config = with_bert_sizes(config, config.text)
        tokenizer = _tokenizer(options, train, config.vocabulary, config.text)
        if not (options.pretrained and config.text):
            config = replace(config, vocabulary=len(tokenizer))
        model = start_pair_model(config, say=say, pretrained=options.pretrained)
    if len(tokenizer) > model.config.vocabulary:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} word pieces, the model {model.config.vocabulary}: "
            "leave out --tokenizer, or name the model's own"
        )
    if options.losses.mlm and tokenizer.mask_token_id is None:
        raise UserError("the tokenizer has no mask token: set losses.mlm to 0, or take one of BERT's kind")
    if not boxes and not guided:
        return model, tokenizer, None
    detector = PatchDetector(model.vision.width, text_width=model.config.text_width)
    known = folder is not None and load_extra(folder, PREDICTOR, detector, say=say)
    if not boxes:
        if not known:
            raise UserError(
                f"{options.init}: no patch predictor in it, and there is no --regions file: {box_free}"
            )
        detector.requires_grad_(False)
        say("the patch predictor stays as it is: there are no regions")
    return model, tokenizer, detector


def _tokenizer(options: PretrainOptions, train: PairTable, size: int, text: str) -> Any:
    name = options.tokenizer or text
    if name:
        return named_tokenizer(name)
    return train_tokenizer((train.captions[at] for at in range(len(train.captions))), size)


def _mark(path: Path) -> str:
    """What tells a file from another version of it: its SHA-256; of a shard, which is large, its size."""
    if path.suffix == ".tar":
        return f"{path.stat().st_size} bytes"
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
