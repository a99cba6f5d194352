"""Long lists, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import streamlit as st

Item = TypeVar("Item")


def paged(items: Sequence[Item], *, key: str, per_page: int) -> Sequence[Item]:
    """Those of the page that is chosen under `key`; draws the choice where there is more than one page."""
    pages = -(-len(items) // per_page)
    if pages < 2:
        st.session_state.pop(key, None)
        return items
    if st.session_state.get(key, 1) > pages:  # some were deleted, or a filter leaves fewer
        st.session_state[key] = pages
    page = st.pagination(pages, key=key)
    return items[(page - 1) * per_page : page * per_page]
