import pytest
import torch

from reid_lightning.data.readers.veri import parse_name, read_name_list, read_tracks
from reid_lightning.errors import ReIDError
from reid_lightning.ranking import KReciprocal, QueryExpansion, evaluate_distances, evaluate_retrieval, track_distances
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.protocols import ImageToImage, ImageToTrack, TrackToTrack
from reid_lightning.ranking.table import EmbeddingTable, whole_query_tracks


def table(count, seed, *, cameras=True, tracks=True, dim=6):
    """Vehicles a..e by turns; a track holds up to three pictures of one vehicle and camera."""
    generator = torch.Generator().manual_seed(seed)
    identities = tuple("abcde"[row % 5] for row in range(count))
    seen = tuple(f"c{(row // 5) % 3}" for row in range(count))
    names = tuple(f"{seed}/{row}.jpg" for row in range(count))
    own = tuple(f"{identities[row]}_{seen[row]}_{seed}_{row // 45}" for row in range(count))
    embeddings = torch.randn(count, dim, generator=generator)
    return EmbeddingTable(embeddings, identities, seen if cameras else None, own if tracks else None, names)


def test_image_to_image_is_evaluate_retrieval():
    query, gallery = table(12, 0), table(50, 1)
    names = {"query_ids": query.identities, "gallery_ids": gallery.identities}
    cameras = {"query_cameras": query.cameras, "gallery_cameras": gallery.cameras}
    for junk, rules in (("camera", cameras), ("none", {})):
        protocol = ImageToImage(metric="euclidean", junk=junk)
        came = evaluate_problem(protocol.rank(query, gallery).problem)
        expected = evaluate_retrieval(query.embeddings, gallery.embeddings, **names, **rules, metric="euclidean")
        assert came.as_dict() == expected.as_dict()
        assert came.protocol == "image to image"


def test_index_files_replace_the_rule_when_asked():
    query, gallery = table(6, 0), table(30, 1)
    index = {
        "gt_index": [[row] for row in range(6)],
        "jk_index": [[row + 1, row + 2] for row in range(6)],
    }
    came = evaluate_problem(ImageToImage(junk="index").rank(query, gallery, **index).problem)
    names = {"query_ids": query.identities, "gallery_ids": gallery.identities}
    expected = evaluate_retrieval(query.embeddings, gallery.embeddings, **names, **index)
    assert came.as_dict() == expected.as_dict()
    assert came.junk == "jk_index"
    with pytest.raises(ReIDError, match="junk=index"):
        ImageToImage(junk="index").rank(query, gallery)


def test_without_cameras_only_the_query_itself_is_junk():
    gallery = table(30, 1, cameras=False)
    query = gallery.rows([3, 14])
    ranking = ImageToImage().rank(query, gallery)
    first = [int(chunk.scores.argmax(dim=1)[0]) for chunk in map(ranking.problem.query, (0, 1))]
    assert ranking.problem.junk_rule == "the query itself"
    assert first[0] != 3
    assert first[1] != 14
    bare = ImageToImage(junk="none").rank(query, gallery)
    assert int(bare.problem.query(0).scores.argmax()) == 3


def test_expansion_and_reranking_are_named_and_used():
    query, gallery = table(12, 0), table(50, 1)
    expansion, rerank = QueryExpansion(method="average", top_k=2), KReciprocal(k1=5, k2=2)
    protocol = ImageToImage(expansion=expansion, rerank=rerank)
    came = evaluate_problem(protocol.rank(query, gallery).problem)
    expanded = expansion(query.embeddings, gallery.embeddings)
    expected = evaluate_distances(
        rerank(expanded, gallery.embeddings, metric="cosine"),
        query_ids=query.identities,
        gallery_ids=gallery.identities,
        query_cameras=query.cameras,
        gallery_cameras=gallery.cameras,
    )
    assert came.mAP == expected.mAP
    assert came.metric == f"cosine, {expansion.describe()}, {rerank.describe()}"


@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
def test_tracks_are_ranked_by_their_distances(metric):
    query, gallery = table(12, 0), table(70, 1)
    tracks = gallery.by_track()
    singles = list(query.embeddings.split(1))
    names = {"query_ids": query.identities, "gallery_ids": tracks.identities}
    cameras = {"query_cameras": query.cameras, "gallery_cameras": tracks.cameras}
    distances = track_distances(singles, tracks.embeddings, metric=metric, aggregation="min")
    expected = evaluate_distances(distances, **names, **cameras, metric=metric, protocol="image to track")
    came = evaluate_problem(ImageToTrack(metric=metric).rank(query, gallery).problem)
    assert came.as_dict() == expected.as_dict()
    assert came.gallery == len(set(gallery.tracks))

    whole = query.by_track()
    distances = track_distances(whole.embeddings, tracks.embeddings, metric=metric, aggregation="med50")
    expected = evaluate_distances(distances, query_ids=whole.identities, gallery_ids=tracks.identities)
    protocol = TrackToTrack(metric=metric, aggregation="med50", junk="none")
    came = evaluate_problem(protocol.rank(query, gallery).problem)
    assert came.mAP == expected.mAP
    assert came.protocol == "track to track"
    assert came.metric == ("rscr" if metric == "rscr" else f"{metric} med50")


def test_a_gallery_without_tracks_is_refused():
    query, gallery = table(12, 0), table(30, 1, tracks=False)
    for protocol in (ImageToTrack(), TrackToTrack()):
        with pytest.raises(ReIDError, match="no tracks"):
            protocol.rank(query, gallery)


def test_vehicles_may_number_their_tracks_alike():
    numbered = EmbeddingTable(torch.arange(8.0).view(4, 2), tuple("abaa"), tuple("1121"), tuple("0000"))
    tracks = numbered.by_track()
    assert tracks.names == ("a_1_0", "b_1_0", "a_2_0")
    assert tracks.identities == ("a", "b", "a")
    assert [part.tolist() for part in tracks.embeddings] == [[[0, 1], [6, 7]], [[2, 3]], [[4, 5]]]


def test_cameras_of_one_side_only_are_refused():
    query, gallery = table(12, 0), table(70, 1, cameras=False)
    for protocol in (ImageToImage(), ImageToTrack(), TrackToTrack()):
        with pytest.raises(ReIDError, match="cameras of the gallery are unknown"):
            protocol.rank(query, gallery)
        with pytest.raises(ReIDError, match="cameras of the queries are unknown"):
            protocol.check(gallery, query)
    assert evaluate_problem(ImageToImage(junk="none").rank(query, gallery).problem).junk == "none"


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (ImageToImage, {"metric": "cosin"}),
        (ImageToImage, {"junk": "camrea"}),
        (ImageToImage, {"ranks": 5}),
        (ImageToImage, {"ranks": [1.7]}),
        (ImageToImage, {"ranks": []}),
        (ImageToImage, {"top_k": 0}),
        (ImageToTrack, {"metric": "cosine"}),
        (ImageToTrack, {"ap": "stepp"}),
        (TrackToTrack, {"aggregation": "mean60"}),
        (TrackToTrack, {"variant": "released!"}),
        (TrackToTrack, {"junk": "index"}),
    ],
)
def test_settings_are_checked_before_anything_is_ranked(kind, setting):
    with pytest.raises(ReIDError, match=next(iter(setting))):
        kind(**setting)


def test_query_tracks_are_completed_from_the_gallery():
    gallery = EmbeddingTable(
        torch.arange(10.0).view(5, 2),
        tuple("aabbc"),
        tuple("11223"),
        tuple("ttuuv"),
        ("g/0.jpg", "g/1.jpg", "g/2.jpg", "g/3.jpg", "g/4.jpg"),
    )
    query = EmbeddingTable(
        torch.tensor([[40.0, 50.0], [0.5, 1.5], [9.0, 9.0], [8.0, 8.0]]),
        tuple("badd"),
        tuple("2155"),
        tuple("utww"),
        ("q/2.jpg", "q/7.jpg", "q/8.jpg", "q/9.jpg"),
    )
    whole = whole_query_tracks(query, gallery)
    assert whole.tracks == tuple("uutttww")  # in the order of the queries; q/2.jpg is the gallery's g/2.jpg
    assert whole.identities == tuple("bbaaadd")
    expected = [[4, 5], [6, 7], [0, 1], [2, 3], [0.5, 1.5], [9, 9], [8, 8]]
    assert whole.embeddings.tolist() == expected
    nameless = EmbeddingTable(query.embeddings, query.identities, query.cameras, query.tracks)
    assert whole_query_tracks(nameless, gallery) is nameless


def test_another_vehicles_track_of_the_same_name_is_another_track():
    gallery = EmbeddingTable(torch.eye(2), tuple("ba"), tuple("11"), tuple("12"), tuple("xw"))
    query = EmbeddingTable(2 * torch.eye(2), tuple("ab"), tuple("11"), tuple("12"), tuple("yz"))
    assert torch.equal(whole_query_tracks(query, gallery).embeddings, query.embeddings)


def test_veri_776_has_its_published_numbers_of_tracks(shared_data):
    labels = shared_data / "veri_labels"
    tracks = read_tracks(labels / "test_track_list.txt")
    generator = torch.Generator().manual_seed(0)
    tables = []
    for name in ("query_list.txt", "test_list.txt"):
        names = read_name_list(labels / name)
        identities, cameras = zip(*(parse_name(one, labels) for one in names), strict=True)
        embeddings = torch.randn(len(names), 4, generator=generator)
        tables.append(EmbeddingTable(embeddings, identities, cameras, tuple(tracks[one] for one in names), names))
    query, gallery = tables
    result = evaluate_problem(ImageToTrack(metric="med").rank(query, gallery).problem)
    assert (result.queries, result.gallery, result.queries_without_match) == (1678, 2021, 0)
    protocol = TrackToTrack(metric="mcd", aggregation="mean50")
    ranking = protocol.rank(query, gallery)
    result = evaluate_problem(ranking.problem)
    assert (result.queries, result.gallery) == (1677, 2021)  # two query pictures are of one track
    assert result.junk == "same identity and same camera"
    own = [ranking.gallery.names.index(name) for name in ranking.query.names[:50]]
    assert all(ranking.problem.query(number).scores[0, row].isneginf() for number, row in enumerate(own))
