"""Proposals without training: plain shapes are found, real boxes better than by chance."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from nonet.data.images import open_image
from nonet.testing import data_folder
from updetr.patch_sampling import sample_patches
from updetr.proposals import coverage, neighbours, propose, segments
from updetr.target_boxes import propose_targets, read_targets


def shapes(noise=0):
    """A red and a blue rectangle on grey; the boxes."""
    pixels = np.full((80, 120, 3), 128, np.int64)
    pixels[10:50, 15:45] = [220, 40, 40]
    pixels[30:70, 70:110] = [40, 40, 220]
    pixels += np.random.default_rng(0).integers(-noise, noise + 1, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), np.array(
        [[15, 10, 30, 40], [70, 30, 40, 40.0]]
    )


def test_rectangles_are_proposed_first_up_to_a_pixel_of_the_small_copy():
    image, boxes = shapes()
    found = propose(image, 2)
    assert np.abs(found[np.argsort(found[:, 0])] - boxes).max() <= 2.5


def test_rectangles_are_proposed_in_noise():
    image, boxes = shapes(noise=20)
    assert coverage([propose(image)], [boxes]) > 0.85


def test_an_image_of_one_colour_or_one_pixel_has_no_proposals():
    for size in [(50, 40), (1, 1), (300, 2)]:
        assert propose(Image.new("RGB", size, (9, 9, 9))).shape == (0, 4)


def test_proposals_are_distinct_inside_the_image_and_no_more_than_asked_for():
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (30, 45, 3), dtype=np.uint8)).resize((301, 203))
    found = propose(image, 12)
    assert len(found) == 12
    assert found.dtype == np.int64
    assert found.min() >= 0
    assert (found[:, :2] + found[:, 2:] <= [301, 203]).all()
    assert found[:, 2:].min() >= 3
    assert len(np.unique(found, axis=0)) == 12
    assert (propose(image, 12) == found).all()
    assert (propose(image, 5) == found[:5]).all()


def test_segments_are_the_flat_parts_of_an_image():
    colours = np.zeros((12, 20, 3))
    colours[:, 8:] = 200
    labels = segments(colours, least=1)
    assert labels.max() == 1
    assert (labels[:, :8] == labels[0, 0]).all()
    assert (labels[:, 8:] == labels[0, 8]).all()


def test_small_segments_join_a_neighbour():
    colours = np.zeros((12, 20, 3))
    colours[5, 5] = 255
    assert segments(colours, least=1).max() == 1
    assert segments(colours, least=2).max() == 0


def test_each_pair_of_neighbours_is_there_once():
    one, two = neighbours(3, 4)
    pairs = {frozenset(pair) for pair in zip(one.tolist(), two.tolist(), strict=True)}
    expected = {
        frozenset((a, b))
        for a in range(12)
        for b in range(12)
        if a != b and abs(a // 4 - b // 4) <= 1 and abs(a % 4 - b % 4) <= 1
    }
    assert len(one) == len(pairs)
    assert pairs == expected


def test_coverage_is_the_mean_of_the_best_overlaps():
    proposals = [np.array([[0, 0, 10, 10], [0, 0, 5, 10]]), np.zeros((0, 4), np.int64)]
    truth = [np.array([[0, 0, 10, 5.0], [0, 0, 10, 10]]), np.array([[0, 0, 3, 3.0]])]
    assert coverage(proposals, truth) == pytest.approx((0.5 + 1 + 0) / 3)


def test_blood_cells_are_covered_better_than_by_chance():
    folder, random = data_folder("bccd", "BCCD"), np.random.default_rng(0)
    ours, chance, truth = [], [], []
    for file in sorted((folder / "Annotations").glob("*.xml"))[:5]:
        corners = [
            [int(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in ET.parse(file).getroot().iter("bndbox")
        ]
        boxes = np.array(corners, np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        image = open_image(folder / "JPEGImages" / f"{file.stem}.jpg")
        ours.append(propose(image))
        chance.append(sample_patches(*image.size, len(ours[-1]), random=random))
        truth.append(boxes)
    assert coverage(ours, truth) > 1.5 * coverage(chance, truth)


def test_proposals_are_kept_in_the_run_s_folder_and_read_again(tmp_path):
    image, _ = shapes()
    image.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    images, said = [tmp_path / "a.png", tmp_path / "b.png"], []
    found = propose_targets(images, tmp_path, say=said.append)
    assert (found[0] == propose(image)).all()
    assert len(found[1]) == 0
    assert f"{len(found[0])} proposals in 2 images" in said[0]
    kept = (tmp_path / "proposals.json").read_text()
    (tmp_path / "a.png").write_text("no image any more")
    again = propose_targets(images, tmp_path, writes=False, say=said.append)
    assert (again[0] == found[0]).all()
    assert (tmp_path / "proposals.json").read_text() == kept
    assert (read_targets(tmp_path / "proposals.json", images[:1], say=said.append)[0] == found[0]).all()
