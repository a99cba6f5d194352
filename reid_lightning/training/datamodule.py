"""The LightningDataModule: PK batches of training pictures, and query + gallery pictures for validation."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Any, Literal

import pytorch_lightning as pl
from torch.utils.data import DataLoader, DistributedSampler

from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.batches.batch import Batch
from reid_lightning.data.batches.dataset import PictureDataset, numbering_of, whole_batch
from reid_lightning.data.batches.loader import ResumableLoader
from reid_lightning.data.batches.sampler import KeyedBatchSampler, PKBatchSampler, RandomBatchSampler, mixed
from reid_lightning.data.images.cache import PictureCache
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.readers.validation import Validation, divide
from reid_lightning.data.records import Split, VehicleDataset
from reid_lightning.errors import ReIDError
from reid_lightning.training.lightning_internals import settings_of
from reid_lightning.user_messages import NotNegative, Positive

_log = logging.getLogger(__name__)


class ReIDDataModule(pl.LightningDataModule):
    """Feeds one data set.

    `dataset` is what it trains on, with the query and gallery pictures of the final figures; `divided` says what the
    best epoch is chosen on.

    Args:
        dataset: what a reader returned.
        preprocessing: what happens to evaluated pictures.
        train_transform: the same for training pictures, with augmentation.
        identities_per_batch: P, on each rank.
        images_per_identity: K.
        sampling: "pk", or "random" for plain shuffled batches of P*K pictures.
        eval_batch_size: pictures a step in validation, on each rank.
        num_workers: loader processes on each rank; 0 decodes in the training process.
        cache_mib: MiB of resized training pictures to keep in memory on each rank; None: none.
        seed: of the order in which pictures are drawn, of their augmentation, and of what is put aside.
        validation: on what the best epoch is chosen: a share of the training identities, which are put aside, or "test"
            for the query and gallery pictures of the final figures; see `readers.validation`.
        shrink_for: of so many ranks P becomes what the identities allow; None: too few of them are an error.

    Identities of `dataset.train`, without those put aside, become labels 0..n-1 in sorted order. Batches are `Batch`es.
    In validation row `i` is query `i`, and the gallery follows behind the queries.
    The PK sampler slices over the ranks itself: the trainer needs `use_distributed_sampler: false`.
    """

    def __init__(
        self,
        dataset: VehicleDataset,
        preprocessing: Preprocessing,
        *,
        train_transform: TrainTransform,
        identities_per_batch: Positive,
        images_per_identity: Positive,
        sampling: Literal["pk", "random"],
        eval_batch_size: Positive,
        num_workers: NotNegative,
        cache_mib: float | None,
        seed: int,
        validation: Validation = "test",
        shrink_for: int | None = None,
    ) -> None:
        super().__init__()
        if not dataset.train:
            raise ReIDError(f"data set {dataset.name!r} holds no training pictures; reid evaluate can still rank it.")
        for name in ("query", "gallery"):
            if not getattr(dataset, name):
                raise ReIDError(f"data set {dataset.name!r} holds no {name} pictures, so nothing can be evaluated.")
        integers = {
            "identities_per_batch": (identities_per_batch, 1),
            "images_per_identity": (images_per_identity, 1),
            "eval_batch_size": (eval_batch_size, 1),
            "num_workers": (num_workers, 0),
        }
        for name, (value, least) in integers.items():
            if not isinstance(value, int) or value < least:
                raise ReIDError(f"loader.{name} is {value!r}; expected a whole number of {least} or more.")
        self.divided = divide(dataset, validation, seed=seed)
        self.dataset = dataset = self.divided.train
        self.preprocessing = preprocessing
        self.train_transform = train_transform
        self.identities_per_batch = identities_per_batch
        self.images_per_identity = images_per_identity
        if sampling not in ("pk", "random"):
            raise ReIDError(f"loader.sampling is {sampling!r}; expected 'pk' or 'random'.")
        self.sampling = sampling
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        if cache_mib is not None:
            size = {side: getattr(train_transform.preprocessing, side) for side in ("height", "width")}
            cache = PictureCache([image.path for image in dataset.train], **size, limit_mib=cache_mib)
            self.train_transform = replace(train_transform, cache=cache)
        self.numbering = numbering_of(dataset.train)
        most = identities_per_batch if shrink_for is None else max(1, self.num_identities // shrink_for)
        if most < identities_per_batch and sampling == "pk":
            self.identities_per_batch = most
            _log.warning(
                "loader.identities_per_batch=%d instead of %d: %s has %d identities to train on",
                *(most, identities_per_batch, dataset.name, self.num_identities),
            )
        self.batch_sampler()  # P, K and the identities are checked here, before any long work

    @property
    def num_identities(self) -> int:
        """Number of identities in the training pictures."""
        return self.classes["identity"]

    @property
    def classes(self) -> dict[str, int]:
        """How many names the training pictures have, by target."""
        return {target: len(names) for target, names in self.numbering.items()}

    @property
    def identities_digest(self) -> str:
        """16 hexadecimal digits over the names of the training identities, in order of their labels."""
        names = "\n".join(self.numbering["identity"])
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def batch_sampler(self, *, rank: int = 0, world_size: int = 1) -> PKBatchSampler | RandomBatchSampler:
        """The batches of one rank."""
        if self.sampling == "random":
            size = self.identities_per_batch * self.images_per_identity
            pictures = len(self.dataset.train)
            return RandomBatchSampler(pictures, batch_size=size, seed=self.seed, rank=rank, world_size=world_size)
        cameras = [image.camera for image in self.dataset.train]
        return PKBatchSampler(
            [image.identity for image in self.dataset.train],
            None if set(cameras) == {None} else cameras,
            identities_per_batch=self.identities_per_batch,
            images_per_identity=self.images_per_identity,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )

    def train_dataloader(self) -> ResumableLoader:
        """Whole batches of P*K pictures."""
        place = self._place()
        sampler = KeyedBatchSampler(self.batch_sampler(**place), seed=self.seed, rank=place["rank"])
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.current_epoch)
        return ResumableLoader(
            PictureDataset(self.dataset.train, self.train_transform.load, numbering=self.numbering),
            batch_sampler=sampler,
            **self._loader_options(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation's queries first, then its gallery."""
        pictures = self._plain(self.divided.validation.query + self.divided.validation.gallery)
        place = self._place()
        sampler: DistributedSampler[Batch] | None = None
        if place["world_size"] > 1:  # pads with duplicates, so that ranks run equally many steps; counted once later
            sampler = DistributedSampler(
                pictures, num_replicas=place["world_size"], rank=place["rank"], shuffle=False, drop_last=False
            )
        return DataLoader(pictures, batch_size=self.eval_batch_size, sampler=sampler, **self._loader_options())

    def plain_loader(self, images: Split) -> DataLoader[Batch]:
        """Any pictures as they are, in their order, on one rank, without processes that stay."""
        options = self._loader_options() | {"persistent_workers": False}
        return DataLoader(self._plain(images), batch_size=self.eval_batch_size, **options)

    def _plain(self, images: Split) -> PictureDataset:
        names = {target: self.numbering[target] for target in ("camera", "viewpoint")}  # what a network may be given
        return PictureDataset(images, self.preprocessing.load, numbering=names)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Pictures uint8 (B, H, W, 3) on the device -> float32 (B, 3, H, W), normalised, channels last."""
        if self.trainer is None or not self.trainer.training:
            return batch._replace(images=self.preprocessing.finish(batch.images))
        # The 1 keeps it apart from the key that the network's own randomness has in this step.
        key = mixed(self.seed, 1, self.trainer.fit_loop.total_batch_idx + 1, self.trainer.global_rank)
        return batch._replace(images=self.train_transform.finish(batch.images, key=int(key[0])))

    def _place(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _loader_options(self) -> dict[str, Any]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": self.num_workers,
            "collate_fn": whole_batch,
            "pin_memory": on_gpu,
            "persistent_workers": self.num_workers > 0,
        }


def datamodule_of(trainer: pl.Trainer) -> ReIDDataModule:
    """The data module that a trainer fits."""
    datamodule: ReIDDataModule = settings_of(trainer).datamodule
    return datamodule
