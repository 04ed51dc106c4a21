"""Folders of tiny models, which are made in a blink."""

import dataclasses

import torch

from nonet.testing import seeded
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_model import PairModel
from pta_vlp.model_folders import detector_for, save_model
from pta_vlp.select_options import SelectOptions

SMALL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=2, text_width=32, text_hidden=64, vocabulary=60, text_layers=1,
    fusion_layers=1, decoder_layers=0, embed=16,
)  # fmt: skip


def tokenizer():
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)})


def write_folder(folder, config=SMALL, *, detector=True, words=True, **options):
    """Write a folder; gives the model and its detector, of weights that tell patches apart."""
    torch.manual_seed(0)
    model = PairModel(config).eval()
    found = detector_for(model).eval() if detector else None
    with torch.no_grad():
        for number, value in enumerate([*model.parameters(), *([] if found is None else found.parameters())]):
            value.add_(torch.randn(value.shape, generator=seeded(number)) * 0.1)
        if found is not None:
            found.joint.weight[:, found.width :] *= 10  # or all texts would keep the same patches
    chosen = SelectOptions(**{"block": 0, "selection": "text" if detector else "attention"} | options)
    save_model(model, found, tokenizer() if words else None, folder, "# card\n", options=chosen)
    return model, found
