"""A calibration as a bundle keeps it, by its threshold and two histograms of scores from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

from reid_lightning.ranking.open_set_result import Calibration, CompactHistogram


def calibration(
    threshold: float, same: Sequence[int], different: Sequence[int], *, false_match_rate: float = 0.01
) -> Calibration:
    """Of single pictures by cosine similarity."""
    return Calibration(
        threshold=threshold,
        similarity=True,
        false_match_rate=false_match_rate,
        measured_false_match_rate=0.9 * false_match_rate,
        true_match_rate=0.5,
        queries_with_false_match=0.2,
        same_pairs=sum(same),
        different_pairs=sum(different),
        queries=20,
        gallery=50,
        metric="cosine",
        junk="none",
        protocol="image to image",
        histogram=CompactHistogram(0.0, 1.0, tuple(same), tuple(different)),
    )
