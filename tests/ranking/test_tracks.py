import math
import statistics

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import tracks
from reid_lightning.ranking.sparse_coding import squared_residuals
from reid_lightning.ranking.tracks import track_distances, track_distances_all

AGGREGATIONS = ("min", "mean", "med", "mean50", "med50")


def slow_distance(query, gallery, metric):
    if metric == "med":
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(query, gallery, strict=True)))
    product = sum(a * b for a, b in zip(query, gallery, strict=True))
    lengths = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in gallery))
    return 1 - product / lengths if lengths else 1.0


def slow_aggregation(values, aggregation):
    values = sorted(values)
    if aggregation.endswith("50"):
        values = values[: len(values) // 2 + 1]
    if aggregation == "min":
        return values[0]
    return statistics.median(values) if aggregation.startswith("med") else statistics.fmean(values)


def slow_track_distance(query, gallery, metric, aggregation, variant):
    values = []
    if variant == "paper":
        for q in query:
            values.append(min(slow_distance(q, g, metric) for g in gallery))
    else:
        for g in gallery:
            smallest = math.inf
            for q in query:
                smallest = min(smallest, slow_distance(q, g, metric))
                values.append(smallest)
    return slow_aggregation(values, aggregation)


def slow_track_distances(query_tracks, gallery_tracks, metric, aggregation, variant):
    sides = [[track.tolist() for track in side] for side in (query_tracks, gallery_tracks)]
    rows = [[slow_track_distance(q, g, metric, aggregation, variant) for g in sides[1]] for q in sides[0]]
    return torch.tensor(rows, dtype=torch.float64)


def draw(seed, lengths, *, dim=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, dim, generator=generator, dtype=torch.float64).to(dtype) for length in lengths]


QUERY_LENGTHS = (6, 1, 3, 6, 9, 2, 6, 4)
GALLERY_LENGTHS = (2, 6, 6, 1, 5, 11, 6, 6, 3, 1)


@pytest.mark.parametrize("metric", ["med", "mcd"])
@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("block_bytes", [tracks._BLOCK_BYTES, 2000, 300, 8])
def test_equal_the_slow_loop_in_blocks_of_any_size(metric, variant, block_bytes, monkeypatch):
    """In 300 bytes fit the distances of 6 x 6 images: two tracks; 8 bytes do not even hold two rows."""
    monkeypatch.setattr(tracks, "_BLOCK_BYTES", block_bytes)
    query, gallery = draw(1, QUERY_LENGTHS), draw(2, GALLERY_LENGTHS)
    query[3][2] = gallery[4][1]
    together = track_distances_all(query, gallery, metric=metric, variant=variant)
    assert tuple(together) == AGGREGATIONS
    for aggregation in AGGREGATIONS:
        expected = slow_track_distances(query, gallery, metric, aggregation, variant)
        torch.testing.assert_close(together[aggregation], expected, rtol=1e-12, atol=1e-12)
        alone = track_distances(query, gallery, metric=metric, aggregation=aggregation, variant=variant)
        assert torch.equal(alone, together[aggregation])


@pytest.mark.parametrize("block_bytes", [tracks._BLOCK_BYTES, 300])
def test_rscr_sums_the_residuals_of_the_query_track(block_bytes, monkeypatch):
    monkeypatch.setattr(tracks, "_BLOCK_BYTES", block_bytes)
    query, gallery = draw(1, QUERY_LENGTHS, dim=12), draw(2, GALLERY_LENGTHS, dim=12)
    found = track_distances(query, gallery, metric="rscr")
    for row, images in enumerate(query):
        for column, atoms in enumerate(gallery):
            of_images = [squared_residuals(image[None], atoms[:, None]).item() for image in images]
            assert found[row, column].item() == pytest.approx(math.sqrt(sum(of_images)), rel=1e-9)


def test_by_hand():
    query = [torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 4.0], [20.0, 0.0]])]
    gallery = [torch.tensor([[1.0, 0.0], [6.0, 3.0]])]
    # closest images of the track: 1, 3, sqrt(17), sqrt(14^2 + 3^2) = sqrt(205)
    minima = [1.0, 3.0, math.sqrt(17), math.sqrt(205)]
    expected = {
        "min": 1.0,
        "mean": sum(minima) / 4,
        "med": (3 + math.sqrt(17)) / 2,
        "mean50": (1 + 3 + math.sqrt(17)) / 3,  # 4 // 2 + 1 = 3 smallest
        "med50": 3.0,
    }
    found = track_distances_all(query, gallery, metric="med")
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-6)
    # released, image 1 of the track: 1, min(1, 5), min(1, 17 ** .5), min(1, 19) = 1, 1, 1, 1
    # image 2: 45 ** .5, 3, 3, 3
    released = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, math.sqrt(45)]
    expected = {"min": 1.0, "mean": sum(released) / 8, "med": 2.0, "mean50": 7 / 5, "med50": 1.0}
    found = track_distances_all(query, gallery, metric="med", variant="released")
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-6)


def test_rscr_by_hand():
    query = [torch.tensor([[3.0, 4.0], [2.0, 0.0]]), torch.tensor([[0.4, 1.0]])]
    gallery = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.1, 0.0]])]
    # w = 5/4 and 3/4 leave (0.5, 4) and (0.5, 0); a correlation of at most 1 leaves everything
    expected = torch.tensor([[math.sqrt(16.25 + 0.25), math.sqrt(25 + 4)], [math.sqrt(1.16), math.sqrt(1.16)]])
    torch.testing.assert_close(track_distances(query, gallery, metric="rscr"), expected)


@pytest.mark.parametrize("metric", ["med", "mcd"])
def test_the_order_of_images_matters_to_the_released_variant_alone(metric):
    query, gallery = draw(3, (5, 5)), draw(4, (4, 3))
    turned = [track.flip(0) for track in query]

    def distances(some, variant):
        return track_distances(some, gallery, metric=metric, aggregation="mean", variant=variant)

    torch.testing.assert_close(distances(query, "paper"), distances(turned, "paper"))
    assert (distances(query, "released") - distances(turned, "released")).abs().min() > 1e-3


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_images_against_images(aggregation):
    query, gallery = draw(5, [1] * 7), draw(6, [1] * 9)
    found = track_distances(query, gallery, metric="med", aggregation=aggregation)
    torch.testing.assert_close(found, torch.cdist(torch.cat(query), torch.cat(gallery)))


@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
def test_moving_a_track_moves_its_row_or_column(metric):
    query, gallery = draw(7, QUERY_LENGTHS), draw(8, GALLERY_LENGTHS)
    found = track_distances(query, gallery, metric=metric)
    rows, columns = torch.randperm(len(query)), torch.randperm(len(gallery))
    moved = track_distances([query[row] for row in rows], [gallery[column] for column in columns], metric=metric)
    torch.testing.assert_close(moved, found[rows][:, columns])


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_euclidean_distances_of_near_images_are_not_cancelled(variant, offset):
    """Of |q|^2 + |g|^2 - 2 q.g float32 leaves noise here; `offset`: a network whose embeddings are all alike."""
    generator = torch.Generator().manual_seed(9)
    gallery = [torch.randn(4, 500, generator=generator) + offset for _ in range(30)]
    query = [track[:3].clone() for track in gallery[:20]]
    for number, track in enumerate(query[10:]):
        track += 10.0 ** -(number % 5) * torch.randn(3, 500, generator=generator) / 500**0.5
    found = track_distances(query, gallery, metric="med", aggregation="min", variant=variant).double()
    expected = torch.stack([torch.stack([torch.cdist(q.double(), g.double()).min() for g in gallery]) for q in query])
    assert (found.diagonal()[:10] == 0).all()
    rounding = 4e-6 * (1 + offset)  # of the embeddings' own numbers as float32 holds them
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=rounding)


def test_a_near_image_behind_another_near_image_is_found():
    """Both are lost in the product's rounding; the closer one must still win."""
    image = torch.randn(1, 2000, generator=torch.Generator().manual_seed(10))
    far, near = image + 3e-5, image + 1e-5
    for track in (torch.cat([far, near]), torch.cat([near, far])):
        found = track_distances([image, -image], [track, torch.zeros(1, 2000)], metric="med")
        assert found[0, 0].item() == pytest.approx((near - image).norm().item(), rel=1e-3)


def test_a_zero_vector_is_at_cosine_distance_one():
    zero, one = torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 2.0]])
    found = track_distances([zero, one, torch.cat([zero, one])], [zero, one, -one], metric="mcd", aggregation="mean")
    expected = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [1.0, 0.5, 1.5]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found >= 0).all()


@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(metric, dtype):
    query, gallery = draw(11, QUERY_LENGTHS, dtype=dtype), draw(12, GALLERY_LENGTHS, dtype=dtype)
    found = track_distances(query, gallery, metric=metric)
    as_float32 = [[track.float() for track in side] for side in (query, gallery)]
    assert found.dtype == torch.float32
    assert torch.equal(found, track_distances(*as_float32, metric=metric))
    mixed = [query[0].float(), *query[1:]]
    assert torch.equal(track_distances(mixed, gallery, metric=metric), found)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(track_distances(*as_float32, metric=metric), found)


@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
def test_one_float64_track_makes_it_float64_and_arguments_stay_as_they_are(metric):
    query, gallery = draw(13, (3, 2)), draw(14, (2, 2), dtype=torch.float32)
    query[0].requires_grad_()
    before = [track.detach().clone() for track in (*query, *gallery)]
    found = track_distances(query, gallery, metric=metric)
    assert found.dtype == torch.float64 and not found.requires_grad
    assert all(torch.equal(track, was) for track, was in zip((*query, *gallery), before, strict=True))


GOOD = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [GOOD]), "query_tracks is empty"),
        (([GOOD], []), "gallery_tracks is empty"),
        (([GOOD, torch.ones(0, 4)], [GOOD]), r"query_tracks\[1\] is \(0, 4\)"),
        (([GOOD], [GOOD, GOOD, torch.ones(4)]), r"gallery_tracks\[2\] is \(4,\)"),
        (([GOOD], [GOOD, [[1.0] * 4]]), r"gallery_tracks\[1\] is list"),
        (([GOOD], [GOOD, torch.ones(2, 5)]), r"gallery_tracks\[1\] has 5 numbers for each image, query_tracks\[0\] 4"),
        (([GOOD, torch.ones(2, 3)], [GOOD]), r"query_tracks\[1\] has 3 numbers"),
        (([GOOD], [GOOD, GOOD * torch.nan]), r"gallery_tracks\[1\] holds NaN"),
        (
            ([GOOD], [torch.tensor([[1.0] * 4, [torch.inf] * 4])]),
            r"gallery_tracks\[0\] holds NaN or infinity, .* row 1",
        ),
    ],
)
@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
def test_mistakes_name_the_track(arguments, message, metric):
    with pytest.raises(ReIDError, match=message):
        track_distances(*arguments, metric=metric)


@pytest.mark.parametrize("name", ["metric", "aggregation", "variant"])
@pytest.mark.parametrize("metric", ["mcd", "rscr"])
def test_unknown_names_list_the_known_ones(name, metric):
    with pytest.raises(ReIDError, match=f"{name} is 'best'; expected one of ") as error:
        track_distances([GOOD], [GOOD], **{"metric": metric, name: "best"})
    expected = {
        "metric": "med, mcd, rscr",
        "aggregation": "min, mean, med, mean50, med50",
        "variant": "paper, released",
    }
    assert expected[name] in str(error.value)


def test_rscr_has_no_aggregations():
    with pytest.raises(ReIDError, match="use track_distances"):
        track_distances_all([GOOD], [GOOD], metric="rscr")
    with pytest.raises(ReIDError, match="variant is 'theirs'"):
        track_distances_all([GOOD], [GOOD], metric="mcd", variant="theirs")
