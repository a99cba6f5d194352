"""The network that is trained, exported and searched with: backbone, pooling, reduction, neck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from reid_lightning.errors import ReIDError, first_line, shortened
from reid_lightning.models.backbones import OutputFormat, build_backbone, output_format
from reid_lightning.models.gradient_checkpointing import checkpoint_gradients
from reid_lightning.models.levels import LevelPool, cut_after, maps_of_levels
from reid_lightning.models.mixstyle import MixStyle
from reid_lightning.models.neck import build_neck
from reid_lightning.models.pooling import build_pooling
from reid_lightning.models.pretrained import find_weights, load_matching
from reid_lightning.models.side_information import SideInformation

_Option = TypeVar("_Option", MixStyle, SideInformation)


class ReIDOutput(NamedTuple):
    """What training sees of a batch."""

    features: Tensor
    """(batch, dim) pooled (and reduced), before the neck."""
    embeddings: Tensor
    """(batch, dim) after the neck, not normalised."""


class ReIDModel(nn.Module):
    """A timm or torchvision network that gives one embedding a picture.

    Args:
        backbone: a name of timm.list_models(), with or without timm's weight tag; "torchvision/<name>" for a
            classification network of torchvision.models, whose second-to-last layer gives the features; or an OSNet.
        ibn: "a", "a/4", "b" or None; timm's convolutional networks with batch norms only.
        last_stride: 1 doubles the last map of a timm ResNet, 2 leaves any network as it is.
        pooling: "gem" or "avg", for networks that give maps. Networks that give tokens (ViT) are pooled by their class
            token, or the mean of all tokens where there is none; networks that pool themselves are taken as they are.
        neck: "bnneck" or "none".
        levels: None for the last map alone, or stages whose pooled maps are joined, see `maps_of_levels`.
        mirror: whether features, but for those of training, are the mean of a picture's and its mirror image's.
        embedding_dim: None keeps the backbone's width; a number adds a linear reduction without bias before the neck.
        pretrained: None, "timm", "torchvision", "ibn_net", "wheel" or a weights file's path; for the backbone only.
        side_information: None, or `SideInformation`'s arguments but for `dim`, for vision transformers. With
            `cameras: true` or `viewpoints: true` the names must follow, by `name_sides`, before the network is trained.
        mixstyle: None, or `MixStyle`'s arguments, for networks that give maps; acts in training only.
        frozen_statistics: whether the backbone's batch norms keep the statistics of `pretrained` in training, so that a
            network which sees drawn or few pictures does not forget what real ones look like. Random weights have none.
        gradient_checkpointing: trades computing for memory in training, see `checkpoint_gradients`.

    The last three and `pretrained` are about training: they are no part of `architecture` and add no weights. Random
    weights come from torch's global generator. Raises ReIDError for a value that is unknown or does not fit.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        ibn: str | None = "a",
        last_stride: int = 1,
        pooling: str = "gem",
        neck: str = "bnneck",
        levels: Sequence[int] | None = None,
        mirror: bool = False,
        embedding_dim: int | None = None,
        pretrained: str | None = None,
        side_information: Mapping[str, Any] | None = None,
        mixstyle: Mapping[str, Any] | None = None,
        frozen_statistics: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if embedding_dim is not None and embedding_dim < 1:
            raise ReIDError(
                f"embedding_dim={embedding_dim}: expected a positive number, or null for the backbone's width"
            )
        if not isinstance(mirror, bool):
            raise ReIDError(f"mirror={shortened(repr(mirror))}: expected true or false")
        self.architecture: dict[str, Any] = {
            "backbone": backbone,
            "ibn": ibn,
            "last_stride": last_stride,
            "pooling": pooling,
            "neck": neck,
            "embedding_dim": embedding_dim,
        }
        """The plain arguments that rebuild this network: ReIDModel(**architecture)."""
        self.frozen_statistics = frozen_statistics
        self.backbone = build_backbone(backbone, ibn=ibn, last_stride=last_stride, pretrained=pretrained)
        self.levels: list[int] | None = None
        if levels is None:
            output = output_format(self.backbone)
            self.pool = build_pooling(pooling, layout=output.layout, has_class_token=output.has_class_token)
        else:
            output = OutputFormat("NCHW", sum(cut_after(self.backbone, levels)))
            self.levels = list(levels)
            self.pool = LevelPool(pooling, levels=len(self.levels))
            self.architecture["levels"] = self.levels
        self.mirror = mirror
        if mirror:  # as above: architectures written before there was such a choice stay as they are
            self.architecture["mirror"] = True
        self.embedding_dim: int = output.dim if embedding_dim is None else embedding_dim
        self.reduction = nn.Identity() if embedding_dim is None else nn.Linear(output.dim, embedding_dim, bias=False)
        self.neck = build_neck(neck, dim=self.embedding_dim)
        self.side_information: SideInformation | None = None
        if side_information is not None:
            self.side_information = _build_option(SideInformation, "side_information", side_information, output.dim)
            self.side_information.attach(self.backbone)
            self._note_sides()
        if mixstyle is not None:
            self.mixstyle = _build_option(MixStyle, "mixstyle", mixstyle)
            self.mixstyle.attach(self.backbone, layout=output.layout)
        if gradient_checkpointing:
            checkpoint_gradients(self.backbone)

    def train(self, mode: bool = True) -> ReIDModel:
        """As for any module; batch norms whose statistics are frozen stay in evaluation mode."""
        super().train(mode)
        if self.frozen_statistics and self.backbone.weights_report is not None:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def start_from(self, bundle: Path) -> None:
        """Take the backbone's weights from a bundle of the same network; `weights_report` says what matched.

        What is built upon them is left as it is. Raises ReIDError when they are another network's.
        """
        weights = find_weights(str(bundle), name=self.architecture["backbone"], ibn=self.architecture["ibn"])
        assert weights is not None, "a source was named"
        backbone: Any = self.backbone
        backbone.weights_report = load_matching(backbone, weights.state, origin=weights.origin, source=weights.source)
        self.train(self.training)

    def forward(self, images: Tensor, cameras: Tensor | None = None, viewpoints: Tensor | None = None) -> ReIDOutput:
        """Images (batch, 3, height, width), normalised as in training, to features and embeddings (batch, dim).

        `cameras`, `viewpoints`: (batch,) int64, as `positions_of` gives them; -1 or None: unknown. A network without
        side information takes no notice of them.
        """
        if self.side_information is None or (cameras is None and viewpoints is None):
            pooled = self.pooled(images)
        else:
            with self.side_information.given(cameras, viewpoints):
                pooled = self.pooled(images)
        features = self.reduction(pooled)
        return ReIDOutput(features, self.neck(features))

    def embed(self, images: Tensor, cameras: Tensor | None = None, viewpoints: Tensor | None = None) -> Tensor:
        """Images (N, 3, H, W), normalised as in training, to L2-normalised embeddings (N, dim), float32.

        Neither switches to evaluation mode nor turns gradients off: both are the caller's. See `forward` for the rest.
        """
        return functional.normalize(self(images, cameras, viewpoints).embeddings.float(), dim=1)

    def name_sides(self, *, cameras: Sequence[str], viewpoints: Sequence[str]) -> None:
        """Name the cameras and viewpoints of the training pictures, where `side_information` asks for them with true.

        Call it once, before the network is trained, saved or handed to an optimiser; from then on `architecture` holds
        the names. Other networks take no notice. Raises ReIDError where fewer than two are named.
        """
        if self.side_information is not None:
            self.side_information.name(cameras=cameras, viewpoints=viewpoints)
            self._note_sides()

    def positions_of(self, cameras: Sequence[str | None], viewpoints: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Names (N,), (N,) to the positions (N,), (N,) int64 that `forward` takes; -1: unknown, or not used."""
        if self.side_information is None:
            return torch.full((len(cameras),), -1), torch.full((len(viewpoints),), -1)
        return self.side_information.positions(cameras, viewpoints)

    def pooled(self, images: Tensor) -> Tensor:
        """Images as in `forward` to what the reduction is given, (batch, width)."""
        if self.mirror and not self.training:
            return (self._pooled_as_it_is(images) + self._pooled_as_it_is(images.flip(-1))) / 2
        return self._pooled_as_it_is(images)

    def _pooled_as_it_is(self, images: Tensor) -> Tensor:
        levels = self.levels
        maps = self.backbone(images) if levels is None else maps_of_levels(self.backbone, images, levels)
        pooled: Tensor = self.pool(maps)
        return pooled

    def _note_sides(self) -> None:
        # Only where it is used: architectures written before there was side information stay as they are.
        assert self.side_information is not None
        self.architecture["side_information"] = self.side_information.arguments


def _build_option(option: type[_Option], key: str, arguments: Mapping[str, Any], *positional: Any) -> _Option:
    try:
        return option(*positional, **arguments)
    except TypeError as error:
        reason = str(error).removeprefix(f"{option.__name__}.__init__() ")
        raise ReIDError(f"{key}={dict(arguments)} {reason}; conf/model/base.yaml shows its keys") from error


@torch.no_grad()
def check_input_size(model: ReIDModel, *, height: int, width: int) -> None:
    """ReIDError when the network cannot take pictures of this size; some take only the one that they were made for."""
    training = model.training
    try:
        model.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        backbone = model.architecture["backbone"]
        raise ReIDError(
            f"backbone={backbone!r} cannot take pictures of {height} x {width} ({first_line(error)}). Set "
            "input.height and input.width to the size it was made for, such as 224 or 299."
        ) from error
    finally:
        model.train(training)
