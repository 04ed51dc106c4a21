"""The released code's indoor model, restated from its equations on plain dictionaries and loops.

Weights are those of a checkpoint: its names, spconv's kernels (out, x, y, z, in) over voxels (batch, x, y,
z), 1 x 1 layers as raw memory (in, out), numbered norms. Everything is in evaluation mode and float64.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F

from nonet.testing import seeded

BACKBONE_ORDER = ("ScanNet", "S3DIS", "Structured3D")
MODEL_ORDER = ("Structured3D", "ScanNet", "S3DIS")


def random_state(*, prompted, stem=6, channels=(8, 10, 10, 7), blocks=(1, 2, 1, 2), inputs=4, context=5,
                 widths=(6, 8), volume=12, hidden=16, geometry=8, text=7, seed=0):  # fmt: skip
    """A checkpoint's tensors, drawn; names and shapes as the released code declares them."""
    draw, state = seeded(seed), {}

    def put(name, *shape, scale=0.3, positive=False):
        value = torch.rand(*shape, generator=draw) if positive else torch.randn(*shape, generator=draw)
        state[name] = value + 0.5 if positive else value * scale

    def linear(name, i, o):
        put(f"{name}.weight", o, i)
        put(f"{name}.bias", o)

    def plain_norm(name, n):
        put(f"{name}.weight", n, positive=True)
        put(f"{name}.bias", n)
        put(f"{name}.running_mean", n)
        put(f"{name}.running_var", n, positive=True)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def norm(name, n):
        if not prompted:
            return plain_norm(name, n)
        for number in range(3):
            plain_norm(f"{name}.bns.{number}", n)
        linear(f"{name}.modulation.1", context, 2 * n)

    def unit(name, i, o, size):
        put(f"{name}.{'conv' if prompted else '0'}.weight", o, size, size, size, i, scale=0.2)
        norm(f"{name}.{'bn' if prompted else '1'}", o)

    def block(name, i, o):
        put(f"{name}.conv1.weight", o, 3, 3, 3, i, scale=0.2)
        norm(f"{name}.bn1", o)
        put(f"{name}.conv2.weight", o, 3, 3, 3, o, scale=0.2)
        norm(f"{name}.bn2", o)
        if i != o:
            put(f"{name}.{'proj_conv' if prompted else 'proj.0'}.weight", o, 1, 1, 1, i)
            norm(f"{name}.{'proj_norm' if prompted else 'proj.1'}", o)

    levels = len(channels) // 2
    unit("backbone.conv_input", inputs, stem, 5)
    enc, dec = stem, channels[-1]
    for s in range(levels):
        unit(f"backbone.down.{s}", enc, channels[s], 2)
        for n in range(blocks[s]):
            block(f"backbone.enc.{s}.block{n}", channels[s], channels[s])
        unit(f"backbone.up.{s}", channels[len(channels) - s - 2], dec, 2)
        for n in range(blocks[len(channels) - s - 1]):
            block(f"backbone.dec.{s}.block{n}", dec + enc if n == 0 else dec, dec)
        enc, dec = channels[s], channels[len(channels) - s - 2]
    if prompted:
        put("embedding_table.weight", 3, context, scale=1.0)

    def conv(name, i, o):
        plain_norm(f"{name}.batchnorm", i)
        put(f"{name}.conv.weight", o, i, 3, 3, 3, scale=0.15)

    for n, (i, o) in enumerate(zip((channels[-1], *widths), widths, strict=False)):
        conv(f"proj_net.encoders.{n}.basic_module", i, o)
    down = list(reversed(widths))
    for n, (i, o) in enumerate(pairwise(down)):
        put(f"proj_net.decoders.{n}.upsampling.upsample.weight", i, o, 3, 3, 3)
        put(f"proj_net.decoders.{n}.upsampling.upsample.bias", o)
        conv(f"proj_net.decoders.{n}.basic_module", o, o)
    put("proj_net.final_conv.weight", volume, widths[0], 1, 1, 1, scale=0.015)
    put("proj_net.final_conv.bias", volume)
    half = volume // 2
    for name, i, o, count in (
        ("sdf_decoder", half, 1 + geometry, 2),
        ("rgb_decoder", 3 + half + geometry + 3, 3, 1),
        ("semantic_decoder", 3 + half + geometry, text, 1),
    ):
        linear(f"renderer.field.{name}.fc_p", 3, hidden)
        for n in range(count):
            linear(f"renderer.field.{name}.fc_c.{n}", i, hidden)
            linear(f"renderer.field.{name}.lin{n}", hidden, o if n == count - 1 else hidden)
    state["renderer.field.sdf_decoder.lin1.bias"][0] = -1.1  # so that there are surfaces
    state["renderer.field.deviation_network.variance"] = torch.tensor([0.33])
    state["renderer.field.laplace_density.beta"] = torch.tensor([0.3])
    state["renderer.field.laplace_density.beta_min"] = torch.tensor([1e-4])
    return state


class Backbone:
    """The sparse U-Net on dictionaries voxel -> row."""

    def __init__(self, state, dataset=None, prefix="backbone."):
        self.state = {
            name.removeprefix(prefix): value.double()
            for name, value in state.items()
            if name.startswith(prefix)
        }
        self.prompted = dataset is not None
        if self.prompted:
            self.number = BACKBONE_ORDER.index(dataset)
            self.context = state["embedding_table.weight"][MODEL_ORDER.index(dataset)].double()
        self.levels = len({name.split(".")[1] for name in self.state if name.startswith("down.")})

    def norm(self, x, name):
        s = self.state
        inner = f"{name}.bns.{self.number}" if self.prompted else name
        x = (x - s[f"{inner}.running_mean"]) / (s[f"{inner}.running_var"] + 1e-3).sqrt()
        x = x * s[f"{inner}.weight"] + s[f"{inner}.bias"]
        if self.prompted:
            prompt = F.linear(
                F.silu(self.context), s[f"{name}.modulation.1.weight"], s[f"{name}.modulation.1.bias"]
            )
            shift, scale = prompt.chunk(2)
            x = x * (1 + scale) + shift
        return x

    def within(self, x, cells, name):
        """A submanifold convolution."""
        weight = self.state[name]
        radius = weight.shape[1] // 2
        place = {tuple(cell): row for row, cell in enumerate(cells)}
        out = torch.zeros(len(cells), weight.shape[0], dtype=x.dtype)
        for row, (b, i, j, k) in enumerate(cells):
            for di in range(-radius, radius + 1):
                for dj in range(-radius, radius + 1):
                    for dk in range(-radius, radius + 1):
                        other = place.get((b, i + di, j + dj, k + dk))
                        if other is not None:
                            out[row] += weight[:, di + radius, dj + radius, dk + radius] @ x[other]
        return out

    def halved(self, x, fine, coarse, name):
        weight = self.state[name]
        place = {cell: row for row, cell in enumerate(coarse)}
        out = torch.zeros(len(coarse), weight.shape[0], dtype=x.dtype)
        for row, (b, i, j, k) in enumerate(fine):
            out[place[b, i // 2, j // 2, k // 2]] += weight[:, i % 2, j % 2, k % 2] @ x[row]
        return out

    def doubled(self, x, coarse, fine, name):
        weight = self.state[name]
        place = {cell: row for row, cell in enumerate(coarse)}
        rows = [weight[:, i % 2, j % 2, k % 2] @ x[place[b, i // 2, j // 2, k // 2]] for b, i, j, k in fine]
        return torch.stack(rows)

    def block(self, x, cells, name):
        y = self.norm(self.within(x, cells, f"{name}.conv1.weight"), f"{name}.bn1").relu()
        y = self.norm(self.within(y, cells, f"{name}.conv2.weight"), f"{name}.bn2")
        project = f"{name}.{'proj_conv' if self.prompted else 'proj.0'}.weight"
        if project in self.state:
            weight = self.state[project]
            raw = weight.contiguous().view(x.shape[1], y.shape[1])  # memory as (in, out)
            x = self.norm(x @ raw, f"{name}.{'proj_norm' if self.prompted else 'proj.1'}")
        return (x + y).relu()

    def stage(self, x, cells, name):
        number = 0
        while f"{name}.block{number}.conv1.weight" in self.state:
            x = self.block(x, cells, f"{name}.block{number}")
            number += 1
        return x

    def __call__(self, features, cells):
        conv, bn = ("conv", "bn") if self.prompted else ("0", "1")
        x, at = features.double(), [tuple(cell) for cell in cells.tolist()]
        x = self.norm(self.within(x, at, f"conv_input.{conv}.weight"), f"conv_input.{bn}").relu()
        skips = [(x, at)]
        for s in range(self.levels):
            coarse = sorted({(b, i // 2, j // 2, k // 2) for b, i, j, k in at})
            x = self.norm(self.halved(x, at, coarse, f"down.{s}.{conv}.weight"), f"down.{s}.{bn}").relu()
            x, at = self.stage(x, coarse, f"enc.{s}"), coarse
            skips.append((x, at))
        skips.pop()
        for s in reversed(range(self.levels)):
            skip, fine = skips.pop()
            x = self.norm(self.doubled(x, at, fine, f"up.{s}.{conv}.weight"), f"up.{s}.{bn}").relu()
            x, at = self.stage(torch.cat([x, skip], 1), fine, f"dec.{s}"), fine
        return x


def unit_cube(coord):
    """A cloud (N, 3) in its cube, and what maps it: x -> (x - loc) scale + (0, 0, lift)."""
    low, high = coord.amin(0), coord.amax(0)
    loc, scale = (low + high) / 2, 1 / (high - low).max()
    moved = (coord - loc) * scale
    lift = torch.tensor([0.0, 0, float(-moved[:, 2].min()) - 0.5])
    return moved + lift, loc, scale, lift


def dense_volume(state, features, cube_coord, shape):
    """Means in cells of the cube's own sides, and the dense net; (C, Z, Y, X)."""
    sums = torch.zeros(*shape, features.shape[1], dtype=torch.float64)
    counts = torch.zeros(*shape, 1, dtype=torch.float64)
    for feature, point in zip(features, cube_coord, strict=True):
        cell = tuple(min(int((float(v) + 0.5) * n), n - 1) for v, n in zip(point, shape, strict=True))
        sums[cell] += feature
        counts[cell] += 1
    x = (sums / counts.clamp(min=1)).permute(3, 2, 1, 0)[None]
    s = {
        name.removeprefix("proj_net."): value.double() for name, value in state.items() if "proj_net." in name
    }

    def conv(x, name):
        b = f"{name}.batchnorm"
        x = F.batch_norm(x, s[f"{b}.running_mean"], s[f"{b}.running_var"], s[f"{b}.weight"], s[f"{b}.bias"])
        return F.conv3d(x, s[f"{name}.conv.weight"], padding=1).relu()

    levels, count = [], len({name.split(".")[1] for name in s if name.startswith("encoders.")})
    for n in range(count):
        x = conv(F.max_pool3d(x, 2) if n else x, f"encoders.{n}.basic_module")
        levels.append(x)
    for n in range(count - 1):
        skip = levels[-2 - n]
        up = f"decoders.{n}.upsampling.upsample"
        x = F.conv_transpose3d(x, s[f"{up}.weight"], s[f"{up}.bias"], stride=2, padding=1, output_padding=1)
        x = conv(skip + x, f"decoders.{n}.basic_module")
    return F.conv3d(x, s["final_conv.weight"], s["final_conv.bias"])[0]


class Renderer:
    """One ray after the other; the sampler reads the volume at the points themselves, as released."""

    def __init__(self, state, volume, samples, importance):
        field = "renderer.field."
        self.state = {n.removeprefix(field): v.double() for n, v in state.items() if n.startswith(field)}
        self.volume, self.samples, self.importance = volume, samples, importance
        self.k = float((10 * self.state["deviation_network.variance"]).exp())

    def decode(self, name, points, features, last):
        s, x = (
            self.state,
            F.linear(points, self.state[f"{name}.fc_p.weight"], self.state[f"{name}.fc_p.bias"]) * 0,
        )
        count = len([key for key in s if key.startswith(f"{name}.lin") and key.endswith("weight")])
        for n in range(count):
            x = x + F.linear(features, s[f"{name}.fc_c.{n}.weight"], s[f"{name}.fc_c.{n}.bias"])
            x = F.linear(x, s[f"{name}.lin{n}.weight"], s[f"{name}.lin{n}.bias"])
            if n < count - 1:
                x = F.softplus(x, beta=100) if last is None else x.relu()
        return x if last is None else last(x)

    def features(self, q):
        grid = (q * 2 - 1)[None, None, None]
        found = F.grid_sample(self.volume[None], grid, align_corners=True, padding_mode="zeros")
        return found[0, :, 0, 0].T.chunk(2, 1)

    def distances(self, q):
        found = self.decode("sdf_decoder", q, self.features(q)[0], None)
        return found[:, 0], found[:, 1:]

    def __call__(self, origin, way):
        inverse = 1 / (way + 1e-6)
        first, second = (-0.55 - origin) * inverse, (0.55 - origin) * inverse
        near = max(float(torch.minimum(first, second).max()), 0.01)
        far = float(torch.maximum(first, second).min())
        share = torch.linspace(0, 1, self.samples + 1, dtype=torch.float64)
        t = near + (far - near) * share
        with torch.no_grad():
            sdf, _ = self.distances(origin + way * t[:-1, None])
        share = self.more(share, sdf, t)
        t = near + (far - near) * share
        start, delta = t[:-1], t.diff()
        points = origin + way * start[:, None]
        q = (points / 1.101 + 0.5).clamp(0, 1 - 1e-3).requires_grad_()
        sdf, geometry = self.distances(q)
        (g,) = torch.autograd.grad(sdf.sum(), q)
        appearance = self.features(q)[1]
        ways = way.expand_as(q)
        color = self.decode("rgb_decoder", q, torch.cat([g, appearance, geometry, ways], 1), torch.sigmoid)
        meaning = self.decode("semantic_decoder", q, torch.cat([g, appearance, geometry], 1), lambda x: x)
        c = -(-(ways * g).sum(1)).relu()
        before = torch.sigmoid((sdf - c * delta / 2) * self.k)
        after = torch.sigmoid((sdf + c * delta / 2) * self.k)
        alpha = ((before - after + 1e-5) / (before + 1e-5)).clamp(0, 1)
        clear = torch.cumprod(torch.cat([torch.ones(1), 1 - alpha + 1e-7]).double(), 0)[:-1]
        w = (alpha * clear)[:, None]
        return {
            "color": (w * color).sum(0).clamp(0, 1).detach(),
            "depth": ((w[:, 0] * start).sum() / (w.sum() + 1e-10)).detach(),
            "normal": (w * F.normalize(g, dim=1)).sum(0).detach(),
            "semantic": (w * meaning).sum(0).detach(),
        }

    def more(self, share, sdf, t):
        delta = t.diff()[:-1]
        slope = sdf.diff() / (delta + 1e-5)
        slope = torch.minimum(torch.cat([torch.zeros(1).double(), slope[:-1]]), slope).clamp(-1e3, 0)
        middle = (sdf[1:] + sdf[:-1]) / 2
        before = torch.sigmoid((middle - slope * delta / 2) * 64)
        after = torch.sigmoid((middle + slope * delta / 2) * 64)
        alpha = (before - after + 1e-5) / (before + 1e-5)
        clear = torch.cumprod(torch.cat([torch.ones(1).double(), 1 - alpha + 1e-7]), 0)[:-1]
        weights = torch.cat([alpha * clear, torch.zeros(1).double()])
        heights = torch.cat([torch.zeros(1).double(), (weights / weights.sum()).cumsum(0).clamp(max=1)])
        bins = self.importance + 1
        wanted = (torch.arange(bins).double() + 0.5) / bins
        index = torch.searchsorted(heights, wanted, right=True)
        low, high = (index - 1).clamp(0, len(share) - 1), index.clamp(0, len(share) - 1)
        rise = heights[high] - heights[low]
        rise = torch.where(rise < 1e-5, torch.ones_like(rise), rise)
        added = share[low] + ((wanted - heights[low]) / rise).clamp(0, 1) * (share[high] - share[low])
        starts = torch.cat([share[:-1], added[:-1]]).sort().values
        return torch.cat([starts, torch.maximum(share[-1:], added[-1:])])
