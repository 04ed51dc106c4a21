"""A whole step of pre-training without the optimiser's: features, decoder, matching, loss, gradients.

Against what transformers offers for it: the modules of its Table Transformer (DETR with norms before blocks),
with a block mask over all queries, its frozen backbone without gradient, its `HungarianMatcher` and
`ImageLoss`. Weights are the same, dropout is 0, and loss and gradients agree to rounding. The reconstruction
of features, which transformers does not have, is left out on both sides.

    python -m benchmarks.updetr.speed_step [--cuda]
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, peak_cuda_memory, peak_memory, save, table, versus
from torch import Tensor, nn
from transformers import TableTransformerConfig, TableTransformerForObjectDetection
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

from updetr.batches import Images, Targets
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import resnet_config, write_config
from updetr.hf_weights import to_hf
from updetr.losses import SetLoss
from updetr.query_patches import PatchDetector

SEED = 0
STEPS = {
    "8 images of 160 x 120, a small ResNet, 2 + 3 layers of 128": (
        {"backbone": "resnet-tiny", "width": 128, "heads": 4, "encoder_layers": 2, "decoder_layers": 3}
        | {"hidden": 512, "queries": 40, "patches": 8},
        (8, 120, 160, 48),
    ),
    "2 images of 480 x 320, ResNet-18, 6 + 6 layers of 256": (
        {"backbone": "resnet18"},
        (2, 320, 480, 128),
    ),
}
"""sizes of the detector; images, height, width, side of a patch in pixels"""
STEPS_CUDA = {
    "64 images of 320 x 240, ResNet-18, 6 + 6 layers of 256": (
        {"backbone": "resnet18", "hidden": 1024},
        (64, 240, 320, 96),
    ),
    "16 images of 600 x 480, ResNet-50, 6 + 6 layers of 256": ({}, (16, 480, 600, 128)),
    "4 images of 600 x 480, ResNet-50, 6 + 6 layers of 256, 900": (
        {"queries": 900, "patches": 90},
        (4, 480, 600, 128),
    ),
}
TINY: tuple[dict[str, Any], tuple[int, int, int, int]] = (
    {"backbone": "resnet-tiny", "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2}
    | {"hidden": 16, "queries": 8, "patches": 2},
    (2, 64, 64, 32),
)
WEIGHTS = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}
Result = tuple[Tensor, ...]
Sizes = tuple[dict[str, Any], tuple[int, int, int, int]]
Step = Callable[[], Result]


def main(*, tiny: bool = False, device: str = "cpu") -> list[Row]:
    """A row a detector, and one more with the memory that a step takes."""
    torch.set_num_threads(1)
    rows, weights = [], []
    steps = STEPS if device == "cpu" else STEPS_CUDA
    for about, sizes in ({"tiny": TINY} if tiny else steps).items():
        config, both = contenders(sizes, device)
        name = f"step of {about}, {config.queries} queries, {config.patches} patches"
        timed: dict[str, Any] = {"rounds": 1 if tiny else 5, "clock": device}
        rows.append(versus(name, *both, same_step, unit="images", per_call=sizes[1][0], **timed))
        if device == "cuda":
            found = [peak_cuda_memory(each) for each in both]
        elif not tiny:
            found = [peak_memory(run, prepare=partial(one, sizes, place)) for place in (0, 1)]
        else:
            continue
        mine, theirs = (f"{each:,.0f}" for each in found)
        weights.append({"name": name, "ours, MiB": mine, "peer, MiB": theirs})
    print(table(rows), table(weights) if weights else "", sep="\n\n")
    if not tiny:
        kept: dict[str, Any] = {"versions": ("torch", "transformers"), "data": "noise", "seed": SEED}
        for title, each in (("step", rows), ("memory", weights)):
            save("updetr", each, table=title if device == "cpu" else f"{title}-cuda", **kept)
    return rows


def contenders(sizes: Sizes, device: str) -> tuple[DetectorConfig, tuple[Step, Step]]:
    """The detector, and a step of ours and of the peer with the same weights."""
    options, shape = sizes
    config = DetectorConfig(**({"dropout": 0.0, "reconstruct": False} | options))
    torch.manual_seed(SEED)
    model = PatchDetector(Detector(config)).train().to(device)
    model.detector.backbone.freeze()
    batch, folded = made_up(config, shape, device), model.detector.backbone.fold().to(device)
    ours = partial(our_step, model, folded, SetLoss(classes=1).to(device), batch)
    return config, (ours, partial(peers_step, PeerModel(model).to(device), batch))


def one(sizes: Sizes, place: int) -> Step:
    """One of the contenders, in a process of its own; both are built, so that nothing else differs."""
    torch.set_num_threads(1)
    return contenders(sizes, "cpu")[1][place]


def run(step: Step) -> None:
    """Once."""
    step()


def made_up(
    config: DetectorConfig, shape: tuple[int, int, int, int], device: str
) -> tuple[Images, Tensor, Targets, list[dict]]:
    """Images, the last one with padding, their patches, true boxes, and these as transformers takes them."""
    images, height, width, side = shape
    random = torch.Generator().manual_seed(SEED)
    mask = torch.ones(images, height, width, dtype=torch.bool)
    mask[-1, :, width // 2 :] = False
    pixels = (torch.randn(images, 3, height, width, generator=random) * mask[:, None]).to(device)
    patches = torch.randn(images, config.patches, 3, side, side, generator=random).to(device)
    count = images * config.patches
    boxes = (torch.rand(count, 4, generator=random) * 0.5 + 0.1).to(device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    dictionaries = [
        {"class_labels": of_image, "boxes": places}
        for of_image, places in zip(labels.split(config.patches), boxes.split(config.patches), strict=True)
    ]
    targets = Targets(labels, boxes, [config.patches] * images)
    return Images(pixels, mask.to(device)), patches, targets, dictionaries


def our_step(model: PatchDetector, folded: nn.Module, loss: SetLoss, batch: tuple[Any, ...]) -> Result:
    """Loss, and gradients of the queries and of what is made of patches."""
    images, patches, targets, _ = batch
    model.zero_grad()
    with torch.no_grad():
        maps = folded(images.pixels)
    memory = model.detector.encode_maps(maps, images.mask)
    total = loss(model(memory, model.patch_features(patches, backbone=folded)), targets).total
    total.backward()
    return total.detach(), model.detector.query_embed.weight.grad, model.patch2query.weight.grad


class PeerModel(nn.Module):
    """The same on transformers' modules, called one by one: its forward takes no mask and no patches."""

    def __init__(self, ours: PatchDetector) -> None:
        super().__init__()
        self.config = config = ours.detector.config
        found = write_config(config, resnet_config(config.backbone))
        built = TableTransformerConfig.from_dict({k: v for k, v in found.items() if k != "model_type"})
        built.dropout = built.attention_dropout = built.activation_dropout = 0.0
        self.detr = TableTransformerForObjectDetection(built)
        missing, unexpected = self.detr.load_state_dict(to_hf(ours.detector.state_dict()), strict=False)
        assert not unexpected
        assert not [name for name in missing if not name.endswith("num_batches_tracked")]
        self.detr.model.backbone.requires_grad_(False)
        self.patch2query = nn.Linear(ours.patch2query.in_features, config.width)
        self.patch2query.load_state_dict(ours.patch2query.state_dict())
        group = torch.arange(config.queries) // config.group
        mask = torch.where(group[:, None] == group, 0.0, float("-inf"))
        self.register_buffer("mask", mask[None, None], persistent=False)
        self.loss = ImageLoss(
            HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2), 1, 0.1, ["labels", "boxes"]
        )
        self.train()

    def forward(self, images: Images, patches: Tensor) -> dict[str, Any]:
        """What its loss takes."""
        detr, base = self.detr, self.detr.model
        count = len(patches)
        with torch.no_grad():
            maps, places = base.backbone(images.pixels, images.mask.long())
            source, seen = maps[-1]
            ones = patches.new_ones(len(patches.flatten(0, 1)), *patches.shape[-2:], dtype=torch.int64)
            features = base.backbone.conv_encoder(patches.flatten(0, 1), ones)[-1][0].mean((2, 3))
        positions = places[-1].flatten(2).transpose(1, 2)
        flat, hidden = base.input_projection(source).flatten(2).transpose(1, 2), seen.flatten(1)
        memory = base.encoder(inputs_embeds=flat, attention_mask=hidden, object_queries=positions)[0]
        told = self.patch2query(features).view(count, -1, self.config.width)
        asked = base.query_position_embeddings.weight + told.repeat_interleave(self.config.group, 1)
        x, states = torch.zeros_like(asked), []
        far = x.new_zeros(hidden.shape).masked_fill(~hidden, float("-inf"))[:, None, None]
        around = self.mask.expand(count, -1, -1, -1)
        across = far.expand(-1, -1, asked.shape[1], -1)
        for layer in base.decoder.layers:
            x = layer(x, around, positions, asked, memory, across)[0]
            states.append(base.decoder.layernorm(x))
        answers = [
            {
                "logits": detr.class_labels_classifier(state),
                "pred_boxes": detr.bbox_predictor(state).sigmoid(),
            }
            for state in states
        ]
        return answers[-1] | {"auxiliary_outputs": answers[:-1]}


def peers_step(model: PeerModel, batch: tuple[Any, ...]) -> Result:
    """As `our_step`."""
    images, patches, _, dictionaries = batch
    model.zero_grad()
    parts = model.loss(model(images, patches), dictionaries)
    total = sum(weight * parts[name] for name in parts for kind, weight in WEIGHTS.items() if kind in name)
    total.backward()
    queries = model.detr.model.query_position_embeddings.weight.grad
    return total.detach(), queries, model.patch2query.weight.grad


def same_step(ours: Result, theirs: Result) -> bool | str:
    """To rounding, in relation to the largest number."""
    names = ("loss", "gradient of the queries", "gradient of what is made of patches")
    for name, a, b in zip(names, ours, theirs, strict=True):
        apart = ((a - b).abs().max() / b.abs().max()).item()
        if apart > 1e-3:
            return f"{name} differs by {apart:.3g} of its largest number"
    return True


if __name__ == "__main__":
    main(device="cuda" if "--cuda" in sys.argv[1:] else "cpu")
