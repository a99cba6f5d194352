"""The Python in README and docs runs as it stands."""

import re

import torch
from PIL import Image

from reid_lightning.bundle import bundle, starter
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.ranking.files import read_embeddings


def blocks(project):
    texts = [path.read_text() for path in (project / "README.md", *sorted((project / "docs").rglob("*.md")))]
    return [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]


def test_every_python_block_runs(project, small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(starter, "_FLEET", "tiny")
    bundle.save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 30), "red").save(f"car_{name}.jpg")
    registered = tmp_path / "data/gallery/LS15EBC"
    registered.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(registered / "a.jpg")
    torch.manual_seed(0)
    found = blocks(project)
    assert len(found) == 4
    for block in found:
        exec(compile(block, "documentation", "exec"), {})
    printed = capsys.readouterr().out
    assert "image to image, cosine, AP as step, junk: none; 20 queries, 300 gallery pictures" in printed
    assert "torch.Size([2, 50])" in printed
    assert "1 LS15EBC 1.0 data/gallery/LS15EBC/a.jpg" in printed
    assert read_embeddings("q.npz").identities == ("blue van", "taxi 7")


def test_every_link_in_the_docs_leads_to_a_file(project):
    pages = [*project.glob("*.md"), *(project / "docs").rglob("*.md"), *project.glob("benchmarks/*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())]
    assert len(links) > 30
    lost = [f"{page.name}: {link}" for page, link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost
