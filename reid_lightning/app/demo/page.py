"""What the pages show while there is no model: how to get one, or a button that makes a demo of drawn vehicles."""

from __future__ import annotations

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.demo.job import Demo, DemoPlan, make_demo
from reid_lightning.app.jobs import Job
from reid_lightning.app.search.score_chart import LEAST_SCORE
from reid_lightning.app.text import count, plain
from reid_lightning.app.widgets import job, progress_bar, show_error
from reid_lightning.synthetic.traffic import STARTER_MIN_SCORE

KEY = "demo_job"


def show_demo(context: AppContext, *, plan: DemoPlan | None = None) -> None:
    """The whole page, while there is no bundle."""
    current = job(KEY)
    if current is not None and (current.running or current.state == "done"):
        _show_job()
        return
    if current is not None and current.state == "failed":
        show_error(f"The demo could not be made: {current.error}")
    elif current is not None:
        st.info("The demo was stopped; nothing of it was kept.", icon=":material/stop_circle:")
    st.subheader("There is no model yet")
    st.write(
        "A model tells whether two pictures show the same vehicle. Without one nothing can be registered or searched. "
        "Two ways to get one, and a third to look around first:"
    )
    st.markdown(
        '1. Name one: the starter, which needs no training: `make app ARGS="bundle=starter"` '
        "or `reid app bundle=starter`; or one that you have: `bundle=<folder>`.\n"
        "2. Train one: `make train`, with `ARGS` for pictures of your own. When it has ended, load this page again.\n"
        "3. Make the demo: traffic is drawn, the starter, a model that needs no training, registers the vehicles that "
        "one drawn camera saw, and you search in what a second camera saw. The starter works on real vehicles, too; "
        "one that was trained on your own is better. Nothing is downloaded."
    )
    if st.button("Make the demo (about a minute)", type="primary", icon=":material/play_circle:"):
        st.session_state[KEY] = Job("Making the demo", make_demo(context, plan or DemoPlan()))
        st.rerun()


def show_demo_result() -> None:
    """For a page that has a model: what the demo made for this tab and how to go on; nothing without a demo."""
    current = job(KEY)
    if current is None or current.running:
        return
    if current.state == "done":
        made: Demo = current.result
        done = "The gallery held vehicles already and was left alone."
        if made.vehicles is not None:
            done = f"Before the first camera {count(made.vehicles, 'vehicle was', 'vehicles were')} registered."
        st.success(
            f"The demo is ready. {done} To find them again, search in the clip of camera {plain(made.camera)}, "
            f"with the {LEAST_SCORE.lower()} at {STARTER_MIN_SCORE:.2f}.",
            icon=":material/check:",
        )
        st.code(str(made.clip.absolute()), language=None)
    elif current.state == "failed":  # after its model was ready
        show_error(f"The demo's model is ready, but its vehicles could not be registered: {current.error}")
    else:
        st.info("The demo was stopped; its model is ready.", icon=":material/stop_circle:")
    if st.button("Close this note", key="demo_close"):
        del st.session_state[KEY]
        st.rerun()


@st.fragment(run_every=0.5)
def _show_job() -> None:
    current = job(KEY)
    if current is None or current.state in ("failed", "cancelled"):
        st.rerun()
    if current.running:
        st.write("Drawing and registering: this tab has to stay open, the others may be used.")
        progress_bar(current, KEY)
        return
    show_demo_result()
    if st.button("Go to the search page", key="demo_search", icon=":material/search:"):
        st.switch_page("screens/search.py")
