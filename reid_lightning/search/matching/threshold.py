"""What the least score of a search means: beside it the calibrated threshold of its model, and what to expect.

A bundle knows how pairs of pictures scored when it was evaluated, and with that how many wrong ones a score lets in.
"""

from __future__ import annotations

from dataclasses import dataclass

from reid_lightning.ranking.open_set_result import Calibration

HOW_TO_CALIBRATE = "reid evaluate checkpoint=<bundle> data=<your pictures> store_threshold=true"


@dataclass(frozen=True)
class Threshold:
    """The least cosine similarity of a match, and what its model's calibration says of it.

    Args:
        used: the least score that was asked for.
        calibration: of pairs of single pictures, image to image; None: the bundle has none.
        weighed: what a pair's cosine similarity is multiplied by before it is compared with `used`, in words; empty:
            by nothing.
        reranked: the scores that are shown are re-ranked ones, which are not compared with `used`.
    """

    used: float
    calibration: Calibration | None
    weighed: str = ""
    reranked: bool = False

    @property
    def calibrated(self) -> float | None:
        """The model's own threshold; None: there is none."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def is_below(self) -> bool:
        """Whether the score used is less than the calibrated one; both in hundredths, as they are shown."""
        return self.calibrated is not None and round(self.used, 2) < round(self.calibrated, 2)

    @property
    def used_false_match_rate(self) -> float | None:
        """The share of the calibration's pairs of different vehicles that score `used` or more; None: unknown."""
        histogram = None if self.calibration is None else self.calibration.histogram
        return None if histogram is None else histogram.shares_from(self.used)[1]

    def as_dict(self) -> dict[str, float | None]:
        """For files: `used`; `calibrated`, with the `false_match_rate` that it was asked for; and
        `used_false_match_rate`, which the calibration's pairs have at `used`. None: unknown."""
        shares = (None if self.calibration is None else self.calibration.false_match_rate, self.used_false_match_rate)
        asked, at_used = (None if share is None else float(f"{share:.3g}") for share in shares)
        return {
            "used": self.used,
            "calibrated": None if self.calibrated is None else round(self.calibrated, 4),
            "false_match_rate": asked,
            "used_false_match_rate": at_used,
        }

    def short(self) -> str:
        """For the corner of a picture."""
        own = "not calibrated" if self.calibrated is None else f"calibrated: {self.calibrated:.2f}"
        return f"{'cosine ' if self.reranked else ''}from {self.used:.2f} on ({own})"

    def describe(self) -> str:
        """The score used and the calibrated one, in one line without a full stop."""
        what = "cosine similarity before re-ranking, " if self.reranked else ""
        what += f"cosine similarity times {self.weighed}, " if self.weighed else ""
        if self.calibration is None:
            return f"{what}from {self.used:.2f} on; this bundle has no calibrated threshold"
        pairs = 1 / self.calibration.false_match_rate if self.calibration.false_match_rate > 0 else 0
        meaning = f"one false match in {pairs:,.0f} pairs" if pairs else "no false match"
        return (
            f"{what}from {self.used:.2f} on; this bundle's calibrated threshold is "
            f"{self.calibration.threshold:.2f} ({meaning})"
        )

    def warning(self, *, remedy: str = "min_score=calibrated is one word away", pictures: int | None = None) -> str:
        """Why matches are not to be trusted as they come; empty where nothing speaks against it.

        Args:
            remedy: how the user gets the calibrated threshold here.
            pictures: how many registered ones each vehicle is compared with, if known.
        """
        if self.calibration is None:
            return f"What {self.used:.2f} means for this bundle is not known. Calibrate it: {HOW_TO_CALIBRATE}"
        said = []
        if self.is_below:
            share = self.used_false_match_rate
            most = "at most " if self.weighed else ""  # what weighs can only take away
            passing = f" {most}{share_in_words(share)} of different pairs of its calibration pass" if share else ""
            compared = "" if pictures is None else f"each vehicle is compared with {pictures:,} pictures"
            facts = ", and ".join(fact for fact in (passing or ", below the calibrated threshold", compared) if fact)
            said.append(f"At {self.used:.2f}{facts}: expect wrong matches; {remedy}.")
        if self.calibration.warning:
            said.append(f"The calibrated threshold is not to be trusted: {self.calibration.warning}")
        return " ".join(said)


def share_in_words(share: float) -> str:
    """`about 24 %`, `about 0.1 % (1 in 1,000)`, `none`."""
    percent = 100 * share
    if percent >= 10 or share == 0:
        return f"about {percent:.0f} %" if share else "none"
    return f"about {percent:.2g} % (1 in {float(f'{1 / share:.2g}'):,.0f})"
