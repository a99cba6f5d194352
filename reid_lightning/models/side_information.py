"""Tells a vision transformer which camera took a picture and from which side, by an embedding added to every token.

Source: He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021: side information embedding (SIE).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reid_lightning.errors import ReIDError


class SideInformation(nn.Module):
    """One learned vector for each pair of camera and viewpoint, added to all tokens: z + weight * S[camera, viewpoint].

    The pair is embedded jointly, as in the paper: sums of two embeddings can cancel each other. What is unknown
    (position -1) is averaged over, and S is held centred (its mean over all pairs is zero), which costs nothing because
    position embeddings take up any constant. So a picture of which nothing is known gets nothing added, and this is
    what the average camera gets: a bundle works on cameras that it has never seen.

    Args:
        dim: width of the tokens.
        cameras: the cameras' names in the order of their positions; True: `name` gives them; False: not used.
        viewpoints: likewise.
        weight: the paper's lambda.
    """

    def __init__(
        self,
        dim: int,
        *,
        cameras: bool | Sequence[str] = False,
        viewpoints: bool | Sequence[str] = False,
        weight: float = 3.0,
    ) -> None:
        super().__init__()
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ReIDError(f"side_information.weight={weight!r}: expected a number; the paper takes 3.0 for VeRi-776")
        self.cameras = _names("cameras", cameras)
        self.viewpoints = _names("viewpoints", viewpoints)
        if self.cameras is False and self.viewpoints is False:
            raise ReIDError(
                "side_information uses neither cameras nor viewpoints; set one of them to true, or side_information "
                "to null"
            )
        self.dim = dim
        self.weight = float(weight)
        self.table: nn.Parameter | None = None
        """(cameras, viewpoints, dim); an axis that is not used has length 1. None until all names are known."""
        self._added: Tensor | None = None
        self._build()

    @property
    def arguments(self) -> dict[str, bool | list[str] | float]:
        """The plain arguments that rebuild this module, but for `dim`."""
        return {"cameras": self.cameras, "viewpoints": self.viewpoints, "weight": self.weight}

    def name(self, *, cameras: Sequence[str], viewpoints: Sequence[str]) -> None:
        """Give the names that were asked for with True, and make their embedding; other names are left aside."""
        if self.cameras is True:
            self.cameras = _names("cameras", list(cameras))
        if self.viewpoints is True:
            self.viewpoints = _names("viewpoints", list(viewpoints))
        self._build()

    def positions(self, cameras: Sequence[str | None], viewpoints: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Names of cameras and viewpoints (N,) -> their positions (N,), (N,) int64; -1 for names that are unknown."""
        return _positions(self.cameras, cameras), _positions(self.viewpoints, viewpoints)

    def forward(self, cameras: Tensor | None, viewpoints: Tensor | None) -> Tensor:
        """Positions (B,), (B,) int64 -> what is added to the tokens of each picture, (B, dim); None: all unknown."""
        if self.table is None:
            raise ReIDError("side information has no names yet: call model.name_sides(cameras=..., viewpoints=...)")
        known = cameras if cameras is not None else viewpoints
        assert known is not None, "one of the two is used"
        unknown = torch.full_like(known, -1)
        centred = self.table - self.table.mean(dim=(0, 1))
        # The mean goes behind the last row, where position -1 finds it: no branch on what the positions are.
        centred = torch.cat((centred, centred.mean(dim=0, keepdim=True)), dim=0)
        centred = torch.cat((centred, centred.mean(dim=1, keepdim=True)), dim=1)
        return (
            self.weight
            * centred[unknown if cameras is None else cameras, unknown if viewpoints is None else viewpoints]
        )

    def attach(self, backbone: nn.Module) -> None:
        """Have `backbone` add to its tokens what `given` holds, once their positions are embedded.

        Raises ReIDError for a network other than timm's VisionTransformer and Eva.
        """
        if not isinstance(backbone, VisionTransformer | Eva):
            raise ReIDError(
                f"side_information needs a vision transformer, and the backbone is a {type(backbone).__name__}; choose "
                "one, such as model=timm model.backbone=vit_base_patch16_224, or set model.side_information=null"
            )
        backbone.norm_pre.register_forward_pre_hook(self._add)  # both call it right after the position embedding

    @contextmanager
    def given(self, cameras: Tensor | None, viewpoints: Tensor | None) -> Iterator[None]:
        """While this lasts the attached network knows the cameras and viewpoints of its pictures."""
        self._added = self(cameras, viewpoints)
        try:
            yield
        finally:
            self._added = None

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay, as timm says it of position embeddings."""
        return {"table"}

    def _add(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        return None if self._added is None else (inputs[0] + self._added[:, None],)

    def _build(self) -> None:
        if self.table is None and self.cameras is not True and self.viewpoints is not True:
            shape = [1 if names is False else len(names) for names in (self.cameras, self.viewpoints)]
            self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape, self.dim), std=0.02))


def _names(key: str, names: bool | Sequence[str]) -> bool | list[str]:
    if isinstance(names, bool):
        return names
    names = [names] if isinstance(names, str) else list(names)
    if len(names) < 2 or len({*names}) < len(names) or not all(isinstance(name, str) for name in names):
        raise ReIDError(
            f"side_information.{key} are {names}; expected two or more different names. Where the pictures name none "
            f"or one there is nothing to tell apart: set model.side_information.{key}=false."
        )
    return names


def _positions(known: bool | list[str], names: Sequence[str | None]) -> Tensor:
    numbers: dict[str | None, int] = (
        {} if isinstance(known, bool) else {name: position for position, name in enumerate(known)}
    )
    return torch.tensor([numbers.get(name, -1) for name in names], dtype=torch.int64)
