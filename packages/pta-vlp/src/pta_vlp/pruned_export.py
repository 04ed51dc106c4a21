"""The pruned vision tower and the matching head as ONNX, for machines without torch (ours).

    image.onnx   pixel_values (images, 3, height, width) float32, normalised -> what texts about an image
                 share: patches (images, 1 + N, d), and image_part (images, N, h) or attention (images, N),
                 whichever the selection asks, float32
    text.onnx    input_ids, attention_mask (texts, L) int64 -> words (texts, L, t) float32
    pruned.onnx  patches, image_part, attention: rows of the above, one a pair; text_cls (pairs, t), a text's
                 first word -> tokens (pairs, S, t), kept (pairs, k) int64
    match.onnx   tokens (pairs, S, t), words (pairs, L, t), attention_mask (pairs, L) -> logits (pairs, 2),
                 column 1 for a pair that belongs together

image.onnx runs once per image, pruned.onnx and match.onnx once per image and text. The share of patches is
part of pruned.onnx. Where patches are dropped late, image.onnx has all blocks. Without a text to select by,
image.onnx gives tokens and kept, and there is no pruned.onnx.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import RunFailed, UserError, needs
from nonet.files import write_json
from nonet.training.hub import save_folder
from nonet.training.model_card import ModelCard
from nonet.training.onnx_files import FREE, run_onnx, write_onnx
from nonet.vision_language.pair_export import TOLERANCE, Exported, preprocessing
from nonet.vision_language.pair_formats import sample_texts
from nonet.vision_language.pair_model import PairModel
from pta_vlp.model_folders import Loaded, load_model
from pta_vlp.pruned_vision import PrunedVision, Trunk
from pta_vlp.select_options import SelectOptions

# Shapes: E pairs of image and text, N patches, k kept, S tokens that go on, L words, d and t widths.

INSTALL = "pta-vlp[onnx]"
IMAGES = 3  # that the files are checked with, and not traced with


def export_pruned(
    name: str | os.PathLike[str], out: str | os.PathLike[str], *, keep: float | None = None,
    overwrite: bool = False, say: Callable[[str], None] = print,
) -> Exported:  # fmt: skip
    """Write the files, run them, and compare what they give with the model.

    Args:
        name: folder of a model or run, or hub name.
        out: folder to write.
        keep: share of the patches; None: as the model was trained.
        overwrite: replace a folder that was written by us.
        say: takes the account of the model's weights if anything does not match.

    Raises:
        UserError: no such model, nothing that prunes, the folder may not be replaced, or a package is absent.
        RunFailed: the numbers differ.
    """
    loaded = load_model(name, say=say)
    options = loaded.options if keep is None else dataclasses.replace(loaded.options, keep=keep)
    if options.selection in ("off", "random") or options.keep == 1:
        raise UserError(
            f"{name}: selection {options.selection} at keep {options.keep:g} prunes nothing that is worth a "
            "file; give a keep below 1, or take --format onnx"
        )
    needs("onnxruntime", to="check an ONNX file", install=INSTALL)
    needs("onnxscript", to="export ONNX", install=INSTALL)
    writer = _Writer(loaded, options)
    folder = save_folder(writer, None, out, _card(Path(out).name, loaded, options), overwrite=overwrite)
    size = sum(path.stat().st_size for path in folder.glob("*.onnx"))
    return Exported(folder, writer.difference, size)


class Image(nn.Module):  # type: ignore[misc]
    """What image.onnx computes: the trunk, or all of the tower where the text is not asked."""

    def __init__(self, pruned: PrunedVision) -> None:
        super().__init__()
        self.pruned = pruned

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, height, width) -> the parts of a `Trunk` that there are, or tokens and kept."""
        pruned, by_text = self.pruned, self.pruned.options.by_text
        trunk = pruned.trunk(pixel_values, with_text=by_text)
        if pruned.options.late:  # all blocks run here, with all patches
            rest = pruned.vision.blocks(trunk.tokens, pruned.options.block + 1)
            trunk = trunk._replace(tokens=pruned.vision.finish(rest))
        if not by_text:
            return _finished(self.pruned, trunk, None)
        return tuple(part for part in trunk if part is not None)


class Rest(nn.Module):  # type: ignore[misc]
    """What pruned.onnx computes: the rest of the tower, for pairs."""

    def __init__(self, pruned: PrunedVision) -> None:
        super().__init__()
        self.pruned = pruned

    def forward(self, patches: Tensor, image_part: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """The parts of a `Trunk`, with attention if it has any, and text_cls -> tokens and kept."""
        *attention, text_cls = others
        trunk = Trunk(patches, image_part, attention[0] if attention else None)
        return _finished(self.pruned, trunk, text_cls)


class _Text(nn.Module):  # type: ignore[misc]
    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.encode_text(input_ids, attention_mask)


class _Match(nn.Module):  # type: ignore[misc]
    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, words: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.itm_head(self.model.fusion.first_token(tokens, None, words, attention_mask))


def _finished(pruned: PrunedVision, trunk: Trunk, text_cls: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens (E, S, t) and kept (E, k), as `PrunedVision.finish` gives them, in what ONNX has.

    ONNX's TopK takes the lower of equal scores, as `patch_select` does with a stable sort, which ONNX lacks.
    """
    scores = pruned.scores(trunk, text_cls)
    k, patches = pruned.kept(), trunk.tokens[:, 1:]
    kept = scores.topk(k).indices
    kept = -(-kept.float()).topk(k).values.long()  # ascending; whole numbers are exact in float32
    parts = [trunk.tokens[:, :1], patches.gather(1, kept[:, :, None].expand(-1, -1, patches.shape[2]))]
    if pruned.options.fuse:
        moved = scores - scores.mean(-1, keepdim=True)
        deviation = moved.square().mean(-1, keepdim=True).sqrt()
        standard = torch.where(deviation > 1e-12, moved / deviation.clamp_min(1e-12), torch.zeros_like(moved))
        dropped = torch.ones_like(scores).scatter(1, kept, 0.0)
        weights = (standard - standard.amax(-1, keepdim=True)).exp() * dropped
        parts.append((weights / weights.sum(-1, keepdim=True))[:, None] @ patches)
    tokens = torch.cat(parts, 1)
    if not pruned.options.late:
        tokens = pruned.vision.finish(pruned.vision.blocks(tokens, pruned.options.block + 1))
    return tokens, kept


class _Writer:
    """What `save_folder` calls: writes and compares before anything has its last name."""

    def __init__(self, loaded: Loaded, options: SelectOptions) -> None:
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.pruned = PrunedVision(loaded.model.vision, loaded.detector, options).eval()
        self.difference = 0.0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        model, config, by_text = self.model, self.model.config, self.pruned.options.by_text
        pixels = torch.randn(IMAGES, 3, *config.image_size, generator=torch.Generator().manual_seed(0))
        ids, mask = sample_texts(config)
        texts = {"input_ids": ids, "attention_mask": mask}
        words = self._part(_Text(model), folder / "text.onnx", texts, ["words"], free=(0, 1))["words"]
        # what the files gave goes on into the next file, as with their users
        names = [name for name, part in self._trunk(pixels) if part is not None]
        outputs = names if by_text else ["tokens", "kept"]
        found = self._part(Image(self.pruned), folder / "image.onnx", {"pixel_values": pixels}, outputs)
        if by_text:
            inputs = {name: found[name] for name in names} | {"text_cls": words[:, 0]}
            found = self._part(Rest(self.pruned), folder / "pruned.onnx", inputs, ["tokens", "kept"])
        pairs = {"tokens": found["tokens"], "words": words, "attention_mask": mask}
        logits = self._part(
            _Match(model), folder / "match.onnx", pairs, ["logits"], free=(0, 1), fixed="tokens"
        )
        whole = self.pruned(pixels, model.encode_text(ids, mask)[:, 0] if by_text else None)
        self._compare(found["tokens"], whole.tokens)
        fused = model.fusion.first_token(whole.tokens, None, model.encode_text(ids, mask), mask)
        self._compare(logits["logits"], model.itm_head(fused))
        if not self.difference <= TOLERANCE or not torch.equal(found["kept"], whole.kept):
            raise RunFailed(
                f"the exported files differ from the model by {self.difference:.3g}, over {TOLERANCE:g}, or "
                "keep other patches; nothing is written"
            )
        write_json(folder / "config.json", self._facts())
        write_json(folder / "preprocessor_config.json", preprocessing(config))
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def _trunk(self, pixels: Tensor) -> list[tuple[str, Tensor | None]]:
        trunk = self.pruned.trunk(pixels[:1], with_text=self.pruned.options.by_text)
        return list(zip(("patches", "image_part", "attention"), trunk, strict=True))

    def _part(
        self, part: nn.Module, path: Path, inputs: Mapping[str, Tensor], outputs: list[str], *,
        free: tuple[int, ...] = (0,), fixed: str = "",
    ) -> dict[str, Tensor]:  # fmt: skip
        """Write a file, for any number of rows, and what it gives to inputs of which it saw two rows."""
        shapes = [{axis: FREE for axis in free if name != fixed or axis == 0} for name in inputs]
        variadic = isinstance(part, Rest)  # its third argument and those after it are one tuple
        write_onnx(
            part.eval(), tuple(value[:2] for value in inputs.values()), path, inputs=list(inputs),
            outputs=outputs, shapes=(*shapes[:2], tuple(shapes[2:])) if variadic else tuple(shapes),
        )  # fmt: skip
        return run_onnx(path, inputs)

    def _compare(self, found: Tensor, wanted: Tensor) -> None:
        self.difference = max(self.difference, float((found - wanted).abs().max()))

    def _facts(self) -> dict[str, Any]:
        config, rows, columns = self.model.config, *self.model.config.grid
        return dataclasses.asdict(self.pruned.options) | {
            "patches": rows * columns, "kept": self.pruned.kept(), "image_size": list(config.image_size),
            "max_length": config.max_length,
        }  # fmt: skip


def _card(name: str, loaded: Loaded, options: SelectOptions) -> str:
    by_text = options.by_text
    how = "that the text asks for" if by_text else "that the class token attends to"
    shown = ['image = onnxruntime.InferenceSession("{name}/image.onnx")']
    if by_text:
        shown += [
            'patches, *guides = image.run(None, {{"pixel_values": pixels}})  # once per image',
            'words = text.run(None, {{"input_ids": ids, "attention_mask": mask}})[0]  # once per text',
            "# then pruned.onnx and match.onnx, with one row for each pair of an image and a text",
        ]
    return ModelCard(
        title=name,
        what=f"A vision transformer that keeps {options.keep:.0%} of the patches, those {how}, behind block "
        f"{options.block} from 0, and the head that says whether an image and a text belong together.",
        tags=("image-text-to-text", "retrieval"),
        library="onnxruntime",
        options=dataclasses.asdict(options) | {"image": list(loaded.model.config.image_size)},
        limits=[
            "Images are resized whatever their shape, and normalised as preprocessor_config.json says.",
            "Texts are lower-cased and cleaned as captions were in training.",
            "The decoder is not among the files.",
        ],
        load="import onnxruntime\n\n" + "\n".join(line.format(name=name) for line in shown),
    ).text()
