"""From a planned frame to a JPEG: the vehicle on its path, a detector's crop and the camera's faults."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid_lightning.synthetic.fleet.cameras import Camera, build_camera
from reid_lightning.synthetic.fleet.look import VehicleLook, fleet_looks
from reid_lightning.synthetic.fleet.mesh import build_mesh
from reid_lightning.synthetic.fleet.paint import paint_atlas
from reid_lightning.synthetic.fleet.plan import PlannedTrack
from reid_lightning.synthetic.fleet.scene import Placed, View, look_at, render
from reid_lightning.synthetic.fleet.spec import FleetSpec

BYSTANDERS = 12


@dataclass(frozen=True)
class _Pass:
    """What stays the same while a vehicle passes a camera."""

    heading: float
    turn: float
    far: float
    near: float
    aside: float
    along: float
    light: float
    roll: float
    bystander: tuple[int, float, float] | None
    pole: tuple[float, float] | None
    foliage: bool


class Painter:
    """Draws the pictures of one fleet, keeping cameras and bystanders; a pure function of the spec and the track."""

    def __init__(self, spec: FleetSpec) -> None:
        """Prepare nothing but caches.

        Args:
            spec: the fleet whose seed and picture sizes apply.
        """
        self._spec = spec
        self._cameras: dict[int, Camera] = {}
        self._bystanders: dict[int, Placed] = {}
        looks = fleet_looks(spec.seed, 9, list(range(BYSTANDERS)))
        self._bystander_looks = [looks[i] for i in range(BYSTANDERS)]

    def draw_track(self, track: PlannedTrack, vehicle: Placed) -> list[bytes]:
        """Draw a track's pictures as JPEG files, in the order of its frames."""
        camera = self._camera(track.camera)
        key = [self._spec.seed, 5, track.split, track.identity, track.camera]
        passing = _plan_pass(camera, np.random.default_rng(np.random.SeedSequence([*key, track.frames[0]])))
        span = max(track.frames[-1] - track.frames[0], 1)
        files = []
        for frame in track.frames:
            random = np.random.default_rng(np.random.SeedSequence([*key, frame, 1]))
            progress = (frame - track.frames[0]) / span
            files.append(self._draw(camera, passing, vehicle, progress, random))
        return files

    def _camera(self, number: int) -> Camera:
        if number not in self._cameras:
            self._cameras[number] = build_camera(self._spec.seed, number)
        return self._cameras[number]

    def _bystander(self, number: int) -> Placed:
        if number not in self._bystanders:
            self._bystanders[number] = prepare_vehicle(self._bystander_looks[number])
        return self._bystanders[number]

    def _draw(
        self, camera: Camera, passing: _Pass, vehicle: Placed, progress: float, random: np.random.Generator
    ) -> bytes:
        """Draw one picture."""
        away = passing.far + (passing.near - passing.far) * progress
        heading = passing.heading + passing.turn * (progress - 0.5) + random.normal(0, 0.015)
        place = (away, passing.aside * 0.3)
        own = Placed(vehicle.mesh, vehicle.atlas, place, heading)
        everyone = [own]
        if passing.bystander is not None:
            number, ahead, beside = passing.bystander
            other = self._bystander(number)
            step = np.array([np.cos(heading), np.sin(heading)]) * (ahead + 2.0 * (progress - 0.5))
            step = step + np.array([-np.sin(heading), np.cos(heading)]) * beside
            where = (place[0] + float(step[0]), place[1] + float(step[1]))
            everyone.append(Placed(other.mesh, other.atlas, where, heading + random.normal(0, 0.02)))
        eye = np.array([0.0, 0.0, camera.height])
        view = look_at(eye, np.array([*place, 0.6]), passing.roll)
        view, size = _crop(view, own, self._long_side(camera, away, random), random)
        everyone = [own, *(other for other in everyone[1:] if _hidden(view, own, other) < 0.3)]
        road = (passing.along + 9.0 * progress, passing.aside)
        linear = render(view, camera, everyone, size=size, road=road)
        picture = develop(linear, camera, passing.light * float(np.exp(random.normal(0, 0.04))))
        picture = _obstruct(picture, camera, passing, progress)
        return _encode(picture, camera, random)

    def _long_side(self, camera: Camera, away: float, random: np.random.Generator) -> int:
        """Longer side of the crop in pixels: nearer is larger."""
        low, high = self._spec.long_side
        nearness = 1 - (away - camera.distance[0]) / (camera.distance[1] - camera.distance[0])
        return round(low + (high - low) * float(np.clip(nearness + random.normal(0, 0.12), 0, 1)))


def prepare_vehicle(look: VehicleLook) -> Placed:
    """Build mesh and atlas of a look, standing at the origin."""
    return Placed(build_mesh(look), paint_atlas(look), (0.0, 0.0), 0.0)


def _plan_pass(camera: Camera, random: np.random.Generator) -> _Pass:
    """Draw what one pass has in common."""
    back = random.random() < camera.opposite
    heading = camera.yaw + (np.pi if back else 0.0) + random.normal(0, camera.spread * 0.6)
    far, near = random.uniform(*camera.distance), random.uniform(*camera.distance)
    bystander = None
    if random.random() < 0.35:
        beside = float(random.choice((-1, 1)) * random.uniform(2.7, 3.6))
        ahead = float(random.uniform(-4.5, 4.5))
        if random.random() < 0.3:
            beside, ahead = float(random.normal(0, 0.3)), float(random.choice((-1, 1)) * random.uniform(6.8, 9.0))
        bystander = (int(random.integers(BYSTANDERS)), ahead, beside)
    pole = None
    if random.random() < 0.08:
        pole = (float(random.uniform(0.05, 0.95)), float(random.uniform(0.03, 0.09)))
    return _Pass(
        heading=float(heading),
        turn=float(random.normal(0, camera.spread)),
        far=float(far),
        near=float(near),
        aside=float(random.normal(0, 0.35)) + (3.4 if back else 0.0),
        along=float(random.uniform(0, 24)),
        light=float(np.exp(random.normal(0, 0.13))),
        roll=float(random.normal(0, 0.025)),
        bystander=bystander,
        pole=pole,
        foliage=bool(random.random() < camera.foliage),
    )


def _crop(view: View, vehicle: Placed, long_side: int, random: np.random.Generator) -> tuple[View, tuple[int, int]]:
    """The box of an imperfect detector around the vehicle, scaled so that its longer side has `long_side` pixels."""
    points, _ = view.project(vehicle.points())
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    low = low - extent * np.clip(random.normal(0.05, 0.045, 2), -0.05, 0.18)
    high = high + extent * np.clip(random.normal(0.05, 0.045, 2), -0.05, 0.18)
    focal = long_side / float((high - low).max())
    width, height = (max(24, round(float(side) * focal)) for side in high - low)
    return View(view.eye, view.basis, focal, (float(low[0]) * focal, float(low[1]) * focal)), (width, height)


def _hidden(view: View, vehicle: Placed, other: Placed) -> float:
    """At most so much of the vehicle's box does the other one hide: nothing when it stands behind."""
    (mine, my_depth), (its, its_depth) = view.project(vehicle.points()), view.project(other.points())
    if its_depth.mean() > my_depth.mean():
        return 0.0
    low = np.maximum(mine.min(axis=0), its.min(axis=0))
    high = np.minimum(mine.max(axis=0), its.max(axis=0))
    shared = np.maximum(high - low, 0).prod()
    return float(shared / (mine.max(axis=0) - mine.min(axis=0)).prod())


def develop(linear: np.ndarray, camera: Camera, light: float) -> Image.Image:
    """Linear light to an 8-bit picture with the camera's cast, exposure, contrast and saturation."""
    value = linear * (camera.cast * (camera.exposure * light)).astype(np.float32)
    value = (value / (1 + 0.25 * value)) ** np.float32(1 / 2.2)
    value = 0.5 + (value - 0.5) * camera.contrast
    grey = (value[..., :1] + value[..., 1:2] + value[..., 2:]) / 3
    value = grey + (value - grey) * camera.saturation
    return Image.fromarray((np.clip(value, 0, 1) * 255 + 0.5).astype(np.uint8))


def _obstruct(picture: Image.Image, camera: Camera, passing: _Pass, progress: float) -> Image.Image:
    """Poles, rails and leaves between camera and vehicle."""
    width, height = picture.size
    if passing.pole is None and not passing.foliage and not camera.fence:
        return picture
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    if passing.pole is not None:
        x = (passing.pole[0] + 0.5 * (progress - 0.5)) * width
        half = passing.pole[1] * width / 2
        pen.rectangle((x - half, -2, x + half, height), fill=(70, 72, 74, 255))
        pen.rectangle((x - half, -2, x - half * 0.4, height), fill=(110, 112, 113, 255))
        if passing.pole[1] > 0.06:
            pen.rectangle((x - half * 3, height * 0.08, x + half * 3, height * 0.26), fill=(30, 70, 150, 255))
    leaves = np.random.default_rng(int(passing.along * 1e6))
    if camera.fence and leaves.random() < 0.3:
        level = height * leaves.uniform(0.86, 0.98)
        pen.line((0, level, width, level - height * 0.04), fill=(205, 190, 120, 255), width=max(2, width // 45))
        for x in np.arange(leaves.uniform(0, 8), width, max(width / 14, 4)):
            pen.line((x, level - 3, x, height), fill=(200, 186, 120, 255), width=max(1, width // 70))
    if passing.foliage:
        centre = leaves.uniform(0, 1) * width
        for _ in range(60):
            x, y = centre + leaves.normal(0, width * 0.16), height * (1 - abs(leaves.normal(0, 0.13)))
            r = leaves.uniform(1.0, 3.5)
            tone = leaves.uniform(0.5, 1.3)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(int(60 * tone), int(105 * tone), int(45 * tone), 255))
    layer = layer.filter(ImageFilter.GaussianBlur(0.6))
    picture.paste(layer, (0, 0), layer)
    return picture


def _encode(picture: Image.Image, camera: Camera, random: np.random.Generator) -> bytes:
    """Blur, noise and JPEG."""
    sigma = max(0.0, camera.blur + float(random.normal(0, 0.15)))
    if sigma > 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(sigma))
    width, height = picture.size
    grain = random.standard_normal((height, width, 1), dtype=np.float32) * camera.noise
    tint = random.standard_normal((height // 2 + 1, width // 2 + 1, 3), dtype=np.float32) * (camera.noise * 0.4)
    grain = grain + tint.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    noisy = np.clip(np.asarray(picture) + grain + 0.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=int(random.integers(*camera.quality)))
    return file.getvalue()
