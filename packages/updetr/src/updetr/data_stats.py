"""What a labelled data set holds, counted, and as a page with some of its images (ours)."""

import base64
import html
import io
from typing import Any

import numpy as np

from nonet.data.batching import generator
from nonet.data.images import fitted, open_image
from nonet.data.labelled_boxes import LabelledImages
from nonet.errors import UserError
from updetr.drawing import Marks, draw

SMALL, MEDIUM = 32.0**2, 96.0**2  # square pixels; COCO's limits of small and medium objects
SHOWN = 9  # images on the page
SIDE = 240  # pixels of their shorter side


def counts(data: LabelledImages) -> dict[str, Any]:
    """The numbers of a data set: images, boxes, boxes an image, sizes, shapes."""
    boxes = np.concatenate([image.boxes[~image.crowd] for image in data.images] or [np.zeros((0, 4))])
    areas = np.concatenate([image.areas[~image.crowd] for image in data.images] or [np.zeros(0)])
    each = np.array([int((~image.crowd).sum()) for image in data.images])
    sides = boxes[:, 2:] - boxes[:, :2]
    long = sides.max(1, initial=0) / np.maximum(sides.min(1, initial=np.inf), 1e-9)
    share = [
        float(np.prod(box[2:] - box[:2]) / (image.width * image.height))
        for image in data.images
        for box in image.boxes[~image.crowd]
    ]
    return {
        "images": len(data),
        "images without a box": int((each == 0).sum()),
        "boxes": len(boxes),
        "crowd regions": sum(int(image.crowd.sum()) for image in data.images),
        "difficult boxes": sum(int(image.difficult.sum()) for image in data.images),
        "most boxes of an image": int(each.max(initial=0)),
        "median boxes of an image": float(np.median(each)) if len(each) else 0.0,
        "small boxes (below 32 x 32 pixels)": int((areas < SMALL).sum()),
        "medium boxes": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
        "large boxes (from 96 x 96 pixels)": int((areas >= MEDIUM).sum()),
        "boxes longer than 4 : 1": int((long > 4).sum()),
        "median share of the image": round(float(np.median(share)), 4) if share else None,
    }


def classes(data: LabelledImages) -> list[dict[str, Any]]:
    """A row for each class: boxes, and images that have one."""
    boxes = data.boxes_a_class()
    images = np.zeros(len(data.names), np.int64)
    for image in data.images:
        images[np.unique(image.labels[~image.crowd])] += 1
    rows = zip(data.names, boxes.tolist(), images.tolist(), strict=True)
    return [{"class": name, "boxes": count, "images": holding} for name, count, holding in rows]


def stats_page(source: str, data: LabelledImages, seed: int = 0) -> Any:
    """A page with the numbers, and some images with their boxes.

    Args:
        source: what the user calls the data.
        data: the labelled images.
        seed: which images are shown.

    Returns:
        A `nonet.report.page.Page`.
    """
    from nonet.report.page import Page

    page = Page(f"Labelled images: {source}", "What the data set holds, as `updetr data stats` counts it.")
    page.table([{"what": name, "count": value} for name, value in counts(data).items()], "In numbers")
    page.table(classes(data), "Classes")
    each = np.array([int((~image.crowd).sum()) for image in data.images])
    if len(each):
        cut = np.unique(np.linspace(0, each.max() + 1, 11).round().astype(int))
        bars = {
            f"{low} to {high - 1}" if high - low > 1 else f"{low}": int(((each >= low) & (each < high)).sum())
            for low, high in zip(cut[:-1].tolist(), cut[1:].tolist(), strict=True)
        }
        page.bars("Images by their number of boxes", {name: float(count) for name, count in bars.items()})
    page.html(_pictures(data, seed))
    for title, lines in (("Remarks", data.remarks), ("Defects", data.defects)):
        if lines:
            page.text(f"## {title}")
            page.html("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines[:50]) + "</ul>")
            if len(lines) > 50:
                page.text(f"and {len(lines) - 50} more")
    return page


def _pictures(data: LabelledImages, seed: int) -> str:
    """Some images with their boxes, as HTML with the pictures inside."""
    parts = []
    for place in generator(seed, "stats").permutation(len(data))[:SHOWN].tolist():
        image = data.images[place]
        try:
            picture = open_image(image.path, orient=False)
        except UserError as error:
            parts.append(f"<p>{html.escape(str(error))}</p>")
            continue
        small = fitted(picture, SIDE, 2 * SIDE)
        boxes = image.boxes * np.tile(np.divide(small.size, picture.size), 2)
        texts = [data.names[label] for label in image.labels]
        buffer = io.BytesIO()
        draw(small, Marks(boxes, texts, image.labels.tolist())).save(buffer, "JPEG", quality=85)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        name = html.escape(image.path.name, quote=True)
        parts.append(f'<img src="data:image/jpeg;base64,{encoded}" alt="{name}" title="{name}">')
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(parts)}</div>'
