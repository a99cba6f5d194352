"""The work behind the search page: a source against the gallery, or against a vehicle that is on a picture only."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import OmegaConf

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Cancelled, Job, counting
from reid_lightning.app.search.found import Found
from reid_lightning.app.text import count
from reid_lightning.app.uploads import check_pictures
from reid_lightning.errors import ReIDError
from reid_lightning.search import Embedder
from reid_lightning.search.matching.scoring import filter_matches
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.output.search_files import SearchFiles
from reid_lightning.search.records import Match, time_code
from reid_lightning.search.video.sources import Source, open_source
from reid_lightning.search.video.track_source import Step

WANTED = "wanted vehicle"
"""What a vehicle is called that is looked for by a picture."""
MOST_MATCHES, MOST_SECONDS = 200_000, 12 * 3600.0
"""Of a live stream, which has no end: its matches and its video are on the disk."""


@dataclass(frozen=True)
class SearchRequest:
    """What is searched for and where.

    Args:
        source: a picture, a folder of pictures, a video or an address.
        options: what counts as found; `options.where` is for registered vehicles.
        wanted: a picture, or a folder of pictures, of the vehicle to look for, registered or not; None: look for
            registered ones.
        every: look at every n-th frame.
    """

    source: str | Path
    options: SearchOptions
    wanted: Path | None = None
    every: int = 1


@dataclass
class SearchRun:
    """A search and what it has found; the page reads it while the work goes on.

    `decisions`, `warning` and `files` come at its end, also when it was cancelled. `limit` says why a live stream was
    not followed any further.
    """

    request: SearchRequest
    folder: Path
    """Where the files go."""
    found: Found
    in_video: bool = True
    decisions: tuple[TrackDecision, ...] = ()
    warning: str | None = None
    limit: str | None = None
    files: tuple[Path, ...] = field(default=())
    """To be downloaded."""


def prepare(context: AppContext, request: SearchRequest, folder: Path) -> tuple[SearchRun, AppContext]:
    """A run to be given to `search`, and the context to search in. `folder` is empty, and its own."""
    if request.wanted is not None:
        context = _gallery_of(context, request.wanted, folder / "gallery")
    gallery = context.gallery

    def picture_path(match: Match) -> Path | None:
        return None if match.picture is None else gallery.picture_path(match.picture, vehicle=match.vehicle)

    files = folder / "files"
    files.mkdir()
    return SearchRun(request, files, Found(picture_path)), context


def search(
    job: Job,
    run: SearchRun,
    context: AppContext,
    embedder: Embedder,
    *,
    uploaded: Sequence[Path] = (),
    clean_up: Callable[[], None] | None = None,
) -> None:
    """Do it: results go into `run` as they come. Cancelled, the files have what was found so far.

    Args:
        uploaded: what `Uploads.keep` gave, to be checked first.
        clean_up: is called at the end, whatever it was.

    Raises:
        Cancelled: after the files are written.
        ReIDError: the source cannot be read, or there is nothing to compare it with.
    """
    request = run.request
    try:
        for place in uploaded:
            check_pictures(place, on_progress=counting(job, "picture", before="checking: "))
        job.step(done=0, note="opening")
        if request.wanted is not None:
            with context.index(embedder) as index:
                problems = index.sync().problems
            if problems:
                raise ReIDError(problems[0])
        options = request.options
        stopped: Cancelled | None = None
        with (
            context.search(embedder, replace(options, min_score=-1.0)) as finder,  # the best is shown, passed or not
            open_source(
                request.source, every=request.every, allow_redirects=context.settings.allow_redirects
            ) as source,
            SearchFiles(run.folder, source, context.gallery, threshold=options.threshold(embedder)) as files,
        ):
            run.in_video = source.in_video
            try:
                with closing(finder.run(source, on_step=_telling(job, source))) as frames:
                    for searched in frames:
                        matches = files.marked(searched.matches)
                        best = max(matches, key=lambda match: match.score, default=None)
                        passed = filter_matches(matches, min_score=options.min_score, top_k=options.top_k)
                        searched = replace(searched, matches=tuple(passed))
                        run.found.add(searched, best=best)
                        files.add(searched)
                        run.limit = _limit(source, len(files.matches), searched.frame.seconds)
                        if run.limit is not None:
                            break
            except Cancelled as error:
                stopped = error
            job.note = "writing the files"
            decisions = files.marked(finder.decisions())
            decisions = [one.judged(options.min_score) for one in decisions]  # which were by the score of -1
            query = {"query": source.name, "min_score": options.min_score, "bundle": embedder.options.fingerprint}
            ended = {"cancelled": True} if stopped else {} if run.limit is None else {"limit": run.limit}
            files.finish(decisions, query=query | ended)
            said = [source.warning, finder.taken_whole(source)]
            run.warning = " ".join(one for one in said if one) or None
        run.decisions = tuple(decisions)
        run.files = tuple(sorted(path for path in run.folder.iterdir() if path.is_file()))
        if stopped is not None:
            raise stopped
    except Cancelled:
        raise
    except BaseException:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise
    finally:
        if clean_up is not None:
            clean_up()


def _limit(source: Source, matches: int, seconds: float) -> str | None:
    """Why a live stream is not followed any further."""
    if source.kind != "stream" or (matches < MOST_MATCHES and seconds < MOST_SECONDS):
        return None
    reached = f"{matches:,} matches" if matches >= MOST_MATCHES else f"{seconds / 3600:,.1f} hours"
    return f"The live stream was followed until {reached} were reached; the files hold what was found until then."


def _telling(job: Job, source: Source) -> Callable[[Step], None]:
    tracks, in_video = 0, source.in_video

    def on_step(step: Step) -> None:
        nonlocal tracks
        tracks = max([tracks, *(box.track for box in step.boxes)])
        done = step.frame.number // source.every + 1
        place = time_code(step.frame.seconds)[:8] if in_video else f"picture {done:,}"
        note = f"{place}, {count(tracks, 'track' if in_video else 'vehicle')} seen"
        job.step(done=done, total=source.length, note=note)

    return on_step


def _gallery_of(context: AppContext, wanted: Path, root: Path) -> AppContext:
    """One whose gallery holds a single vehicle, by these pictures, with vectors of its own beside it."""
    vehicle = root / WANTED
    vehicle.mkdir(parents=True)
    paths = [wanted] if wanted.is_file() else sorted(wanted.iterdir())
    for path in paths:
        shutil.copyfile(path, vehicle / path.name)
    settings = context.settings.copy()
    OmegaConf.set_struct(settings, False)
    settings.gallery = str(root)
    settings.stores = {
        "_target_": "reid_lightning.search.gallery.open_store",
        "_partial_": True,
        "uri": str(root / ".index"),
    }
    return AppContext(settings)
