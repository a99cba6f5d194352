"""Which model a gallery's vectors are of, and what to do when it is not the one at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reid_lightning.app.context import AppContext
from reid_lightning.app.text import count
from reid_lightning.bundle.bundle import OPTS_NAME, read_options

Advice = Literal["nothing", "sync", "rebuild", "bundle"]


@dataclass(frozen=True)
class ModelState:
    """The vectors' model and how many there are (None, 0: there are no vectors), and the bundle's model (None: there
    is no bundle). `vectors` should be one for each of the `crops`."""

    stored: str | None
    dim: int
    vectors: int
    present: str | None
    crops: int

    @property
    def advice(self) -> Advice:
        """What is to be done, so that all that is registered can be found."""
        if self.crops == 0 and self.vectors == 0:
            return "nothing"
        if self.present is None:
            return "bundle"
        if self.stored is not None and self.stored != self.present and self.vectors:
            return "rebuild"
        return "nothing" if self.vectors == self.crops and self.stored == self.present else "sync"


def model_state(context: AppContext, *, crops: int) -> ModelState:
    """Looks at the bundle and the vectors; loads no model. ReIDError: one of them cannot be read."""
    bundle = context.bundle()
    present = None if bundle is None else read_options(bundle / OPTS_NAME).fingerprint
    with context.stored_vectors() as store:
        if store is None:
            return ModelState(None, 0, 0, present, crops)
        return ModelState(store.fingerprint, store.dim, store.count(), present, crops)


def advice_text(state: ModelState) -> str:
    """In words, for the user."""
    if state.advice == "bundle":
        return "There is no model: name a bundle's folder on the command line (bundle=<folder>), or train one."
    if state.advice == "rebuild":
        return (
            f"These vectors are of another model than the present bundle ({state.present}): searches cannot use them. "
            "Start with the bundle that made them (bundle=<folder>), or embed the gallery again here."
        )
    if state.advice == "sync":
        return f"{count(state.crops, 'picture')}, {count(state.vectors, 'vector')}: embed what is missing."
    return "Every picture is embedded by the present bundle's model." if state.crops else "Nothing is registered yet."
