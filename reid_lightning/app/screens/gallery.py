"""The gallery page."""

import streamlit as st

st.title("gallery")
