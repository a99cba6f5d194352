"""Seeded damage to files: to any bytes, to the words of a text, to the values of a structured file.

Everything is drawn from a `random.Random`, so that an input can be made again from its number.
"""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_WORD = re.compile(r"[^\W\d_]{2,}")
_ODD_NUMBERS = ("NaN", "inf", "-inf", "-1", "0", "1e309", "9" * 30, "9" * 5000, "1.5", "0x10", "٣", "", "1,2", "1 2")
_ODD_WORDS = (
    "",
    "null",
    "../../../../etc/passwd",
    "/dev/zero",
    "x" * 5000,
    "a\0b",
    "\u202e\u0000",
    "<!DOCTYPE x>",
    "&lol;",
    '"',
    "'",
    "{{",
    "[[[",
    "\ufeff",
    "😀",
    "*a",
    "&a",
    "!!python/object:os.system",
    "%s",
)
_ODD_SIGNS = '<>{}[]",;:&\t\n\r\0\x1b|\\/'
_DEEP = 2_000


def _odd_values() -> list[Any]:
    deep: Any = 0
    for _ in range(50):
        deep = [deep]
    numbers = [None, True, False, 0, -1, 3, 2**31, 2**63, 2**70, 10**400, 0.5, -0.5, 1e38, 1e308]
    numbers += [math.inf, -math.inf, math.nan]
    words = ["", "x", "x" * 5000, "../../../../etc/passwd", "/dev/zero", "a\0b", "\ud800", "😀", "1", "null"]
    return [*numbers, *words, [], [[]], [1, "a", None], {}, {"x": 1}, {"": {}}, deep]


@dataclass(frozen=True)
class Structure:
    """How the bytes of a file become values and back."""

    parse: Callable[[bytes], Any]
    dump: Callable[[Any], bytes]


def _dump_npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{str(name): np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def _dump_tensors(tensors: dict[str, Any]) -> bytes:
    return save_tensors({str(name): torch.as_tensor(tensor).contiguous() for name, tensor in tensors.items()})


def _dump_checkpoint(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _parse_npz(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


JSON = Structure(json.loads, lambda values: json.dumps(values).encode())
YAML = Structure(yaml.safe_load, lambda values: yaml.safe_dump(values, sort_keys=False).encode())
NPZ = Structure(_parse_npz, _dump_npz)
SAFETENSORS = Structure(load_tensors, _dump_tensors)
CHECKPOINT = Structure(lambda content: torch.load(io.BytesIO(content), weights_only=True), _dump_checkpoint)


def damaged(
    content: bytes, chance: random.Random, *, text: bool, structure: Structure | None, others: list[bytes]
) -> bytes:
    """`content` with one to three kinds of damage. `text`: words and numbers may change as well; `structure`: values
    may; `others`: files of other formats, one of which may stand in its place."""
    if chance.random() < 0.03:
        return b"" if chance.random() < 0.3 else chance.choice(others)
    if structure is not None and chance.random() < 0.6:
        try:
            values = structure.parse(content)
            for _ in range(chance.choice((1, 1, 1, 2))):
                values = _changed_value(values, chance)
            return structure.dump(values)
        except (TypeError, ValueError, OverflowError, RuntimeError, AttributeError, UnpicklingError, yaml.YAMLError):
            pass  # what cannot be written is no input: damage its bytes instead
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content = (_changed_text if text and chance.random() < 0.6 else _changed_bytes)(content, chance)
    return content


def _changed_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    kind = chance.choice(("flip", "flip", "cut", "delete", "repeat", "swap", "append", "zero", "noise", "number"))
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 2, 4, 16, 100, 1000)))
    if kind == "append":
        return bytes(data) + chance.randbytes(chance.choice((1, 100, 5000)))
    if not data or start == end:
        return bytes(data)
    if kind == "flip":
        for _ in range(chance.choice((1, 1, 2, 8, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "delete":
        del data[start:end]
    elif kind == "repeat":
        data[start:start] = data[start:end] * chance.choice((1, 2, 50))
    elif kind == "swap":
        other = chance.randrange(len(data))
        data[start:end], data[other : other + end - start] = data[other : other + end - start], data[start:end]
    elif kind == "zero":
        data[start:end] = bytes(end - start)
    elif kind == "noise":
        data[start:end] = chance.randbytes(end - start)
    else:  # a length or a size, as binary formats have them
        width = chance.choice((2, 4, 8))
        data[start : start + width] = chance.choice((b"\xff" * width, bytes(width), b"\x7f" + b"\xff" * (width - 1)))
    return bytes(data)


def _changed_text(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace")
    kind = chance.choice(("number", "number", "word", "word", "sign", "line", "lines", "deep"))
    if kind in ("number", "word"):
        found = list((_NUMBER if kind == "number" else _WORD).finditer(text))
        if found:
            place = chance.choice(found)
            odd = chance.choice(_ODD_NUMBERS if kind == "number" else _ODD_WORDS)
            text = text[: place.start()] + odd + text[place.end() :]
    elif kind == "sign":
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(_ODD_SIGNS) + text[place + chance.randrange(2) :]
    elif kind == "deep":
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(("[", "{", "<a>", '{"a":', "- ", '"')) * _DEEP + text[place:]
    else:
        lines = text.splitlines(keepends=True) or [""]
        if kind == "lines":
            chance.shuffle(lines)
        else:
            row = chance.randrange(len(lines))
            lines[row : row + 1] = chance.choice(([], [lines[row]] * 2, [lines[row][: len(lines[row]) // 2] + "\n"]))
        text = "".join(lines)
    return text.encode("utf-8", errors="replace")


def _changed_value(value: Any, chance: random.Random) -> Any:
    """A copy in which one value, key or array somewhere is another."""
    if isinstance(value, dict) and value:
        key = chance.choice(list(value))
        draw = chance.random()
        if draw < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        if draw < 0.15:
            return {**value, chance.choice(("extra", "", "pretrained", "_target_")): chance.choice(_odd_values())}
        return {**value, key: _changed_value(value[key], chance)}
    if isinstance(value, list | tuple) and value and chance.random() < 0.85:
        row = chance.randrange(len(value))
        changed = list(value)
        if chance.random() < 0.3:
            changed[row : row + 1] = chance.choice(([], [value[row]] * 2))
        else:
            changed[row] = _changed_value(value[row], chance)
        return changed
    if isinstance(value, Tensor):
        return _changed_tensor(value, chance)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iuf" and chance.random() < 0.8:
            return _changed_tensor(torch.from_numpy(value.copy()), chance).numpy()
        return value[: chance.randrange(len(value) + 1)] if value.ndim else np.zeros(3)
    return chance.choice(_odd_values())


def _changed_tensor(tensor: Tensor, chance: random.Random) -> Tensor:
    """Another shape, type or length, or a value in it that is none."""
    kind = chance.choice(("value", "value", "flat", "more", "less", "empty", "type", "row"))
    if kind == "value" and tensor.numel():
        changed = tensor.clone().reshape(-1)
        odd = (math.nan, math.inf, 1e38, -1.0) if changed.is_floating_point() else (-1, 2**31 - 1, 0)
        odd = odd if changed.dtype not in (torch.uint8, torch.bool) else (0, 1, 255)
        changed[chance.randrange(len(changed))] = chance.choice(odd)
        return changed.reshape(tensor.shape)
    if kind == "flat":
        return tensor.reshape(-1)
    if kind == "more":
        return tensor[None]
    if kind == "less" and tensor.ndim and len(tensor):
        return tensor[:-1].clone()
    if kind == "row" and tensor.ndim and len(tensor):
        return torch.cat([tensor, tensor[:1]])
    if kind == "empty":
        return tensor.reshape(-1)[:0].clone()
    return tensor.to(chance.choice((torch.float16, torch.float64, torch.int64, torch.int8, torch.bool)))
