"""What a PyTorch file's pickle would make, found out without making it.

`weights_only=True` runs none of a stranger's code, and still lets the pickle call a few functions with any number:
`bytearray(3_000_000_000)` fits into 40 bytes. Here the pickle is followed with names in place of values, and every call
must be one that plain tensors and values need.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch

from reid_lightning.errors import first_line

_OBJECT = object()  # what a call gives; nothing more is known of it
_MARK = object()

_TENSORS = {f"torch._utils._rebuild_{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3", "qtensor")}
_COPIES = {"collections.OrderedDict", "collections.Counter", "builtins.set", "torch.Size"}
_WRAPPERS = {
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_sparse_tensor",
}
_SMALL = {"builtins.complex", "torch.device", "torch.serialization._get_layout"}
_OTHERS = {"torch._tensor._rebuild_from_type_v2", "_codecs.encode", "builtins.bytearray"}
_NUMPY = {f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")} | {"numpy.dtype"}
_CALLED = _TENSORS | _COPIES | _WRAPPERS | _SMALL | _OTHERS | _NUMPY
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins"}
_PUSHED_CONSTANTS = {"NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_COPIED = 10  # times what stands in the pickle; honest ones copy about all of it once
_EMPTY = {"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}


# The names of the classes, less "Storage"; those themselves warn that they are deprecated.
_STORAGE_WIDTHS = {
    **dict.fromkeys(("Untyped", "Byte", "Char", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}


class RefusedPickleError(ValueError):
    """Says why, as the second half of a sentence about a file."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a pickle asks for: `storages` in bytes by their key, `tensor_bytes` of all tensors together."""

    storages: dict[str, int]
    tensor_bytes: int


@dataclass(frozen=True, slots=True)
class _Name:
    path: str


@dataclass(frozen=True, slots=True)
class _Storage:
    size: int
    width: int


@dataclass(slots=True)
class _Machine:
    """torch's unpickler, with `_Name`, `_Storage` and `_OBJECT` for what is no plain value."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, int] = field(default_factory=dict)
    tensor_bytes: int = 0
    seen: int = 0
    copied: int = 0

    def step(self, name: str, argument: Any) -> None:
        self.seen += 1 + (len(argument) if isinstance(argument, str) else 0)
        if name in _PUSHED_CONSTANTS or name == "SHORT_BINSTRING":
            constants = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
            self.stack.append(constants.get(name, argument))
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "GLOBAL":
            self.stack.append(_name(argument))
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in _EMPTY:
            self.stack.append([])
        elif name == "EMPTY_TUPLE":
            self.stack.append(())
        elif name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
        elif name == "TUPLE":
            self.stack.append(tuple(self._after_mark()))
        elif name in ("APPENDS", "SETITEMS"):
            self._put_in(self._after_mark())
        elif name in ("APPEND", "SETITEM"):
            self._put_in([self.stack.pop() for _ in range(1 if name == "APPEND" else 2)])
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = self.stack.pop(), self.stack.pop()
            self.stack.append(self._call(called, arguments))
        elif name == "BUILD":
            self._build(self.stack.pop())
        elif name == "BINPERSID":
            self.stack.append(self._storage(self.stack.pop()))
        elif name not in ("PROTO", "STOP"):
            raise RefusedPickleError(f"its pickle has the instruction {name}, which plain weights do not need")

    def _after_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError("no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _put_in(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _build(self, state: Any) -> None:
        """The attributes of an OrderedDict, or what a numpy type says of itself."""
        self._count(state)
        plain = isinstance(state, tuple) and all(part is None or isinstance(part, str | int) for part in state)
        if self.stack[-1] is not _OBJECT or not (plain or isinstance(state, list)):
            raise RefusedPickleError("it sets the state of what has none")

    def _count(self, value: Any, depth: int = 2) -> None:
        """Add up what calls copy: many copies of one long list would make much of a small file."""
        if isinstance(value, str | list | tuple):
            self.copied += len(value)
        if self.copied > _COPIED * self.seen:
            raise RefusedPickleError("it copies the same values again and again")
        if isinstance(value, tuple) and depth:
            for part in value:
                self._count(part, depth - 1)

    def _storage(self, identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise RefusedPickleError("it names storage in an unknown way")
        kind, key, _, elements = identity[1:5]
        if not isinstance(key, str) or not _is_count(elements):
            raise RefusedPickleError("it names storage in an unknown way")
        width = _storage_width(kind)
        self.storages[key] = max(self.storages.get(key, 0), elements * width)
        view = identity[5] if len(identity) == 6 else None
        if view is not None:
            _, start, length = view
            if not _is_count(start) or not _is_count(length) or start + length > elements:
                raise RefusedPickleError("a part of a storage lies outside of it")
            elements = length
        return _Storage(elements * width, width)

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, _Name) or called.path not in _CALLED or not isinstance(arguments, tuple):
            what = called.path if isinstance(called, _Name) else "what it should not"
            raise RefusedPickleError(f"it calls {what}, which plain weights do not need")
        path = called.path
        self._count(arguments)
        if path in _TENSORS:
            self._tensor(path, arguments)
        elif path == "torch._tensor._rebuild_from_type_v2":
            self._count(arguments[3:])
            return self._call(arguments[0], arguments[2])
        elif not _harmless(path, arguments):
            raise RefusedPickleError(f"it calls {path} with what plain weights do not give it")
        return arguments[0] if path == "torch.Size" else _OBJECT

    def _tensor(self, path: str, arguments: tuple[Any, ...]) -> None:
        storage, offset, sizes, strides = arguments[:4]
        counts = (offset, *sizes, *strides)
        if not isinstance(storage, _Storage) or len(sizes) != len(strides) or not all(map(_is_count, counts)):
            raise RefusedPickleError("it describes a tensor in an unknown way")
        width = _type_width(arguments[6]) if path.endswith("_v3") else storage.width
        elements = math.prod(sizes)
        extent = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
        if elements and extent * width > storage.size:
            raise RefusedPickleError(f"a tensor of shape {tuple(sizes)} is larger than what is stored of it")
        self.tensor_bytes += elements * width


def follow(pickle: BinaryIO) -> Claims:
    """The claims of the pickle that begins where `pickle` stands, which is left behind its end.

    Raises RefusedPickleError for what plain tensors and values do not need, and for damage.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(pickle):
            machine.step(operation.name, argument)
    except RefusedPickleError:
        raise
    except (AttributeError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise RefusedPickleError(f"its pickle is damaged: {first_line(error)}") from error
    return Claims(machine.storages, machine.tensor_bytes)


def _name(argument: str) -> _Name:
    module, _, name = argument.partition(" ")
    path = f"{_MODULES_OF_PYTHON_2.get(module, module)}.{name}"
    if path in _CALLED or _is_type(module, name):
        return _Name(path)
    raise RefusedPickleError(f"it names {path[:80]}, which is no plain data")


def _is_type(module: str, name: str) -> bool:
    if module == "torch" and name.isidentifier():
        known = getattr(torch, name, None)
        if isinstance(known, torch.dtype | torch.qscheme):
            return True
    return module in ("torch", "torch.cuda", "torch.storage") and name.endswith(("Storage", "Tensor"))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _storage_width(kind: Any) -> int:
    width = _STORAGE_WIDTHS.get(kind.path.rpartition(".")[2].removesuffix("Storage"))
    if width is None:
        raise RefusedPickleError("it names storage of an unknown type")
    return width


def _type_width(kind: Any) -> int:
    dtype = getattr(torch, kind.path.rpartition(".")[2])
    if not isinstance(dtype, torch.dtype):
        raise RefusedPickleError("it has a tensor of an unknown type")
    return dtype.itemsize


def _harmless(path: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a call takes no more memory than its arguments have in the file."""
    if path in _COPIES:  # iterating over a tensor makes an object of every number
        return all(isinstance(argument, str | list | tuple) for argument in arguments)
    if path == "builtins.bytearray":
        return all(isinstance(argument, str) for argument in arguments)
    if path == "_codecs.encode":  # other encodings make text longer, and take their own results again
        return len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] in ("latin1", "latin-1")
    if path == "numpy.dtype":  # numbers alone: "V3000000000" is a type as well
        name = arguments[0]
        return isinstance(name, str) and name.lstrip("<>=|")[:1] in "biufc" and len(name) < 5
    if path in _SMALL:
        return all(isinstance(argument, str | int | float) for argument in arguments)
    return True
