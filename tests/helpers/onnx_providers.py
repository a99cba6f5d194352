"""An onnxruntime that was built with more than the CPU, as far as its answers go: all is computed on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
import pytest

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"


def stand_in(
    monkeypatch: pytest.MonkeyPatch, offered: Sequence[str], *, missing: Sequence[str] = ()
) -> list[list[Any]]:
    """Returns the list to which each new session adds the providers that it was asked for.

    Args:
        offered: what was built in, beside the CPU.
        missing: those of them whose libraries are not there: sessions are made without them, silently.
    """
    asked: list[list[Any]] = []
    real = onnxruntime.InferenceSession

    class Session(real):
        def __init__(self, file: str, settings: Any, providers: Sequence[Any], **others: Any) -> None:
            asked.append(list(providers))
            super().__init__(file, settings, providers=[CPU], **others)
            names = [one if isinstance(one, str) else one[0] for one in providers]
            self.taken = [name for name in names if name not in missing]

        def get_providers(self) -> list[str]:
            return self.taken

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*offered, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return asked
