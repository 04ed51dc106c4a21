"""Boxes, scores and classes from what a detector says."""

import pytest
import torch

from updetr.batches import Outputs
from updetr.detections import from_outputs


def outputs(logits, boxes):
    """Two layers, of which the first is to be left aside."""
    logits, boxes = torch.tensor(logits), torch.tensor(boxes)
    return Outputs(torch.stack([logits * 0, logits]), torch.stack([boxes * 0, boxes]))


def test_a_query_is_its_best_class_without_no_object():
    said = outputs([[[0.0, 1.0, 5.0], [2.0, 0.0, 0.0]]], [[[0.5, 0.5, 0.2, 0.4], [0.25, 0.5, 0.5, 1.0]]])
    (found,) = from_outputs(said, [(100, 50)], ids=[7])
    assert found.image_id == 7
    assert found.labels.tolist() == [0, 1]  # best first
    wanted = torch.tensor([2.0, 0.0, 0.0]).softmax(0)[0], torch.tensor([0.0, 1.0, 5.0]).softmax(0)[1]
    assert found.scores.tolist() == pytest.approx([float(p) for p in wanted])
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 50, 50], [40, 15, 60, 35]]))
    assert found.above(0.5).labels.tolist() == [0]
    assert len(from_outputs(said, [(100, 50)], top=1)[0].scores) == 1


def test_sigmoid_classes_give_pairs_of_query_and_class():
    said = outputs([[[3.0, -1.0], [1.0, 2.0]]], [[[0.1, 0.1, 0.2, 0.2], [0.9, 0.9, 0.2, 0.2]]])
    (found,) = from_outputs(said, [(10, 10)], sigmoid=True, top=3)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx(torch.tensor([3.0, 2.0, 1.0]).sigmoid().tolist())
    torch.testing.assert_close(found.boxes[:, 0], torch.tensor([0.0, 8.0, 8.0]))


def test_each_image_has_its_own_size():
    said = outputs([[[1.0, 0.0]], [[1.0, 0.0]]], [[[0.5, 0.5, 1.0, 1.0]]] * 2)
    first, second = from_outputs(said, [(8, 4), (3, 5)])
    assert (first.image_id, second.image_id) == (0, 1)
    assert first.boxes.tolist() == [[0, 0, 8, 4]]
    assert second.boxes.tolist() == [[0, 0, 3, 5]]
