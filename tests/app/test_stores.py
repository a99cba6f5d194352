"""The gallery's vectors are closed by whatever opened them: a page, a change, a long job, also one that fails."""

import sys

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from toy_clips import scene

from reid_lightning.app.context import AppContext, _settings
from reid_lightning.app.gallery import actions as gallery_actions
from reid_lightning.app.gallery.jobs import embedding, exporting, importing
from reid_lightning.app.gallery.model import model_state
from reid_lightning.app.jobs import Job
from reid_lightning.errors import ReIDError
from reid_lightning.search import gallery as search_gallery
from reid_lightning.search.gallery import Gallery

SECONDS = 60
FAST = ("gallery=gallery", "plate_reader=none", "detector.warm_up=3")


class Stores:
    """Counts what is opened and closed."""

    def __init__(self, monkeypatch):
        self.opened = self.closed = 0
        self._real = search_gallery.open_store
        monkeypatch.setattr(search_gallery, "open_store", self._open)

    def _open(self, *given, **named):
        store = self._real(*given, **named)
        close = store.close

        def counted():
            self.closed += 1
            close()

        store.close = counted
        self.opened += 1
        return store

    def all_closed(self, *, opened):
        """Since the last look."""
        seen, self.opened = self.opened, 0
        closed, self.closed = self.closed, 0
        assert (seen, closed) == (opened, opened)


@pytest.fixture
def context(bundle, tmp_path, monkeypatch):
    """Two vehicles, put into the folder as pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["main.py", *FAST, f"bundle={bundle}"])
    for name, where in (("AAA111", {"red": (40, 30)}), ("BBB222", {"blue": (40, 30)})):
        (tmp_path / "gallery" / name).mkdir(parents=True)
        Image.fromarray(scene(**where)[30:70, 40:100]).save(tmp_path / "gallery" / name / "a.png")
    return AppContext(_settings((*FAST, f"bundle={bundle}")))


@pytest.fixture
def stores(context, monkeypatch):
    return Stores(monkeypatch)


def ended(job, state="done"):
    assert job.wait(SECONDS)
    assert job.state == state, job.error
    return job


def embedded(context, stores):
    ended(Job("Embedding", embedding(context, context.embedder(), again=False)))
    stores.all_closed(opened=1)


def test_jobs_and_changes_close_what_they_open(context, stores, tmp_path):
    embedded(context, stores)
    ended(Job("Embedding", embedding(context, context.embedder(), again=True)))
    stores.all_closed(opened=1)
    ended(Job("Exporting", exporting(context.gallery, tmp_path / "g.zip", None)))
    ended(Job("Importing", importing(context, tmp_path / "g.zip", context.embedder())))
    stores.all_closed(opened=1)
    gallery_actions.rename(context, "AAA111", "CCC333")
    gallery_actions.merge(context, "CCC333", "BBB222")
    gallery_actions.delete(context, "BBB222")
    stores.all_closed(opened=3)
    assert model_state(context, crops=0).vectors == 0
    stores.all_closed(opened=1)


def test_what_fails_is_closed_as_well(context, stores, monkeypatch):
    embedded(context, stores)

    def fails(*given, **named):
        raise ReIDError("the disk is full")

    monkeypatch.setattr(Gallery, "rename", fails)
    with pytest.raises(ReIDError, match="disk is full"):
        gallery_actions.rename(context, "AAA111", "CCC333")
    stores.all_closed(opened=1)
    monkeypatch.setattr(type(context.embedder()), "embed", fails)
    ended(Job("Embedding", embedding(context, context.embedder(), again=True)), "failed")
    stores.all_closed(opened=1)


def test_each_look_at_the_search_page_closes_what_it_opens(context, stores, project, tmp_path):
    embedded(context, stores)
    app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS)
    app.switch_page("screens/search.py").run()
    stores.all_closed(opened=1)
    for _ in range(3):
        app.run()
    stores.all_closed(opened=3)
    Image.fromarray(scene(red=(40, 30))[30:70, 40:100]).save(tmp_path / "query.png")
    app.text_input(key="search_named").set_value("query.png")
    app.button(key="search_start").click().run()
    ended(app.session_state["search_job"])
    app.run()
    assert not app.exception and app.session_state["search_run"].found.snapshot().pairs
    # a look and the one after its click, which may begin again, and the search
    assert stores.opened == stores.closed >= 3


def test_registering_closes_what_it_opens(context, stores, project, tmp_path):
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "new/1.png")
    app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()
    app.radio[0].set_value(app.radio[0].options[1]).run()
    app.text_input[0].set_value("new")
    app.text_input[1].set_value("north")
    next(one for one in app.button if one.label == "Find vehicles").click().run()
    ended(app.session_state["register_finding"])
    stores.all_closed(opened=0)
    app.run()
    next(one for one in app.button if one.label.startswith("Save")).click().run()
    ended(app.session_state["register_saving"])
    stores.all_closed(opened=1)
