"""Every key of a configuration is compared with its type before work begins, by one walk.

A command's own keys are declared in `config_types`; the keys beside a `_target_` have the annotations of its signature.
What no annotation says, or what only the target knows, is left to the target. This is not pydantic: that takes a list
for no tuple unless it takes "1" for a number as well, and has no words for what it expected.
"""

from __future__ import annotations

import enum
import functools
import inspect
import math
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from omegaconf import DictConfig, ListConfig, OmegaConf, StringNode
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from reid_lightning.errors import ReIDError
from reid_lightning.user_messages import Expected, is_path, no_value, shown

_TARGET = "_target_"
_OF_HYDRA = {_TARGET, "_partial_", "_convert_", "_recursive_", "_args_"}
_UNKNOWN = inspect.Parameter.empty
_LISTS: tuple[Any, ...] = (list, tuple, set, frozenset, Sequence, Collection, Iterable)


class Takes(enum.Enum):
    """What a key takes, as far as the reading of a command line depends on it."""

    TEXT = enum.auto()
    TEXTS = enum.auto()
    """Texts, in a list or a single one."""
    ANYTHING = enum.auto()


def check_values(cfg: DictConfig, declared: Mapping[str, Any]) -> None:
    """Compare all values with their types.

    Args:
        declared: the types of the command's own keys, see `config_types.declared_for`.

    Raises:
        ReIDError: names the key, what came and what was expected.
    """
    borrowed_last = sorted(
        _values(cfg, declared, ""), key=lambda one: one[3]
    )  # what is interpolated has a key of its own
    for key, hint, value, _ in borrowed_last:
        if not fits(value, hint):
            several = " Several values are the jobs of a sweep: -m." if isinstance(value, str) and "," in value else ""
            raise ReIDError(f"{key} is {shown(key, value)}; expected {describe(hint)}.{several}")


def taken_by(cfg: DictConfig, declared: Mapping[str, Any], key: str) -> Takes:
    """What the value of a key may be; the key needs no value yet."""
    node: Any = cfg
    hint, hints = _UNKNOWN, declared
    for part in key.split("."):
        hint = hints.get(part, _UNKNOWN)
        child = node._get_node(part) if isinstance(node, DictConfig) and part in node else None
        if isinstance(child, StringNode) and hint is _UNKNOWN:
            return Takes.TEXT  # Hydra's own declaration, such as hydra.run.dir
        node, hints = child, _hints_below(child, hint)
    kinds = set(_scalars(hint))
    if not kinds or not kinds <= {str, Path}:
        return Takes.ANYTHING
    return Takes.TEXTS if any(get_origin(one) in _LISTS for one in _alternatives(hint)) else Takes.TEXT


def fits(value: object, hint: Any) -> bool:
    """Whether a plain value (of YAML, with lists for tuples) is of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        holds = (one.holds for one in hint.__metadata__ if isinstance(one, Expected))
        return fits(value, hint.__origin__) and all(holds_for(value) for holds_for in holds)
    if origin in (Union, types.UnionType):
        known = [one for one in _alternatives(hint) if not _is_unknown(one)]
        paths = [one for one in known if not (one is str and Path in known)]  # str | Path: a path
        return any(fits(value, one) for one in paths) or not known
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in _LISTS or hint in _LISTS:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return not arguments or all(fits(one, arguments[0]) for one in value)
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return isinstance(value, dict) and (not arguments or all(fits(one, arguments[1]) for one in value.values()))
    if hint is None or hint is types.NoneType:
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if hint is str:
        return isinstance(value, str | int) and not isinstance(value, bool) and "\0" not in str(value)
    if hint is Path:
        return isinstance(value, str | int) and not isinstance(value, bool) and is_path(value)
    ours = inspect.isclass(hint) and hint.__module__.startswith("reid_lightning.") and not issubclass(hint, enum.Enum)
    return not ours  # only a `_target_` makes one


def describe(hint: Any) -> str:
    """A type in a user's words."""
    if get_origin(hint) is Annotated:
        words = [one.words for one in hint.__metadata__ if isinstance(one, Expected)]
        return words[-1] if words else describe(hint.__origin__)
    if get_origin(hint) in (Union, types.UnionType):
        known = [one for one in _alternatives(hint) if not _is_unknown(one)]
        known = [one for one in known if not (one is str and Path in known)]
        named = list(dict.fromkeys(word for one in known for word in _words(one)))
        named = ["a list of those" if word in [f"a list of {one}" for one in named] else word for word in named]
        named.sort(
            key=lambda word: ("a list of those", "null").index(word) if word in ("a list of those", "null") else -1
        )
        if not set(named) - {"null"}:
            named.insert(0, "a node with a _target_")
        return _or(named)
    if get_origin(hint) is Literal:
        return _or(_words(hint))
    if get_origin(hint) in _LISTS or hint in _LISTS:
        elements = [one for one in get_args(hint) if one is not Ellipsis]
        if get_origin(hint) is tuple and elements and get_args(hint)[-1] is not Ellipsis:
            return f"a list of {len(elements)}: {', '.join(map(describe, elements))}"
        return f"a list of {describe(elements[0])}" if elements else "a list"
    if hint in (None, types.NoneType):
        return "null"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    made = inspect.isclass(hint) and hint is not dict
    return names.get(hint, "a node with a _target_" if made else "keys and values, {key: value}")


def _words(hint: Any) -> list[str]:
    return [str(one) for one in get_args(hint)] if get_origin(hint) is Literal else [describe(hint)]


def _or(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def _values(node: DictConfig, hints: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any, Any, bool]]:
    """Key, type and plain value of all that has a type, without what another target makes; and whether another key's
    value is interpolated. What is below comes last: a key before those that take its value."""
    for name in sorted(map(str, node), key=lambda name: OmegaConf.is_dict(node._get_node(name))):
        key = f"{above}{name}"
        if name in _OF_HYDRA or key == "hydra" or OmegaConf.is_missing(node, name):
            continue
        hint, borrowed = hints.get(name, _UNKNOWN), OmegaConf.is_interpolation(node, name)
        try:
            value = node[name]
        except MissingMandatoryValue:
            continue
        except OmegaConfBaseException as error:
            raise ReIDError(no_value(key, node._get_node(name))) from error
        if isinstance(value, DictConfig) and borrowed:
            continue  # it has a key of its own
        if isinstance(value, DictConfig) and _TARGET in value:
            below = _hints_below(value, hint)
            _check_names(value, key, beside=below)
            yield from _values(value, below, f"{key}.")
        elif isinstance(value, DictConfig):
            below = _hints_below(value, hint)
            if hint is not _UNKNOWN and not below:
                yield key, hint, OmegaConf.to_container(value, resolve=False), borrowed
            yield from _values(value, below, f"{key}.")
        elif isinstance(value, ListConfig):
            if not any(isinstance(one, DictConfig) for one in value):
                yield key, hint, OmegaConf.to_container(value, resolve=True), borrowed
        elif hint is not _UNKNOWN:
            yield key, hint, value, borrowed


def _check_names(node: DictConfig, key: str, *, beside: Collection[str]) -> None:
    """ReIDError for an argument that the target does not take, and the command does not either."""
    taken = _parameters(str(node[_TARGET]))
    for name in map(str, node):
        if taken is not None and name not in taken and name not in beside and name not in _OF_HYDRA:
            near = get_close_matches(name, taken, n=3) or sorted(taken)
            target = str(node[_TARGET]).rpartition(".")[2]
            raise ReIDError(f"{key}: {target} takes no {name!r}; it takes {', '.join(near)}. Correct {key}.{name}.")


def _hints_below(node: object, hint: Any) -> Mapping[str, Any]:
    """The types of the keys below a key: those of a target, and those that the command declares beside them."""
    declared: Mapping[str, Any] = hint if isinstance(hint, dict) else {}
    for one in filter(is_typeddict, _alternatives(hint)):
        declared = _resolved(one)
    if isinstance(node, DictConfig) and _TARGET in node:
        return {**declared, **_signature_types(str(node[_TARGET]))}
    for one in _alternatives(hint):
        if get_origin(one) in (dict, Mapping) and get_args(one):
            return _Each(get_args(one)[1])
    return declared


class _Each(dict[str, Any]):
    """The same type for every key."""

    def __init__(self, hint: Any) -> None:
        super().__init__({"": hint})
        self._hint = hint

    def get(self, key: str, default: Any = None) -> Any:
        return self._hint


@functools.cache
def _signature_types(target: str) -> Mapping[str, Any]:
    try:
        made = _located(target)
        return _resolved(made.__init__ if inspect.isclass(made) else made)
    except Exception:  # no such target, or what it needs is not installed: instantiating says so
        return {}


@functools.cache
def _parameters(target: str) -> frozenset[str] | None:
    """The names that a target takes; None where it takes any, or nobody knows."""
    try:
        parameters = inspect.signature(_located(target)).parameters.values()
    except Exception:
        return None
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    return frozenset(one.name for one in parameters)


def _located(target: str) -> Any:
    from hydra._internal.utils import _locate  # here: the search side, which has these types as well, needs no Hydra

    return _locate(target)


def _resolved(annotated: Any) -> Mapping[str, Any]:
    """Its annotations; those that name what is imported for type checkers alone are left out."""
    try:
        return get_type_hints(annotated, include_extras=True)
    except Exception:
        names = getattr(annotated, "__annotations__", {})
        return {name: hint for name, hint in names.items() if not isinstance(hint, str)}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _scalars(hint: Any) -> Iterator[Any]:
    """The types of single values in a type, without None; object for one that is not known."""
    for one in _alternatives(hint):
        if get_origin(one) is Annotated:
            yield from _scalars(one.__origin__)
        elif get_origin(one) is Literal:
            yield from {type(value) for value in get_args(one)}
        elif get_origin(one) in _LISTS and get_args(one):
            yield from _scalars(get_args(one)[0])
        elif one not in (None, types.NoneType):
            yield object if one is _UNKNOWN or isinstance(one, dict) else one


def _is_unknown(hint: Any) -> bool:
    """A class or a function's type, such as torch.Tensor, of which no value can be written down."""
    plain = (bool, int, float, str, Path, dict, Mapping, None, types.NoneType, *_LISTS)
    origins = (Annotated, Literal, Union, types.UnionType, dict, Mapping, *_LISTS)
    return hint not in plain if get_origin(hint) is None else get_origin(hint) not in origins
