"""Files of questions, statements and expressions about images, in the layouts released with ALBEF and X-VLM.

vqa        {"question_id", "question", "answer": [...], "image", "dataset": "vqa" or "vg"}
nlvr2      {"images": [first, second], "sentence", "label": "True" or "False"}
grounding  {"image", "text", "bbox": [x, y, width, height]}, or an image with "elems" of "bb" and "caption"

Lists and lines of such objects are read alike; each broken one is named with its line. Pairs for retrieval
and captions are read by `nonet.data.image_text_pairs`.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from nonet.data.image_text_pairs import image_folder
from nonet.data.text import Record, TextReader
from nonet.errors import UserError

VG_WEIGHT = 0.5  # of an answer of Visual Genome, which one person gave; of the released code

_TRIED = 20  # images of a file that are looked for, to find their folder


class Question(NamedTuple):
    """A question about an image.

    Attributes:
        id: of the question.
        image: path.
        text: the question as written.
        answers: what people answered, in order; empty if the file does not say.
        kind: type of the answer or question for means by type; empty if the file has none.
        weight: of the question's answers, all together.
        place: file and line.
    """

    id: str
    image: str
    text: str
    answers: tuple[str, ...]
    kind: str
    weight: float
    place: str

    def weighted(self) -> list[tuple[str, float]]:
        """Distinct answers with the share of people who gave them, times the weight."""
        counts = Counter(self.answers)
        return [(answer, self.weight * count / len(self.answers)) for answer, count in counts.items()]


class Statement(NamedTuple):
    """A statement about two images.

    Attributes:
        id: of the pair, such as `dev-850-0-1`.
        images: two paths.
        text: the statement.
        label: whether it is true; None if the file does not say.
        place: file and line.
    """

    id: str
    images: tuple[str, str]
    text: str
    label: bool | None
    place: str


class Expression(NamedTuple):
    """Words for a part of an image.

    Attributes:
        id: of the expression.
        image: path.
        text: the words.
        box: x, y, width, height in pixels of the image; None if the file does not say.
        place: file and line.
    """

    id: str
    image: str
    text: str
    box: tuple[float, float, float, float] | None
    place: str


Example = TypeVar("Example", Question, Statement, Expression)
OfImage = TypeVar("OfImage", Question, Expression)


def read_questions(
    sources: Sequence[str], folder: Path | None = None, *, answered: bool = True
) -> list[Question]:
    """Questions of some files.

    Args:
        sources: JSON lists or JSON Lines.
        folder: what their image paths are below; None: looked for near each file.
        answered: each question needs an answer.

    Raises:
        UserError: a file is missing, a record broken, a question without answer, or images are not found.
    """

    def one(record: Record) -> Iterator[Question]:
        given = record.fields.get("answer", record.fields.get("answers", []))
        answers = [given] if isinstance(given, str) else given
        if not isinstance(answers, list):
            raise UserError(f"{record.where}: answer is {given!r}; it is a text or a list of them")
        texts: list[Any] = [a.get("answer") if isinstance(a, dict) else a for a in answers]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(f"{record.where}: an answer is no text: {given!r}"[:200])
        if answered and not texts:
            raise UserError(f"{record.where}: a question without answer")
        kind = str(record.fields.get("answer_type", record.fields.get("question_type", "")))
        weight = VG_WEIGHT if record.fields.get("dataset") == "vg" else 1.0
        id = str(record.fields.get("question_id", record.where))
        yield Question(
            id, _text(record, "image"), _text(record, "question"), tuple(texts), kind, weight, record.where
        )

    return _read(sources, folder, one, lambda found: [found.image], _with_image)


def read_statements(
    sources: Sequence[str], folder: Path | None = None, *, labelled: bool = True
) -> list[Statement]:
    """Statements of some files; arguments and errors as of `read_questions`."""

    def one(record: Record) -> Iterator[Statement]:
        images = record.field("images")
        if not isinstance(images, list) or len(images) != 2 or not all(isinstance(i, str) for i in images):
            raise UserError(f"{record.where}: images is {images!r}; it is a list of two paths")
        given = record.fields.get("label")
        label = given if isinstance(given, bool) else {"true": True, "false": False}.get(str(given).lower())
        if label is None and (labelled or given is not None):
            raise UserError(f"{record.where}: label is {given!r}; it is True or False")
        id = str(record.fields.get("identifier", record.fields.get("id", record.where)))
        yield Statement(id, (images[0], images[1]), _text(record, "sentence"), label, record.where)

    def moved(found: Statement, base: Path) -> Statement:
        first, second = found.images
        return found._replace(images=(str(base / first), str(base / second)))

    return _read(sources, folder, one, lambda found: list(found.images), moved)


def read_expressions(
    sources: Sequence[str], folder: Path | None = None, *, boxed: bool = True
) -> list[Expression]:
    """Expressions of some files; arguments and errors as of `read_questions`."""

    def one(record: Record) -> Iterator[Expression]:
        image = _text(record, "image")
        parts = record.fields.get("elems")
        for number, part in enumerate(parts if isinstance(parts, list) else [record.fields]):
            if not isinstance(part, dict):
                raise UserError(f"{record.where}: elems[{number}] is no object")
            place = f"{record.where}: elems[{number}]" if parts is not None else record.where
            box = _box(part, place, boxed)
            texts = part.get("text", part.get("caption", part.get("sentence")))
            for count, text in enumerate([texts] if isinstance(texts, str) else texts or [None]):
                if not isinstance(text, str) or not text.strip():
                    raise UserError(f"{place}: no text of the expression")
                id = part.get("ref_id", part.get("id", place))
                yield Expression(f"{id}" if not count else f"{id}:{count}", image, text, box, place)

    return _read(sources, folder, one, lambda found: [found.image], _with_image)


def read_answers(path: Path) -> list[str]:
    """The answers of a JSON list, each once, in order.

    Raises:
        UserError: it is no list of texts.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise UserError(f"{path}: not a JSON list of answers")
    return list(dict.fromkeys(found))


def side_by_side(found: Sequence[OfImage]) -> list[OfImage]:
    """Examples of one image next to one another, images in the order of their first ones: a batch then has
    few images."""
    place: dict[str, int] = {}
    for example in found:
        place.setdefault(example.image, len(place))
    return sorted(found, key=lambda example: place[example.image])


def refuse_shared(train: Sequence[Example], other: Sequence[Example], what: str) -> None:
    """Check that no example is in both, by id or by images and text.

    Args:
        train: what is learnt from.
        other: what is measured on.
        what: its name, such as `validation`.

    Raises:
        UserError: some are; an example and their number are named.
    """
    keys = {key for found in train for key in _keys(found)}
    shared = [found for found in other if any(key in keys for key in _keys(found))]
    if shared:
        raise UserError(
            f"{len(shared)} of {len(other)} examples for {what} are trained on, too, such as "
            f"{shared[0].place}: leave them out of one"
        )


def _keys(found: Question | Statement | Expression) -> list[tuple[str, ...]]:
    images = found.images if isinstance(found, Statement) else (found.image,)
    keys: list[tuple[str, ...]] = [(*images, found.text)]
    return keys if found.id.startswith(found.place) else [*keys, ("id", found.id)]


def _read(
    sources: Sequence[str], folder: Path | None, one: Callable[[Record], Iterator[Example]],
    images: Callable[[Example], list[str]], moved: Callable[[Example, Path], Example],
) -> list[Example]:  # fmt: skip
    everything: list[Example] = []
    for source in sources:
        path = Path(source)
        if not path.is_file():
            raise UserError(f"{source}: no such file")
        found = [example for record in TextReader(path) for example in one(record)]
        if not found:
            raise UserError(f"{source}: nothing in it")
        tried = [image for example in found[:_TRIED] for image in images(example)]
        base = image_folder(path, tried, folder)
        everything += [moved(example, base) for example in found]
    return everything


def _with_image(found: Any, base: Path) -> Any:
    return found._replace(image=str(base / found.image))


def _text(record: Record, name: str) -> str:
    value = record.field(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{record.where}: {name} is {value!r}; it is a text")
    return value


def _box(part: dict[str, Any], place: str, wanted: bool) -> tuple[float, float, float, float] | None:
    given = part.get("bbox", part.get("bb", part.get("box")))
    if given is None and not wanted:
        return None
    try:
        x, y, width, height = (float(number) for number in given or ())
    except (TypeError, ValueError):
        raise UserError(f"{place}: bbox is {given!r}; it is [x, y, width, height] in pixels") from None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise UserError(f"{place}: bbox {given} has no area; it is [x, y, width, height] in pixels")
    return x, y, width, height
