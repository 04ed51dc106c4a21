"""Images and the patches to find in them: pixels against Pillow, what random numbers depend on, bad files."""

import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from PIL import Image

from nonet.data.batching import RandomBatches, StepSampler, loader
from nonet.errors import RunFailed, UserError
from nonet.testing import devices, one_thread
from updetr import feature_cache, image_sources, pretext_data
from updetr.backbones import build_backbone
from updetr.feature_cache import FeatureCache, write_features
from updetr.image_rows import Note
from updetr.pretext_data import PretextData, prepare, whole_pixels
from updetr.pretext_files import SkippedImages, build_pretext
from updetr.target_boxes import read_targets, write_targets
from updetr.train_options import PretextOptions

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles

SIZES = {"num_patches": 3, "patch_size": 32, "scales": (40, 48), "longest": 96}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six noisy photographs of different sizes."""
    found = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(6):
        height, width = 60 + 8 * number, 90 - 6 * number
        coarse = random.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(found / f"{number}.png")
    return found


@pytest.fixture(scope="module")
def images(folder):
    return sorted(folder.glob("*.png"))


def items(data, *rows):
    return data.collate([data[row] for row in rows])


def same(one, two):
    """Whether two batches are equal, entry by entry."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, image_sources.Sources):
        return same(one.images, two.images)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


# ------------------------------------------------------------------------------------------------- pixels


def test_patches_are_cut_and_resized_as_pillow_does_it(images):
    batch = items(PretextData(images, seed=0, **SIZES), (0, 0), (0, 3))
    pretext = prepare(batch, 32, augment=False)
    levels = pretext.patches * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    levels = (levels + torch.tensor([0.485, 0.456, 0.406])[:, None, None]) * 255
    boxes = pretext.targets.boxes.view(2, 3, 4)
    for place, number in enumerate((0, 3)):
        picture = Image.open(images[number])
        for patch in range(3):
            cx, cy, w, h = (boxes[place, patch] * torch.tensor([*picture.size] * 2)).tolist()
            corners = tuple(round(side) for side in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
            expected = picture.crop(corners).resize((32, 32), Image.Resampling.BILINEAR)
            found = levels[place, patch].permute(1, 2, 0).numpy()
            assert np.abs(found - np.asarray(expected, np.float32)).max() <= 1.01


def test_images_are_resized_as_pillow_does_it_and_padded_at_the_right_and_the_bottom(images):
    batch = items(PretextData(images, seed=0, **SIZES | {"scales": (40,)}), (0, 0), (0, 5))
    found = prepare(batch, 32).images
    first, last = Image.open(images[0]).resize((60, 40), 2), Image.open(images[5]).resize((40, 66), 2)
    assert found.pixels.shape == (2, 3, 66, 60)
    for place, picture in enumerate((first, last)):
        height, width = picture.height, picture.width
        assert found.mask[place, :height, :width].all()
        assert found.mask[place].sum() == height * width
        levels = found.pixels[place, 1, :height, :width] * 0.224 * 255 + 0.456 * 255
        assert np.abs(levels.numpy() - np.asarray(picture)[:, :, 1]).max() <= 1.01
        assert not found.pixels[place][:, ~found.mask[place]].any()


def test_a_batch_is_as_many_patches_an_image_each_of_its_own_group(images):
    targets = prepare(items(PretextData(images, seed=0, **SIZES), (0, 0), (0, 1)), 32).targets
    assert targets.counts == [3, 3]
    assert targets.groups.tolist() == [0, 1, 2, 0, 1, 2]
    assert targets.labels.tolist() == [0] * 6
    low, high = (
        targets.boxes[:, :2] - targets.boxes[:, 2:] / 2,
        targets.boxes[:, :2] + targets.boxes[:, 2:] / 2,
    )
    assert low.min() >= 0
    assert high.max() < 1


def test_of_a_large_image_the_same_patches_are_cut_before_they_are_sent(images, monkeypatch):
    data = PretextData(images, seed=0, **SIZES)
    usual = prepare(items(data, (0, 0), (0, 3)), 32)
    monkeypatch.setattr(pretext_data, "LARGE", 0)
    batch = items(data, (0, 0), (0, 3))
    assert batch["sources"].images[0].shape == (3, 3 * 32, 32)
    assert same(tuple(usual), tuple(prepare(batch, 32)))


@devices
def test_a_batch_on_a_device_is_that_of_the_cpu(images, device):
    data = PretextData(images, seed=0, **SIZES, keep=1)
    batch = items(data, (0, 0), (0, 3), (0, 0))
    moved = move_data_to_device(batch, torch.device(device))
    assert {image.device.type for image in moved["sources"].images} == {device}
    expected, found = prepare(batch, 32, augment=False), prepare(moved, 32, augment=False)
    for name in ("patches", "images"):
        one, two = getattr(expected, name), getattr(found, name)
        one, two = (one, two) if name == "patches" else (one.pixels, two.pixels)
        assert (one - two.cpu()).abs().max() <= 1.01 / 255 / 0.224
    assert torch.equal(expected.images.mask, found.images.mask.cpu())
    again = move_data_to_device(items(data, (1, 3)), torch.device(device))["sources"].images[0]
    assert again.data_ptr() == moved["sources"].images[1].data_ptr()  # copied once
    augmented = prepare(moved, 32)
    assert torch.isfinite(augmented.patches).all()


# ------------------------------------------------------------------------------------------- random numbers


def test_batches_are_the_same_for_any_number_of_workers(images):
    data = PretextData(images, seed=3, **SIZES, keep=1)
    batches = RandomBatches(len(data), 3, seed=3)
    found = [
        list(loader(data, StepSampler(batches, steps=3), data.collate, workers=workers))
        for workers in (0, 1, 2)
    ]
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert not same(found[0][0]["boxes"], found[0][2]["boxes"])


def test_items_depend_on_seed_epoch_and_index_alone(images):
    data = PretextData(images, seed=0, **SIZES)
    first = data[(1, 2)]
    assert same(data[(1, 2)], first)
    assert same(data.subset([4, 2])[(1, 1)]._replace(row=(1, 2)), first)
    for other in (data[(2, 2)], data[(1, 3)], PretextData(images, seed=1, **SIZES)[(1, 2)]):
        assert not same(other.boxes, first.boxes)
        assert not same(other.draws, first.draws)


def test_decoded_images_are_kept_up_to_the_limit(folder, tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (600, 400), (number, 0, 0)).save(files[-1])  # 0.69 MiB
    data = PretextData(files, seed=0, **SIZES, keep=1)
    for number in range(3):
        data[(0, number)]
    for file in files:
        file.unlink()
    assert data[(1, 0)].source[0, 0, 0] == 0
    with pytest.raises(RunFailed, match=r"1\.png and 32 other images|no such file"):
        data.subset([1, 2])[(1, 0)]


def test_what_is_kept_does_not_follow_into_another_process(images):
    data = PretextData(images, seed=0, **SIZES, keep=1)
    whole = len(pickle.dumps(data))
    data[(0, 0)]
    assert len(pickle.dumps(data)) == whole


# ----------------------------------------------------------------------------------------------- bad images


def test_an_image_that_cannot_be_used_is_replaced_and_noted(images, tmp_path):
    broken, small = tmp_path / "broken.png", tmp_path / "small.png"
    broken.write_bytes(images[0].read_bytes()[:300])
    Image.new("RGB", (16, 200)).save(small)
    data = PretextData([broken, small, *images], seed=0, **SIZES)
    batch = items(data, (0, 0), (0, 1), (0, 2))
    assert len(batch["ids"]) == 3
    assert set(batch["ids"]) <= set(map(str, images))
    assert batch["rows"].tolist() == [[0, 0], [0, 1], [0, 2]]
    notes = {note.file: note.text for note in batch["notes"] if note.skipped}
    assert "cannot be decoded" in notes[str(broken)]
    assert notes[str(small)] == "16 x 200 px are too few for patches of 8 px"


def test_over_half_of_unusable_images_end_a_run():
    said = []
    skipped = SkippedImages(4, said.append)
    skipped.add([Note("a", "broken", True), Note("b", "broken", True), Note("c", "turned", False)])
    skipped.add([Note("a", "broken", True)])
    assert said == ["a: broken (left out)", "b: broken (left out)", "c: turned"]
    with pytest.raises(RunFailed, match=r"3 of 4 images cannot be used, such as a: broken"):
        skipped.add([Note("d", "broken", True)])


def test_what_was_left_out_before_counts_too(tmp_path, images):
    for number, path in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(path.read_bytes())
    Image.new("RGB", (6, 6)).save(tmp_path / "small.png")
    data = build_pretext(PretextOptions(images=tmp_path), seed=0, say=lambda _: None)
    assert (len(data), data.left_out) == (6, 1)
    assert data.subset([0, 1]).left_out == 1
    skipped = SkippedImages(7, lambda _: None, before=1)
    skipped.add([Note("a", "broken", True), Note("b", "broken", True)])
    with pytest.raises(RunFailed, match=r"4 of 7 images cannot be used, such as a: broken"):
        skipped.add([Note("c", "broken", True)])


def test_only_the_first_few_files_are_named_one_by_one():
    said = []
    SkippedImages(100, said.append).add([Note(str(number), "broken", True) for number in range(20)])
    assert len(said) == 6
    assert said[-1] == "more files are left out"


def test_files_that_have_no_patches_are_left_out_at_the_start(images, tmp_path):
    for path in images[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (16, 16)).save(tmp_path / "small.png")
    Image.new("RGB", (300, 300)).save(tmp_path / "large.png")
    said = []
    options = PretextOptions(images=tmp_path, **SIZES)
    data = build_pretext(options, seed=0, say=said.append, max_pixels=10_000)
    assert [path.name for path in data.images] == ["0.png", "1.png", "2.png"]
    assert said[-1] == "2 of 5 images are left out"
    with pytest.raises(RunFailed, match="4 of 5 images cannot be used"):
        build_pretext(options, seed=0, say=said.append, max_pixels=5_500)


# --------------------------------------------------------------------------------------------- given boxes


def test_given_boxes_are_drawn_and_random_patches_fill_up(images):
    few, many = np.array([[4, 6, 20, 30.0]]), np.array([[x, x, 20, 30.0] for x in range(8)])
    targets = [few, many, *[np.zeros((0, 4))] * (len(images) - 2)]
    data = PretextData(images, seed=0, targets=targets, **SIZES)
    first, second, third = (data[(0, number)].crops for number in range(3))
    assert first[0].tolist() == [4, 6, 20, 30]
    assert {tuple(box) for box in second.tolist()} < {tuple(map(int, box)) for box in many}
    assert len({tuple(box) for box in second.tolist()}) == 3
    assert torch.equal(third, PretextData(images, seed=0, **SIZES)[(0, 2)].crops)
    assert not torch.equal(data[(1, 1)].crops, second)


def test_boxes_become_whole_pixels_inside_the_image():
    boxes = np.array([[1.2, 2.7, 3.1, 4.0], [-5, -5, 10, 10], [95, 45, 50, 50], [99.5, 10, 30, 5]])
    assert whole_pixels(boxes, 100, 50).tolist() == [[1, 2, 4, 5], [0, 0, 5, 5], [95, 45, 5, 5]]


def test_boxes_are_read_by_the_image_s_name_with_or_without_its_folder(images, tmp_path):
    file, said = tmp_path / "boxes.json", []
    file.write_text(json.dumps({"0.png": [[1, 2, 3, 4]], str(images[1]): [[5, 6, 7, 8], [1, 1, 2, 2]]}))
    found = read_targets(file, images, say=said.append)
    assert found[0].tolist() == [[1, 2, 3, 4]]
    assert len(found[1]) == 2
    assert [len(boxes) for boxes in found[2:]] == [0] * 4
    assert "4 of 6 images have no box" in said[0]
    file.write_text(
        json.dumps({"a/0.png": [[1, 2, 3, 4]], "b/0.png": [[5, 6, 7, 8]], "1.png": [[1, 1, 2, 2]]})
    )
    assert [len(boxes) for boxes in read_targets(file, images, say=said.append)[:2]] == [0, 1]  # which 0.png?
    file.write_text(json.dumps({"0.png": [[1, 2, 3, 4]], str(images[1]): [[5, 6, 7, 8], [1, 1, 2, 2]]}))
    write_targets(tmp_path / "again.json", images, found)
    assert same(
        [*map(torch.from_numpy, read_targets(tmp_path / "again.json", images, say=said.append))],
        [*map(torch.from_numpy, found)],
    )


def test_boxes_of_a_coco_file_are_read_whatever_their_class(tmp_path):
    write_rectangles(tmp_path / "pictures", 3)
    content = json.loads((tmp_path / "pictures.json").read_text())
    files = sorted((tmp_path / "pictures").glob("*.png"))
    found = read_targets(tmp_path / "pictures.json", files, say=print)
    assert sum(map(len, found)) == len(content["annotations"])
    assert found[0][0].tolist() == content["annotations"][0]["bbox"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"other.png": [[1, 2, 3, 4]]}', "no box for any of the 6 images"),
        ('{"0.png": [[1, 2, 3]]}', r"'0\.png' has no list of"),
        ('{"0.png": [[1, 2, 0, 4]]}', r"'0\.png' has a box without a width"),
        ('{"images": [{"id": 1}], "annotations": []}', "not a whole COCO file"),
    ],
)
def test_a_broken_file_of_boxes_is_refused(images, tmp_path, content, text):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(UserError, match=text):
        read_targets(tmp_path / "boxes.json", images, say=print)


# ---------------------------------------------------------------------------------------- cached features


@pytest.fixture(scope="module")
def cached(images, tmp_path_factory):
    torch.manual_seed(0)
    backbone = build_backbone("resnet-tiny").freeze().eval()
    folder = tmp_path_factory.mktemp("cache") / "features"
    broken = folder.parent / "broken.png"
    broken.write_bytes(b"no image")
    said = []
    cache = write_features(folder, [*images, broken], backbone, (40, 48), 96, say=said.append)
    return backbone, folder, cache, [*images, broken], said


def test_cached_features_are_those_of_the_backbone(images, cached):
    backbone, _, cache, *_ = cached
    batch = items(PretextData(images, seed=0, **SIZES | {"scales": (48,)}), (0, 2))
    with torch.no_grad():
        expected = backbone(prepare(batch, 32).images.pixels)[-1][0]
    assert torch.allclose(cache.features(2, 1).float(), expected, rtol=2e-3, atol=2e-2)


def test_batches_of_cached_features_have_the_same_patches(cached):
    _, _, cache, files, said = cached
    assert len(cache) == 7
    assert "broken.png" in said[0]
    data = PretextData(files, seed=0, **SIZES)
    part = data.with_cache(cache)
    assert part.numbers == list(range(6))
    plain, found = items(data, (0, 0), (0, 4)), items(part, (0, 0), (0, 4))
    for name in ("boxes", "crops", "draws", "rows"):
        assert same(plain[name], found[name])
    pretext = prepare(found, 32)
    assert pretext.images is None
    assert pretext.maps.pixels.shape == (2, 128, *pretext.maps.mask.shape[1:])
    for place, number in enumerate((0, 4)):
        scale = (40, 48).index(min(plain["sizes"][place]))
        features = cache.features(number, scale)
        assert int(pretext.maps.mask[place].sum()) == features[0].numel()
        assert torch.equal(
            pretext.maps.pixels[place][:, pretext.maps.mask[place]], features.flatten(1).float()
        )


def test_a_cache_is_read_again_also_in_another_process_and_only_for_what_it_is_of(cached):
    backbone, folder, cache, files, _ = cached
    again = write_features(folder, files, backbone, (40, 48), 96, writes=False)
    assert torch.equal(pickle.loads(pickle.dumps(again)).features(3, 0), cache.features(3, 0))
    with pytest.raises(UserError, match="other weights, images or sizes"):
        write_features(folder, files, backbone, (40,), 96)
    with pytest.raises(UserError, match="other weights, images or sizes"):
        write_features(folder, files, build_backbone("resnet-tiny").eval(), (40, 48), 96)


@pytest.mark.parametrize(("theirs", "refused"), [(40, False), (48, True)])
def test_another_process_may_write_a_cache_at_the_same_time_if_it_is_the_same(
    images, cached, tmp_path, monkeypatch, theirs, refused
):
    backbone, folder = cached[0], tmp_path / "features"
    plain, turns = feature_cache._write, iter((True, False))

    def written(*given):
        told = plain(*given)
        if next(turns):  # the other process is faster
            write_features(folder, images, backbone, (theirs,), 96)
        return told

    monkeypatch.setattr(feature_cache, "_write", written)
    if refused:
        with pytest.raises(UserError, match="another run wrote features of something else"):
            write_features(folder, images, backbone, (40,), 96)
    else:
        assert len(write_features(folder, images, backbone, (40,), 96)) == len(images)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_what_killed_processes_left_of_a_cache_is_removed_after_a_day(images, cached, tmp_path):
    for name, age in (("old", 2 * feature_cache.OLD), ("new", 0)):
        part = tmp_path / f".features.{name}.part"
        part.mkdir()
        (part / "features.bin").write_bytes(b"some")
        for path in (part / "features.bin", part):
            os.utime(path, (time.time() - age,) * 2)
    write_features(tmp_path / "features", images, cached[0], (40,), 96)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".features.new.part", "features"]


def test_a_folder_of_something_else_is_not_replaced_by_a_cache(images, cached, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"a photograph")
    with pytest.raises(UserError, match=r"photos: holds something else, such as 1\.jpg"):
        write_features(tmp_path / "photos", images, cached[0], (40,), 96)
    assert (tmp_path / "photos" / "1.jpg").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_is_no_whole_cache_is_refused(cached, tmp_path):
    _, folder, *_ = cached
    with pytest.raises(UserError, match="no complete cache"):
        FeatureCache(tmp_path)
    for name in ("index.json", "shapes.npy", "features.bin"):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[: None if name != "features.bin" else 10])
    with pytest.raises(UserError, match="not as long as"):
        FeatureCache(tmp_path)


def test_a_cache_of_mostly_broken_images_is_none(images, cached, tmp_path):
    backbone, _, _, files, _ = cached
    with pytest.raises(RunFailed, match="2 of 3 images cannot be used"):
        write_features(tmp_path / "new", [files[-1], files[-1], images[0]], backbone, (40,), 96)
    assert not (tmp_path / "new").exists()
