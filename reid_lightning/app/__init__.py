"""The Streamlit application: Register, Search and Gallery, thin pages over `reid_lightning.search`."""
