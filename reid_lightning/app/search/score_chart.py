"""What the least score means: the scores of pairs of one vehicle and of different ones, as a chart and in words."""

from __future__ import annotations

import altair as alt
import pandas as pd

from reid_lightning.ranking.open_set_result import Calibration, CompactHistogram
from reid_lightning.search.matching.threshold import share_in_words

NO_CALIBRATION = 0.6
"""The least score where a model has no threshold to trust."""
LEAST_SCORE = "Least score of a match"
"""What the page calls `min_score`."""
SAME, DIFFERENT = "the same vehicle", "different vehicles"
_LINE, _COLOURS = "#8a8a8a", ["#3f86c6", "#e0823a"]  # seen on white and on black


def default_min_score(calibration: Calibration | None) -> tuple[float, str]:
    """Where the slider starts, from 0 to 1 in hundredths, and why, in a sentence."""
    if calibration is None:
        return NO_CALIBRATION, f"This model has no calibrated threshold: {NO_CALIBRATION} is a guess."
    if calibration.warning:
        return NO_CALIBRATION, f"{NO_CALIBRATION} is a guess: this model's threshold rests on too few pairs."
    score = round(min(max(calibration.threshold, 0.0), 1.0), 2)
    return score, f"{score:.2f} is this model's calibrated threshold."


def in_words(histogram: CompactHistogram, min_score: float) -> str:
    """What is found and what is wrongly found from `min_score` on, among the pairs that were measured."""
    same, different = histogram.shares_from(min_score)
    return (
        f"From {min_score:.2f} on, {share_in_words(same)} of the pairs of pictures of {SAME} are found, "
        f"and {share_in_words(different)} of the pairs of {DIFFERENT} are taken for one."
    )


def score_table(histogram: CompactHistogram) -> pd.DataFrame:
    """A row for each bin and kind of pair: `low`, `high`, `pairs`, `share` of all pairs of the kind, 0 to 1."""
    rows = [
        {
            "low": histogram.low + number * histogram.step,
            "high": histogram.low + (number + 1) * histogram.step,
            "pairs": kind,
            "share": count / max(sum(counts), 1),
        }
        for kind, counts in ((SAME, histogram.same), (DIFFERENT, histogram.different))
        for number, count in enumerate(counts)
    ]
    return pd.DataFrame(rows)


def score_chart(histogram: CompactHistogram, min_score: float) -> alt.LayerChart | alt.FacetChart:
    """Both kinds of pairs over each other, as shares, and `min_score` as a line."""
    table = score_table(histogram)
    bars = (
        alt.Chart(table.assign(floor=0.0))
        .mark_rect(opacity=0.6)
        .encode(
            x=alt.X("low:Q", title="score").scale(nice=False),
            x2="high:Q",
            y=alt.Y("share:Q", title="share of pairs").axis(format="~%", tickCount=4),
            y2="floor:Q",
            color=alt.Color("pairs:N").scale(domain=[SAME, DIFFERENT], range=_COLOURS).legend(orient="top", title=None),
            tooltip=[
                alt.Tooltip("pairs:N", title="pairs of"),
                alt.Tooltip("low:Q", title="score from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("share:Q", title="share", format=".2%"),
            ],
        )
    )
    at = alt.Chart(pd.DataFrame({"score": [min_score]}))
    line = at.mark_rule(color=_LINE, strokeDash=[5, 3], size=2).encode(x="score:Q")
    name = at.mark_text(text=LEAST_SCORE, color=_LINE, align="right", baseline="bottom").encode(
        x="score:Q", y=alt.value(-3)
    )
    return alt.layer(bars, line, name).properties(height=220)
