"""torch data sets over records: training pictures with their label, evaluated pictures with their row."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from reid_lightning.data.images import load_image
from reid_lightning.data.records import Split


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """Item `i` is (transformed picture `i`, `numbers[i]`): a class label in training, else the row itself."""

    def __init__(
        self, images: Split, transform: Callable[[Image.Image], Tensor], *, numbers: list[int] | None = None
    ) -> None:
        self.images = images
        self.transform = transform
        self.numbers = numbers if numbers is not None else list(range(len(images)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(load_image(self.images[index].path)), self.numbers[index]
