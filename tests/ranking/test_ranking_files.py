import json

import numpy as np
import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.files import read_embeddings, write_embeddings
from reid_lightning.ranking.protocols import ImageToImage, TrackToTrack
from reid_lightning.ranking.ranking_files import read_ranking, write_ranking
from reid_lightning.ranking.table import EmbeddingTable


def table(seed=0, vehicles=4, model="0123456789abcdef"):
    """Two cameras a vehicle, a track of one to three pictures under each."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        (f"{vehicle:04d}", f"c{camera:03d}", f"{vehicle:04d}_c{camera:03d}_t{vehicle}{camera}", number)
        for vehicle in range(vehicles)
        for camera in (1 + seed, 2 + seed)
        for number in range(1 + (vehicle + camera) % 3)
    ]
    identities, cameras, tracks, numbers = zip(*rows, strict=True)
    names = tuple(f"{track}_{number}.jpg" for track, number in zip(tracks, numbers, strict=True))
    return EmbeddingTable(torch.randn(len(rows), 5, generator=generator), identities, cameras, tracks, names, model)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("columns", [("cameras", "tracks", "names"), ()])
def test_binary_files_keep_everything(tmp_path, suffix, columns):
    whole = table()
    kept = {name: getattr(whole, name) for name in columns}
    written = EmbeddingTable(whole.embeddings, whole.identities, **kept, model=whole.model)
    path = write_embeddings(tmp_path / f"q{suffix}", written)
    came = read_embeddings(path)
    assert torch.equal(came.embeddings, written.embeddings)
    for name in ("identities", "cameras", "tracks", "names", "model"):
        assert getattr(came, name) == getattr(written, name)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_seeds_json_is_written_and_read(tmp_path):
    whole = table()
    path = write_embeddings(tmp_path / "q.json", whole)
    content = json.loads(path.read_text())
    assert list(content) == list(dict.fromkeys(whole.tracks))
    assert all(isinstance(number, float) for pictures in content.values() for one in pictures for number in one)
    came = read_embeddings(path)
    assert torch.equal(came.embeddings, whole.embeddings)
    assert (came.identities, came.cameras, came.tracks) == (whole.identities, whole.cameras, whole.tracks)
    assert came.names is None  # JSON names no pictures


@pytest.mark.parametrize(
    ("identity", "camera", "track"),
    [("1", None, "12_passage"), ("1", "c1", "1_c12"), ("van", "3", "x"), ("a", None, "a_c1"), ("7", "c2", "7_c2_t9")],
)
def test_any_track_name_says_its_vehicle_and_camera_in_json(tmp_path, identity, camera, track):
    whole = EmbeddingTable(torch.ones(2, 3), (identity,) * 2, camera and (camera,) * 2, (track,) * 2)
    came = read_embeddings(write_embeddings(tmp_path / "q.json", whole))
    assert (came.identities, came.cameras) == (whole.identities, whole.cameras)
    assert len(set(came.tracks)) == 1


@pytest.mark.parametrize(("identity", "camera"), [("van_3", "c1"), ("van", "left"), ("van_c1", None)])
def test_names_that_json_cannot_hold_are_refused(tmp_path, identity, camera):
    whole = EmbeddingTable(torch.ones(1, 3), (identity,), camera and (camera,), ("t",))
    with pytest.raises(ReIDError, match="safetensors"):
        write_embeddings(tmp_path / "q.json", whole)
    assert list(tmp_path.iterdir()) == []
    came = read_embeddings(write_embeddings(tmp_path / "q.npz", whole))
    assert (came.identities, came.cameras) == (whole.identities, whole.cameras)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_binary_files_keep_the_precision(tmp_path, dtype):
    whole = EmbeddingTable((torch.arange(6).view(2, 3) / 3).to(dtype), ("a", "b"))
    for name in ("q.npz", "q.safetensors"):
        came = read_embeddings(write_embeddings(tmp_path / name, whole)).embeddings
        assert torch.equal(came.double(), whole.embeddings.double())
        assert came.dtype == (torch.float32 if (name, dtype) == ("q.npz", torch.bfloat16) else dtype)


def test_whole_numbers_are_names_too_and_other_things_are_not(tmp_path):
    path = tmp_path / "q.npz"
    np.savez(path, embeddings=np.ones((2, 3), dtype=np.float32), identities=np.array([7, 8]), tracks=np.array([1, 2]))
    assert read_embeddings(path).identities == ("7", "8")
    for wrong in (np.array([0.5, 1.5]), np.array("ab"), np.array([b"a", b"b"]), np.array([["a"], ["b"]])):
        np.savez(path, embeddings=np.ones((2, 3), dtype=np.float32), identities=wrong)
        with pytest.raises(ReIDError, match=r"q\.npz: identities is"):
            read_embeddings(path)


def test_the_seeds_own_file_is_read(tmp_path):
    features = {"0002_c002": [[0.5, 1.0], [0.25, 0.0]], "0006_c015": [[3.0, 4.0]], "0007_c001": [1.0, 2.0]}
    (tmp_path / "q.json").write_text(json.dumps(features))
    came = read_embeddings(tmp_path / "q.json")
    assert came.identities == ("0002", "0002", "0006", "0007")
    assert came.cameras == ("c002", "c002", "c015", "c001")
    assert came.tracks == ("0002_c002", "0002_c002", "0006_c015", "0007_c001")
    assert came.embeddings.tolist() == [[0.5, 1.0], [0.25, 0.0], [3.0, 4.0], [1.0, 2.0]]


def test_cameras_are_unknown_when_names_do_not_say_them(tmp_path):
    (tmp_path / "q.json").write_text(json.dumps({"red_car": [[1.0]], "0002_c002": [[2.0]]}))
    came = read_embeddings(tmp_path / "q.json")
    assert came.cameras is None
    assert came.identities == ("red", "0002")


def test_pictures_without_tracks_become_tracks_of_their_own_in_json(tmp_path):
    whole = EmbeddingTable(torch.eye(3), ("a", "a", "b"), ("c1", "c1", "c2"))
    came = read_embeddings(write_embeddings(tmp_path / "q.json", whole))
    assert len(set(came.tracks)) == 3
    assert (came.identities, came.cameras) == (whole.identities, whole.cameras)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no tracks in it"),
        ("{}", "no tracks in it"),
        ('{"a_c1": [[1]], "a_c1": [[2]]}', "'a_c1' twice"),
        ('{"a_c1": 5}', r"'a_c1' has shape \(\)"),
        ('{"a_c1": [[1' + "0" * 400 + "]]}", "'a_c1'"),
        ('{"a_c1": [[1, 2], [3]]}', "'a_c1'"),
        ('{"a_c1": [[1, 2]], "b_c1": [[1, 2, 3]]}', r"'b_c1' has shape \(1, 3\); expected \(pictures, 2\)"),
        ('{"a_c1": [[1, NaN]]}', "'a_c1' holds NaN"),
        ('{"a_c1": []}', r"'a_c1' has shape \(0,\)"),
        ('{"a_c1": "x"}', "'a_c1'"),
        ('{"a_c1": [["x"]]}', "'a_c1'"),
    ],
)
def test_mistakes_in_json_name_the_file_and_the_track(tmp_path, text, message):
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(ReIDError, match=message):
        read_embeddings(tmp_path / "q.json")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "q.csv").touch()
    with pytest.raises(ReIDError, match=r"ends in '.csv'"):
        read_embeddings(tmp_path / "q.csv")
    for missing in ("q.json", "nowhere"):
        with pytest.raises(ReIDError, match=f"no file or folder of embeddings at .*{missing}"):
            read_embeddings(tmp_path / missing)
    for name in ("q.safetensors", "q.npz"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(ReIDError, match="not a file of embeddings"):
            read_embeddings(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", embeddings=np.array([{}], dtype=object), identities=np.array(["a"]))
    with pytest.raises(ReIDError, match="not a file of embeddings"):
        read_embeddings(tmp_path / "pickled.npz")
    np.savez(tmp_path / "short.npz", embeddings=np.zeros((2, 3), dtype=np.float32), identities=np.array(["a"]))
    with pytest.raises(ReIDError, match="identities has 1 entries for 2 embeddings"):
        read_embeddings(tmp_path / "short.npz")


@pytest.mark.parametrize("protocol", [TrackToTrack(), ImageToImage(top_k=None), ImageToImage(junk="none", top_k=None)])
def test_a_ranking_read_back_scores_as_it_did(tmp_path, protocol):
    ranking = protocol.rank(table(0), table(1))
    path = write_ranking(tmp_path / "ranking.json", ranking)
    expected = evaluate_problem(ranking.problem)
    came = evaluate_problem(read_ranking(path))
    assert came.average_precision.tolist() == pytest.approx(expected.average_precision.tolist(), nan_ok=True, abs=0)
    assert came.queries == expected.queries
    assert (came.protocol, came.metric, came.junk) == (expected.protocol, expected.metric, expected.junk)


def test_a_shortened_ranking_is_not_scored(tmp_path):
    path = write_ranking(tmp_path / "ranking.json", ImageToImage().rank(table(0), table(1)), top_k=3)
    assert all(len(entry["ranking"]) == 3 for entry in json.loads(path.read_text())["tracks"].values())
    with pytest.raises(ReIDError, match="first 3 of each ranking"):
        read_ranking(path)


@pytest.mark.parametrize(("metric", "said"), [(None, "mean"), (["MED"], "mean"), (0.5, "mean"), ("MED", "med mean")])
def test_a_ranking_whose_metric_is_no_text_is_read_without_it(tmp_path, metric, said):
    tracks = {"0001_c001": {"class": "0001", "ranking": {"1": {"id": "0001_c002", "class": "0001", "distance": 0.1}}}}
    path = tmp_path / "ranking.json"
    path.write_text(json.dumps({"metric": metric, "aggregation": "MEAN", "tracks": tracks}), encoding="utf-8")
    assert read_ranking(path).scores.metric == said


def test_items_of_one_name_are_told_apart(tmp_path):
    query = EmbeddingTable(torch.eye(3), tuple("abc"), names=("same", "same", "other"))
    gallery = EmbeddingTable(torch.eye(3), tuple("abc"), names=("x", "x", "x"))
    ranking = ImageToImage(junk="none").rank(query, gallery)
    came = evaluate_problem(read_ranking(write_ranking(tmp_path / "ranking.json", ranking)))
    assert (came.queries, came.gallery, came.mAP) == (3, 3, 1.0)


def test_the_ranking_file_has_the_seeds_keys(tmp_path):
    ranking = TrackToTrack(metric="med", aggregation="min").rank(table(0), table(1))
    path = write_ranking(tmp_path / "ranking.json", ranking, top_k=3)
    content = json.loads(path.read_text())
    assert content["metric"] == "MED"
    assert content["aggregation"] == "min"
    assert set(content["tracks"]) == set(table(0).tracks)
    for query, entry in content["tracks"].items():
        assert entry["class"] == query.split("_")[0]
        assert list(entry["ranking"]) == ["1", "2", "3"]
        distances = [item["distance"] for item in entry["ranking"].values()]
        assert distances == sorted(distances)
        assert all(item["class"] == item["id"].split("_")[0] for item in entry["ranking"].values())
        junk = [item for item in entry["ranking"].values() if item["id"].split("_")[:2] == query.split("_")[:2]]
        assert not junk


def test_cosine_distances_are_one_minus_the_similarity(tmp_path):
    query = EmbeddingTable(torch.tensor([[1.0, 0.0]]), ("a",), names=("q",))
    gallery = EmbeddingTable(torch.tensor([[3.0, 4.0], [2.0, 0.0]]), ("a", "b"), names=("g1", "g2"))
    ranking = ImageToImage().rank(query, gallery)
    content = json.loads(write_ranking(tmp_path / "ranking.json", ranking).read_text())
    listed = content["tracks"]["q"]["ranking"]
    assert [listed[place]["id"] for place in ("1", "2")] == ["g2", "g1"]
    assert [listed[place]["distance"] for place in ("1", "2")] == pytest.approx([0.0, 0.4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"tracks": {}}', "is no ranking"),
        ('{"tracks": {"q": {"class": "a", "ranking": {"2": {"id": "g", "class": "a"}}}}}', "query 'q'"),
        ('{"tracks": {"q": {"ranking": {}}}}', "query 'q'"),
        ('{"tracks": {"q": {"class": "a", "ranking": {}}}}', "ranks nothing"),
        (
            '{"tracks": {"q": {"class": "a", "ranking": {"1": {"id": "g", "class": "a"}, '
            '"2": {"id": "g", "class": "a"}}}}}',
            "listed twice",
        ),
        (
            '{"tracks": {"q": {"class": "a", "ranking": {"1": {"id": "g", "class": "a"}}}, '
            '"r": {"class": "a", "ranking": {"1": {"id": "g", "class": "b"}}}}}',
            "query 'r': 'g' is of two classes",
        ),
    ],
)
def test_mistakes_in_a_ranking_name_the_query(tmp_path, text, message):
    (tmp_path / "ranking.json").write_text(text)
    with pytest.raises(ReIDError, match=message):
        read_ranking(tmp_path / "ranking.json")
