"""What counts as found: the settings of a search, which say what does not go together."""

from __future__ import annotations

from dataclasses import dataclass, field

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.rerank import KReciprocal
from reid_lightning.search.matching.scoring import filter_matches
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.search.records import Filter
from reid_lightning.search.video.track_source import Box, Pictures


@dataclass(frozen=True)
class SearchOptions:
    """What counts as found.

    Args:
        min_score: the least cosine similarity.
        top_k: matches of a frame, and vehicles named for a track.
        where: which registered pictures are compared.
        rerank: re-rank the vehicles of each batch of frames against the gallery; takes the gallery into memory.
        travel_times: reweigh by the time it takes from the sighting's camera to `camera`: matches by the time of their
            frame, decisions by the middle of their track. Not together with `rerank`.
        camera: where the query was taken; with `travel_times` one of their cameras.
        start: when it began, in seconds since 1970; None: what the source says.
        one_vehicle: all pictures are of one vehicle, and decided about together.
        pictures: what a picture is, see `follow`.
        box: the vehicle of a query that is one picture, x1, y1, x2, y2 in pixels; None: it is looked for.
        min_quality: vehicles of a video whose picture is worse are not compared, see `crop_quality`.
        batch_size: crops a forward pass.
    """

    min_score: float = 0.6
    top_k: int = 5
    where: Filter = field(default_factory=Filter)
    rerank: KReciprocal | None = None
    travel_times: TravelTimes | None = None
    camera: str | None = None
    start: float | None = None
    one_vehicle: bool = False
    pictures: Pictures = "auto"
    box: Box | None = None
    min_quality: float = 0.05
    batch_size: int = 32

    def threshold(self, embedder: Embedder) -> Threshold:
        """What `min_score` means for a model: what is compared with it, and what the model's calibration says."""
        weighed = "" if self.travel_times is None else "the plausibility of its travel time"
        return Threshold(self.min_score, embedder.calibration, weighed=weighed, reranked=self.rerank is not None)

    def __post_init__(self) -> None:
        filter_matches([], min_score=self.min_score, top_k=self.top_k)  # refuses what is out of range
        if self.box is not None and len(self.box) != 4:
            raise ReIDError(f"box is {list(self.box)}; expected four numbers in pixels: box=[x1,y1,x2,y2].")
        if self.travel_times is None:
            return
        if self.camera is None:
            raise ReIDError("travel_times needs the query's camera: give camera=<its name in the table>.")
        self.travel_times.check(self.camera)
        if self.rerank is not None:
            raise ReIDError(
                "rerank and travel_times came together; re-ranking leaves one picture of each vehicle, which may not "
                "be of the plausible sighting. Leave one of them out."
            )
