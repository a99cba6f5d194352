"""The documentation site builds without a warning and has the public names; the notebook runs as it stands."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from running import PROJECT, run_here

NOTEBOOK = json.loads((PROJECT / "docs/notebook.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_on_the_site(site):
    pages = [path.relative_to(PROJECT / "docs").with_suffix("") for path in (PROJECT / "docs").rglob("*.md")]
    assert len(pages) > 12
    for page in [*map(str, pages), "notebook", "benchmarks", "changelog", "contributing", "license", "."]:
        assert (site / page / "index.html").is_file(), page
    menu = (site / "index.html").read_text()
    assert all(f'href="{page}/"' in menu for page in map(str, pages)), "a page that mkdocs.yml does not name"


@pytest.mark.parametrize("room", ["search", "ranking", "losses", "models"])
def test_every_public_name_is_in_the_reference(site, room):
    public = importlib.import_module(f"reid_lightning.{room}").__all__
    described = set(re.findall(r'id="reid_lightning\.[\w.]*?(\w+)"', (site / "api" / room / "index.html").read_text()))
    assert set(public) - described == set()


def test_the_site_asks_nothing_of_other_hosts(site):
    for page in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|img|iframe)[^>]*src="(?:https?:)?//', page.read_text()), page
        assert not re.findall(
            r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(?:https?:)?//', page.read_text()
        ), page


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    names: dict[str, object] = {}
    for cell in NOTEBOOK["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [] and cell["execution_count"] is None, "clear the outputs"
        if source.startswith("%%bash\n"):
            program, *words = shlex.split(source.removeprefix("%%bash\n").replace("\\\n", " "))
            finished = run_here(tmp_path, program, *words)
            assert program == "reid" and finished.returncode == 0, finished.stdout + finished.stderr
        else:
            exec(compile(source, "docs/notebook.ipynb", "exec"), names)
    trained = json.loads((tmp_path / "runs/notebook/metrics.json").read_text())
    assert names["result"].mAP == pytest.approx(trained["mAP"], abs=1e-6)
    assert capsys.readouterr().out.count(": vehicle ") == 9
