"""The exported model: saving, loading, other formats, and embedding pictures with it."""
