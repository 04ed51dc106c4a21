"""UP-DETR as its paper and released code define it, on torch's own layers and their names of tensors.

What it shares with the package are those names alone: attention is `torch.nn.MultiheadAttention`, sequences
come first, and the backbone is a function of named tensors.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, places, padding, before):
        y = self.norm1(x) if before else x
        x = x + self.self_attn(y + places, y + places, y, key_padding_mask=padding)[0]
        x = x if before else self.norm1(x)
        y = self.norm2(x) if before else x
        x = x + self.linear2(F.relu(self.linear1(y)))
        return x if before else self.norm2(x)


class DecoderLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.multihead_attn = nn.MultiheadAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, asked, memory, places, padding, mask, before):
        y = self.norm1(x) if before else x
        x = x + self.self_attn(y + asked, y + asked, y, attn_mask=mask)[0]
        x = x if before else self.norm1(x)
        y = self.norm2(x) if before else x
        x = x + self.multihead_attn(y + asked, memory + places, memory, key_padding_mask=padding)[0]
        x = x if before else self.norm2(x)
        y = self.norm3(x) if before else x
        x = x + self.linear2(F.relu(self.linear1(y)))
        return x if before else self.norm3(x)


class Side(nn.Module):
    def __init__(self, layers, norm):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if norm is not None:
            self.norm = norm


class Perceptron(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Original(nn.Module):
    """The pre-training model, K classes and no object; without patches it is DETR.

    Args:
        body: a module that holds the backbone's tensors by torchvision's names.
        channels: of its last map.
    """

    def __init__(
        self,
        body,
        channels,
        *,
        width=16,
        heads=2,
        hidden=24,
        layers=2,
        queries=12,
        patches=4,
        classes=2,
        before=True,
    ):
        super().__init__()
        self.before, self.queries, self.patches = before, queries, patches
        self.backbone = nn.ModuleList([nn.ModuleDict({"body": body})])
        self.transformer = nn.ModuleDict(
            {
                "encoder": Side(
                    [EncoderLayer(width, heads, hidden) for _ in range(layers)],
                    nn.LayerNorm(width) if before else None,
                ),
                "decoder": Side(
                    [DecoderLayer(width, heads, hidden) for _ in range(layers)], nn.LayerNorm(width)
                ),
            }
        )
        self.input_proj = nn.Conv2d(channels, width, 1)
        self.query_embed = nn.Embedding(queries, width)
        self.class_embed = nn.Linear(width, classes + 1)
        self.bbox_embed = Perceptron(width, width, width, 4)
        self.patch2query = nn.Linear(channels, width)
        self.feature_align = Perceptron(width, width, channels)

    def forward(self, pixels, padding, patches=None):
        """Logits, boxes, features of each layer; the patches' own features (images, patches, channels)."""
        tensors = self.backbone[0]["body"].state_dict()
        last = resnet(tensors, pixels)
        B, _, h, w = last.shape
        hidden = F.interpolate(padding[None].float(), size=(h, w))[0].bool()
        places = sines(~hidden, self.query_embed.weight.shape[1]).flatten(1, 2).transpose(0, 1)
        memory = self.input_proj(last).flatten(2).permute(2, 0, 1)
        for layer in self.transformer["encoder"].layers:
            memory = layer(memory, places, hidden.flatten(1), self.before)
        if self.before:
            memory = self.transformer["encoder"].norm(memory)
        asked, mask, truth = self.query_embed.weight[:, None].repeat(1, B, 1), None, None
        if patches is not None:
            each, many = self.queries // self.patches, patches.shape[1]
            truth = resnet(tensors, patches.flatten(0, 1)).mean((2, 3)).view(B, many, -1)
            told = self.patch2query(truth).repeat_interleave(each, 1).transpose(0, 1)
            asked = asked[: each * many] + told
            mask = torch.full((each * many, each * many), -math.inf)
            for number in range(many):
                group = slice(number * each, (number + 1) * each)
                mask[group, group] = 0
        x, states = torch.zeros_like(asked), []
        for layer in self.transformer["decoder"].layers:
            x = layer(x, asked, memory, places, hidden.flatten(1), mask, self.before)
            states.append(self.transformer["decoder"].norm(x))
        states = torch.stack(states).transpose(1, 2)
        logits, boxes = self.class_embed(states), self.bbox_embed(states).sigmoid()
        return logits, boxes, self.feature_align(states), truth


def resnet(tensors, x):
    """The last map of a ResNet whose batch norms are frozen."""

    def normed(x, conv, norm, **how):
        x = F.conv2d(x, tensors[f"{conv}.weight"], **how)
        parts = [tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    x = F.relu(normed(x, "conv1", "bn1", stride=2, padding=3))
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for stage in range(1, 5):
        for block in range(99):
            at = f"layer{stage}.{block}"
            if f"{at}.conv1.weight" not in tensors:
                break
            stride = 2 if stage > 1 and block == 0 else 1
            deep = f"{at}.conv3.weight" in tensors
            y = normed(x, f"{at}.conv1", f"{at}.bn1", stride=1 if deep else stride, padding=0 if deep else 1)
            y = normed(F.relu(y), f"{at}.conv2", f"{at}.bn2", stride=stride if deep else 1, padding=1)
            if deep:
                y = normed(F.relu(y), f"{at}.conv3", f"{at}.bn3")
            if f"{at}.downsample.0.weight" in tensors:
                x = normed(x, f"{at}.downsample.0", f"{at}.downsample.1", stride=stride)
            x = F.relu(x + y)
    return x


def sines(valid, width):
    """(images, h, w, width): for the row, then the column, sine and cosine in turn."""
    B, h, w = valid.shape
    found = torch.zeros(B, h, w, width)
    half = width // 2
    for start, axis in ((0, 1), (half, 2)):
        count = valid.cumsum(axis).float()
        share = 2 * math.pi * count / (count.amax(axis, keepdim=True) + 1e-6)
        for number in range(half):
            wave = share / 10000 ** (2 * (number // 2) / half)
            found[..., start + number] = wave.cos() if number % 2 else wave.sin()
    return found
