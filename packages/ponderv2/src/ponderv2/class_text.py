"""Unit text vectors of class names, from a file or from CLIP's text encoder (Zhu et al. 2023, section 3.4).

A class is described by several sentences, "a photo of a chair", whose vectors are averaged. The released code
reshapes them in the wrong order, so that its rows mix several classes, and none is of one class alone:
`reduce="legacy"` does the same, for weights that were trained so; `"correct"` averages each class's own.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_or_hub
from nonet.training.weight_files import read_safetensors

# Shapes: K classes, T templates, D numbers of a text vector (512 for CLIP ViT-B).

Reduce = Literal["correct", "legacy"]

TEMPLATES = (
    "itap of a [x]",
    "a origami [x]",
    "a rendering of a [x]",
    "a painting of a [x]",
    "a photo of a [x]",
    "a photo of one [x]",
    "a photo of a nice [x]",
    "a photo of a weird [x]",
    "a cropped photo of a [x]",
    "a bad photo of a [x]",
    "a good photo of a [x]",
    "a photo of the large [x]",
    "a photo of the small [x]",
    "a photo of a clean [x]",
    "a photo of a dirty [x]",
    "a bright photo of a [x]",
    "a dark photo of a [x]",
    "a [x] in a living room",
    "a [x] in a bedroom",
    "a [x] in a kitchen",
    "a [x] in a bathroom",
)  # the 21 of the released indoor configurations; [x] is the class

# The classes of the released configuration of three data sets, in its order: with `legacy`, a class's row
# depends on its place among all of them.
RELEASED = tuple(
    "wall floor cabinet bed chair sofa table door window bookshelf bookcase picture counter desk shelves "
    "curtain dresser pillow mirror ceiling refrigerator television shower_curtain nightstand toilet sink "
    "lamp bathtub garbagebin board beam column clutter other_structure other_furniture other_property".split()
)
RELEASED = tuple(name.replace("_", " ") for name in RELEASED)

# How data sets spell what CLIP reads better otherwise.
SPELLINGS = {
    "refridgerator": "refrigerator",
    "otherfurniture": "other furniture",
    "otherstructure": "other structure",
    "otherprop": "other property",
    "otherproperty": "other property",
    "showercurtain": "shower curtain",
    "night stand": "nightstand",
}


def read_class_text(
    names: Sequence[str],
    source: str | os.PathLike[str],
    *,
    reduce: Reduce = "correct",
    templates: Sequence[str] = TEMPLATES,
) -> Tensor:
    """One unit vector for each class name.

    Args:
        names: K class names.
        source: a `.npz` or `.safetensors` file with one array for each name, (D,) or (T, D) for T sentences
            about it; or a folder or hub name of a `CLIPTextModelWithProjection`.
        reduce: how the T vectors of a class become one; `legacy`: as in the released code, whose rows are
            those of all the released classes if all names are among them.
        templates: T sentences with [x] in place of the class; for a model, not for a file.

    Returns:
        (K, D) float32 on the CPU, of length 1.

    Raises:
        UserError: the source cannot be read, lacks a class, or its vectors differ in length.
    """
    spelt = [spelling(name) for name in names]
    if not spelt:
        raise UserError(f"{source}: there are no class names to read text vectors for")
    whole = list(RELEASED) if reduce == "legacy" and set(spelt) <= set(RELEASED) else spelt
    path = Path(source)
    if path.suffix in (".npz", ".safetensors"):
        vectors_KTD = _of_file(path, list(names) if whole is spelt else whole, whole)
    else:
        vectors_KTD = _of_model(os.fspath(source), whole, templates)
    found = reduce_templates(vectors_KTD, reduce)
    return found[[whole.index(name) for name in spelt]]


def reduce_templates(vectors_KTD: Tensor, reduce: Reduce = "correct") -> Tensor:
    """The mean of each class's unit vectors, of length 1 again.

    Args:
        vectors_KTD: (K, T, D) float.
        reduce: `legacy` reads the K x T rows as (T, K), which mixes classes unless T or K is 1.

    Returns:
        (K, D) float32.
    """
    classes, sentences, size = vectors_KTD.shape
    unit = normalize(vectors_KTD.float(), dim=-1)
    if reduce == "legacy":
        unit = unit.reshape(sentences, classes, size).transpose(0, 1)
    return normalize(unit.mean(1), dim=-1)


def spelling(name: str) -> str:
    """A class name as CLIP and the released configuration spell it."""
    plain = name.strip().lower().replace("_", " ")
    return SPELLINGS.get(plain, plain)


def _of_file(path: Path, names: Sequence[str], spelt: Sequence[str]) -> Tensor:
    found = _arrays(path)
    rows = [found.get(name, found.get(other)) for name, other in zip(names, spelt, strict=True)]
    absent = [name for name, row in zip(names, rows, strict=True) if row is None]
    if absent:
        held = ", ".join(sorted(found)[:8]) or "nothing"
        raise UserError(f"{path}: no text vectors for {', '.join(absent)}; it has {held}")
    arrays = [row[None] if row.ndim == 1 else row for row in rows if row is not None]
    shapes = {tuple(row.shape) for row in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2:
        raise UserError(f"{path}: vectors of different shapes: {', '.join(map(str, sorted(shapes)))}")
    stacked = torch.stack(arrays).float()
    if not bool(torch.isfinite(stacked).all()) or not bool((stacked.norm(dim=-1) > 0).all()):
        raise UserError(f"{path}: a text vector is zero or not finite")
    return stacked


def _arrays(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "not a .npz file of numbers"
        raise UserError(f"{path}: cannot be read: {reason}") from error


def _of_model(name: str, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    if not templates or not all("[x]" in template for template in templates):
        raise UserError("each template has [x] where the class name stands")
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    where = local_or_hub(name)
    model: Any = load_pretrained(CLIPTextModelWithProjection, where).eval()
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no tokenizer: {' '.join(str(error).split())[:200]}") from error
    rows = []
    with torch.inference_mode():
        for each in classes:  # class-major, as in the released code
            sentences = [template.replace("[x]", each) for template in templates]
            tokens = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
            rows.append(model(**tokens).text_embeds.float())
    return torch.stack(rows).clone()
