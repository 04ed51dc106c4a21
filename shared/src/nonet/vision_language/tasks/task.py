"""A task on top of an image-text model: what all of them share (ours).

A task reads its files, makes items and batches of them, has losses to train with, answers, and scores its
answers. What it adds to the model (a head, say) is saved beside it under the part's name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader

from nonet.data.batching import Pair, generator
from nonet.data.captions import tells_sides
from nonet.data.image_augment import PlainImages, TrainImages
from nonet.data.image_text_pairs import PairTable
from nonet.errors import RunFailed, UserError
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.retrieval import evaluating
from nonet.vision_language.tasks.task_settings import TaskName, TaskSettings

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: B examples, L tokens of a text, S tokens of an image, d width.

Terms = dict[str, tuple[Tensor, Tensor]]
"""a loss by name: the sum over this process's examples, and how many they are"""

ImageTokens = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""images (R, 3, H, W), CLS of E texts (E, d) or None, the image of each text (E,) int64 or None (text i
belongs to image i) -> tokens (E, S, d), with S of any size"""

_OTHERS = 20  # examples tried in place of one whose image cannot be read


@dataclass(frozen=True)
class ImageReading:
    """How a task's images become tensors.

    Attributes:
        plain: for answers.
        train: for learning; None: as `plain`.
        careful_flip: no mirror image where the text says left or right.
    """

    plain: PlainImages
    train: TrainImages | None = None
    careful_flip: bool = True

    def __call__(self, image: "Image", text: str, random: np.random.Generator | None) -> Tensor:
        """(3, H, W) float32 of an RGB image; with a generator as for learning."""
        if random is None or self.train is None:
            return self.plain(image)
        return self.train(image, random, may_flip=not (self.careful_flip and tells_sides(text)))


class Evaluation(NamedTuple):
    """What a model reaches on a task.

    Attributes:
        scores: percent by name, unless the name says otherwise.
        lines: an object for each example, as `predict` writes it.
    """

    scores: dict[str, float]
    lines: list[dict[str, Any]]


class Task(nn.Module, ABC):  # type: ignore[misc]
    """A model and what a task adds to it.

    Args:
        model: whose weights are trained and used.
        tokenizer: of transformers.
        settings: of the task.

    Attributes:
        name: of the task.
        monitor: the score that tells which weights are best.
        see: what the vision tower makes of images for texts; None: all tokens of an image, whatever the
            text. A package that drops patches sets it.
        more: further losses of a batch, asked behind `losses`; None: none.
        parts: modules that a package adds, saved beside the model under their names.
        files: texts that a package adds to the model's folder, by name.
    """

    name: ClassVar[TaskName]
    monitor: ClassVar[str]

    def __init__(self, model: PairModel, tokenizer: Any, settings: TaskSettings) -> None:
        super().__init__()
        self.model, self.settings, self.tokenizer = model, settings, tokenizer
        self.texts = TextBatch(tokenizer, settings.max_length)
        self.see: ImageTokens | None = None
        self.more: Callable[[dict[str, Any]], Terms] | None = None
        self.parts = nn.ModuleDict()
        self.files: dict[str, str] = {}

    @property
    def heads(self) -> dict[str, nn.Module]:
        """Parts besides the model by the names of their files."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.tau.device

    @abstractmethod
    def used(self) -> list[nn.Module]:
        """The parts of the model that the task trains; the others stay as they are."""

    @abstractmethod
    def read(self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool) -> Any:
        """The examples of some files.

        Args:
            sources: the files.
            folder: what image paths are below; None: looked for.
            split: of Karpathy's files.
            truth: what is to be answered has to be there.

        Raises:
            UserError: a file is missing or broken, or has no splits.
        """

    @abstractmethod
    def refuse_shared(self, train: Any, other: Any, what: str) -> None:
        """Raise UserError if an example of `other`, called `what`, is trained on."""

    @abstractmethod
    def item(
        self, examples: Any, index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """An example as tensors and texts; drawn as for learning with a generator.

        Raises:
            UserError: an image cannot be read.
        """

    @abstractmethod
    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Items to a batch on the CPU."""

    @abstractmethod
    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """Losses of a batch on the device.

        Args:
            batch: of `collate`.
            random: a generator on the device.
            passed: epochs that are over, with fraction.
        """

    @abstractmethod
    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """An object for each example of a batch; the model is in evaluation mode, without gradients."""

    @abstractmethod
    def scores(self, examples: Any, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Percent by name of answers to examples with truth."""

    def image_tokens(
        self, images: Tensor, text: Tensor | None = None, of_image: Tensor | None = None
    ) -> Tensor:
        """Tokens of the image of each text, through `see` where a package has set it.

        Args:
            images: (R, 3, H, W).
            text: (E, d) CLS of the texts; None: there are none.
            of_image: (E,) int64 in 0..R-1, the image of each text; None: text i belongs to image i.

        Returns:
            (E, S, d), without texts (R, S, d).
        """
        if self.see is not None:
            return self.see(images, text, of_image)
        tokens = self.model.encode_image(images)
        return tokens if of_image is None else tokens[of_image]

    def begin_step(self, step: int) -> None:
        """Called before the first batch of each optimiser step."""
        self.model.clamp_tau()

    def evaluate(
        self, examples: Any, reading: ImageReading, *, batch: int, workers: int = 0,
        truth: bool = True,
    ) -> Evaluation:  # fmt: skip
        """Answer all examples, and score the answers.

        Args:
            examples: of `read`.
            reading: of images.
            batch: examples at once.
            workers: processes that read images.
            truth: whether to score.

        Raises:
            UserError: an image cannot be read: nothing is measured on the others alone.
        """
        lines: list[dict[str, Any]] = []
        with evaluating(self):
            for items in self._items(examples, reading, batch, workers):
                lines += self.answers(moved(self.collate(items), self.device))
        return Evaluation(self.scores(examples, lines) if truth else {}, lines)

    def freeze(self) -> None:
        """Train only what the task uses, tables that a used part shares with another one included."""
        trained = {id(weight) for part in self.used() for weight in part.parameters()}
        for weight in self.model.parameters():
            weight.requires_grad_(id(weight) in trained)

    def _items(
        self, examples: Any, reading: ImageReading, batch: int, workers: int
    ) -> Iterator[list[dict[str, Any]]]:
        plain: Any = _Plain(self.item, examples, reading)
        for items in DataLoader(plain, batch_size=batch, num_workers=workers, collate_fn=list):
            for item in items:
                if isinstance(item, str):
                    raise UserError(item)
            yield items


class TrainingItems:
    """The visits of a task's examples; `items[(epoch, index)]` is an item with `index` and `unreadable`.

    Args:
        task: makes the items.
        examples: of `Task.read`.
        reading: of images.
        seed: of the run.
    """

    def __init__(self, task: Task, examples: Any, reading: ImageReading, seed: int) -> None:
        self.make: Callable[..., dict[str, Any]] = task.item
        self.examples, self.reading, self.seed = examples, reading, seed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, visit: Pair) -> dict[str, Any]:
        epoch, index = visit
        random = generator(self.seed, "task", epoch, index)
        failed: list[str] = []
        for _ in range(_OTHERS):
            try:
                return self.make(self.examples, index, self.reading, random) | {"unreadable": failed}
            except UserError as error:
                failed.append(str(error))
                index = int(random.integers(len(self.examples)))
        raise RunFailed(f"{_OTHERS} images in a row cannot be read, the last one: {failed[-1]}")


class _Plain:
    """Items for answers; an error is a text, as one of another process would come with its whole trace."""

    def __init__(self, make: Callable[..., dict[str, Any]], examples: Any, reading: ImageReading):
        self.make, self.examples, self.reading = make, examples, reading

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any] | str:
        try:
            return self.make(self.examples, index, self.reading, None)
        except UserError as error:
            return str(error)


def reading_of(
    config: PairConfig, *, scale: tuple[float, float] | None = None, careful_flip: bool = True
) -> ImageReading:
    """How images of a model's size become tensors.

    Args:
        config: has size, mean and deviation.
        scale: least and greatest share of the area that a training crop keeps; None: there is no training.
        careful_flip: no mirror image where the text says left or right.
    """
    height, width = config.image_size
    plain = PlainImages(height=height, width=width, mean=config.mean, deviation=config.deviation)
    if scale is None:
        return ImageReading(plain)
    train = TrainImages(height=height, width=width, scale=scale, mean=config.mean, deviation=config.deviation)
    return ImageReading(plain, train, careful_flip)


def said(examples: Any) -> list[str]:
    """Lines on what pairs were read and left out; none for other examples, of which nothing is left out."""
    return examples.said() if isinstance(examples, PairTable) else []


def moved(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def joined(items: Sequence[Mapping[str, Any]], *names: str) -> dict[str, Any]:
    """Lists of what items have under some names, and of what every item has: `place` and `unreadable`."""
    found: dict[str, Any] = {name: [item[name] for item in items] for name in names}
    found["ids"] = [item["place"] for item in items]
    found["unreadable"] = [text for item in items for text in item.get("unreadable", ())]
    return found


def each_once(items: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
    """Images of a batch, each once.

    Args:
        items: B of them, with `pixels` (3, H, W) and `once`, a text that is equal for equal pixels.

    Returns:
        (R, 3, H, W) in the order of their first items, and (B,) int64, the image of each item.
    """
    place: dict[str, int] = {}
    pixels = []
    for item in items:
        if item["once"] not in place:
            place[item["once"]] = len(place)
            pixels.append(item["pixels"])
    return torch.stack(pixels), torch.tensor([place[item["once"]] for item in items])


def counted(total: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor]:
    """A sum and how many it is of, as a term of the loss."""
    return total, torch.as_tensor(count, device=total.device)
