"""The register page."""

import streamlit as st

st.title("register")
