"""nuScenes' scores of the detections of several frames at once."""

from nonet.metrics.driving_detection import DrivingScore
from ponderv2.outdoor_scores import counted, driving_boxes


def score_boxes(truth, found, classes, *, measured=True):
    """The scores of all frames together.

    Args:
        truth: true boxes of each frame; those of label -1 are left out.
        found: detections of each frame, in the same frame of reference.
        classes: their names.
        measured: leave out true boxes that no LiDAR point lies in, as nuScenes does.

    Returns:
        `nds` and `map` in 0..1, `mATE` (m), `mASE`, `mAOE` (rad), `mAVE` (m/s), `mAAE`, and `ap_NAME` of each
        class. Attributes are not predicted: their error is 1, as nuScenes has it for what is missing.

    Raises:
        ValueError: the numbers of frames differ.
    """
    scores = DrivingScore(classes)
    for true, detected in zip(truth, found, strict=True):
        scores.add(driving_boxes(counted(true, measured=measured)), driving_boxes(detected))
    result = scores.scores()
    named = {"nds": result.nds, "map": result.mean_ap} | result.errors
    means = result.class_ap.mean(1)
    return named | {f"ap_{name}": float(value) for name, value in zip(classes, means, strict=True)}
