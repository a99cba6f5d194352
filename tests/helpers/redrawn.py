"""What a page does to its fields when it is drawn again while somebody types into them."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

FIELDS = ("text_input", "number_input", "slider", "selectbox", "multiselect", "radio", "datetime_input", "checkbox")


def set_anew(app: AppTest) -> list[str]:
    """The labels of the fields that the last run has set: what is typed into them in that moment is lost."""
    assert not app.exception
    return [one.label for kind in FIELDS for one in app.get(kind) if one.proto.set_value]
