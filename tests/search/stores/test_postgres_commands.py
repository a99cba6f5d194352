"""The commands with `stores=postgres`: a vehicle is registered, found, compared with the disk and embedded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_clips import scene, write_clip

from benchmarks.postgres_server import PostgresServer
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.stores.opening import open_store

pytest.importorskip("psycopg")


@pytest.mark.parametrize("by", ["group", "address"])
def test_a_gallery_lives_on_a_postgres_server(
    by: str, postgres_server: PostgresServer, run_command, bundle: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)])
    place = [f"stores.uri={postgres_server.uri}", f"stores.name={by}", *(["stores=postgres"] if by == "group" else [])]

    def run(script: str, *words: str) -> str:
        finished = run_command(script, *words, f"bundle={bundle}", "gallery=gallery", *place)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    run("register.py", f"source={clip}", "camera=north", "plate_reader=none", "detector.warm_up=3")
    (sighting,) = Gallery(tmp_path / "gallery").sightings()
    store = open_store(postgres_server.uri, name=by)
    assert store.count() == len(sighting.crops)
    run("search.py", f"query={clip}", "hydra.run.dir=found", "draw=false")
    matches = json.loads((tmp_path / "found/matches.json").read_text())["matches"]
    assert {match["vehicle"] for match in matches} == {sighting.vehicle}

    run("reid", "gallery", "check")
    store.delete([record.id for part in store.records() for record in part][:1])
    words = ["gallery", "check", f"bundle={bundle}", "gallery=gallery", *place]
    assert run_command("reid", *words).returncode == 1
    run("reid", "gallery", "sync")
    run("reid", "gallery", "check")
    store.drop()
    run("reid", "gallery", "rebuild")
    run("reid", "gallery", "check")
    assert open_store(postgres_server.uri, name=by).count() == len(sighting.crops)
