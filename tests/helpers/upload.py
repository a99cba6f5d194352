"""A file as a browser uploads it."""

from dataclasses import dataclass


@dataclass
class Upload:
    """With what Streamlit's uploaded files have of use here."""

    name: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def getbuffer(self) -> memoryview:
        return memoryview(self.content)
