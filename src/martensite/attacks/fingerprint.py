"""What decides a computation, as text to be hashed: code, settings, tensors and the objects that hang on them.

A store that takes up a killed run must tell a model from its twin with the same weights and another ``forward``, hook or backward
pass, and a loss from the one that had its name before. Nothing here depends on a process: no address, no ``hash()``, no counter.
What can't be told apart (an open file, a compiled function's inside) is refused instead of guessed.
"""

import enum
import functools
import re
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from martensite.core.files import sha256

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(...), torch.dtype, torch.device, torch.Size)
TRUSTED = frozenset({"torch", "numpy", "scipy", "pydantic"})  # and Python itself: their code is known by its version
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
CODE = (types.FunctionType, property, functools.cached_property, staticmethod, classmethod)
BARE = (types.MemberDescriptorType, types.GetSetDescriptorType)  # a slot's place in a class
# Of a module: caches, counters and hooks on saving and loading, which decide no answer.
SILENT = frozenset({"_non_persistent_buffers_set", "_is_full_backward_hook", "_compiled_call_impl"})
SAVING = re.compile(r"_(load_)?state_dict_(pre_|post_)?hooks|_load_state_dict_\w+")


class UnknownError(Exception):
    """Something of which two that compute differently can't be told apart; its text says what."""


def fingerprint(*parts: object) -> str:
    """``"sha256:..."`` of all that the parts compute with.

    Args:
        parts: Modules, functions, configurations, tensors, plain values.

    Raises:
        UnknownError: a part holds something that can't be recognised.
    """
    told = _Teller()
    try:
        return sha256("\n".join(told.tell(part) for part in parts).encode())
    except RecursionError:
        raise UnknownError("objects that hang on each other too deep to follow") from None


class _Teller:
    """Tells each object once, and its number wherever it comes up again, so that what is shared or circular ends."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # an address may be used again once an object is gone

    def tell(self, value: Any) -> str:
        """The text of any value."""
        if isinstance(value, PLAIN) and not isinstance(value, enum.Enum):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, tuple | frozenset):  # without a number: which constants are one object is the compiler's business
            told = [self.tell(each) for each in value]
            return f"{type(value).__name__}({', '.join(told if isinstance(value, tuple) else sorted(told))})"
        if id(value) in self._numbers:
            return f"#{self._numbers[id(value)]}"
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return self._once(value)

    def _once(self, value: Any) -> str:
        if isinstance(value, torch.Tensor | np.ndarray | np.generic):
            return _array(value)
        if isinstance(value, enum.Enum | types.ModuleType | Logger | Path):
            return ADDRESS.sub("", f"{type(value).__name__} {getattr(value, '__name__', value)}")
        if isinstance(value, list | set):
            told = [self.tell(each) for each in value]
            return f"{type(value).__name__}({', '.join(told if isinstance(value, list) else sorted(told))})"
        if isinstance(value, weakref.ref):
            return "weakref"  # what it leads to is told where it is held
        if isinstance(value, torch.jit.ScriptModule):
            return f"script {value.inlined_graph} {self.tell(dict(value.state_dict()))}"
        if isinstance(value, functools.partial):
            return f"partial({self._all((value.func, value.args, value.keywords))})"
        if isinstance(value, types.MethodType):
            return f"method({self._all((value.__func__, value.__self__))})"
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            owner = getattr(value, "__self__", None)
            return f"builtin {value.__qualname__} {'' if isinstance(owner, types.ModuleType) else self.tell(owner)}"
        if isinstance(value, CODE):
            names = ("fget", "fset", "func", "__func__")
            return f"{type(value).__name__}({self._all(getattr(value, name, None) for name in names)})"
        if isinstance(value, torch.Generator):
            return f"generator {_array(value.get_state())}"
        if isinstance(value, Mapping):
            pairs = (f"{self.tell(key)}: {self.tell(each)}" for key, each in value.items())
            return f"{type(value).__name__}({', '.join(pairs)})"
        return self._object(value)

    def _all(self, values: Iterable[object]) -> str:
        return ", ".join(self.tell(each) for each in values)

    def _function(self, function: types.FunctionType) -> str:
        if version := _version(function.__module__):
            return f"function {function.__module__}.{function.__qualname__} {version} over {self._cells(function)}"
        code, names = self._code(function.__code__)
        uses = []
        # Installed code is told alone: what it uses is its package's, and without end.
        for one in () if _installed(function.__module__) else sorted(names & function.__globals__.keys()):
            used = function.__globals__[one]
            uses.append(f"{one}={self.tell(used)}")
            if isinstance(used, types.ModuleType) and not _installed(used.__name__):
                uses += [f"{one}.{part}={self.tell(vars(used)[part])}" for part in sorted(names & vars(used).keys())]
        defaults = self._all((function.__defaults__, function.__kwdefaults__))
        return f"function {function.__qualname__} {code} {defaults} over {self._cells(function)} with {', '.join(uses)}"

    def _code(self, code: types.CodeType) -> tuple[str, set[str]]:
        """Instructions and constants, and all the names that are used, in functions inside it too."""
        told, names = [sha256(code.co_code + code.co_exceptiontable)], set(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                inner, used = self._code(constant)
                told.append(inner)
                names |= used
            else:
                told.append(self.tell(constant))
        return f"{' '.join(told)} {' '.join((*code.co_names, *code.co_varnames, *code.co_freevars))}", names

    def _cells(self, function: types.FunctionType) -> str:
        try:
            return self._all(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError:
            raise UnknownError(f"{function.__qualname__} is not yet complete") from None

    def _class(self, kind: type) -> str:
        if version := _version(kind.__module__):
            return f"class {kind.__module__}.{kind.__qualname__} {version}"
        told, settings = [], not _installed(kind.__module__)
        for key, each in sorted(vars(kind).items()):
            hidden = key.startswith("__") or key == "_abc_impl" or isinstance(each, BARE)
            if isinstance(each, CODE) or (settings and not hidden):
                told.append(f"{key}={self.tell(each)}")
        return f"class {kind.__qualname__}({self._all(kind.__bases__)}): {'; '.join(told)}"

    def _object(self, value: object) -> str:
        kind = self.tell(type(value))
        state = getattr(value, "__dict__", None)
        if isinstance(value, nn.Module):
            return f"module {kind} {ADDRESS.sub('', value.extra_repr())} {self._state(_of_module(vars(value)))}"
        try:  # an open file, a lock, a session: what keeps its state in C can't be rebuilt, and says so
            rebuilt = value.__reduce_ex__(4)
        except Exception as error:
            raise UnknownError(f"a {type(value).__module__}.{type(value).__qualname__}") from error
        slots = any(vars(base).get("__slots__") for base in type(value).__mro__)
        return f"object {kind} {self._state(state or {})} {self.tell(rebuilt) if slots or state is None else ''}"

    def _state(self, held: Mapping[str, object]) -> str:
        return "; ".join(f"{name}={self.tell(held[name])}" for name in sorted(held, key=str))


def _of_module(held: Mapping[str, Any]) -> dict[str, object]:
    """A module's state without what decides no answer; of hooks what they call, in order, not the numbers they are kept by."""
    kept = {name: each for name, each in held.items() if name not in SILENT and not SAVING.fullmatch(name)}
    return {name: list(each.values()) if "hooks" in name and hasattr(each, "values") else each for name, each in kept.items()}


def _array(value: Tensor | np.ndarray | np.generic) -> str:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
            raise UnknownError(f"a tensor {value.layout} on {value.device.type}")
        try:
            content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        except (RuntimeError, TypeError, NotImplementedError) as error:  # a subclass that keeps its values elsewhere
            raise UnknownError(f"a {type(value).__qualname__} of which the values can't be read") from error
        return f"tensor {value.dtype} {tuple(value.shape)} {sha256(content)}"
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        raise UnknownError("an array of objects")
    return f"array {array.dtype} {array.shape} {sha256(array.tobytes())}"


@functools.cache
def _version(module: str | None) -> str:
    """The version of the trusted package that this module is part of; "" of any other."""
    top = str(module).partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"python {sys.version_info[:2]}"
    return str(sys.modules[top].__version__) if top in TRUSTED and top in sys.modules else ""


@functools.cache
def _installed(module: str | None) -> bool:
    """Whether this module belongs to a package that was installed, martensite included, and is nobody's work in progress."""
    top = str(module).partition(".")[0]
    where = str(getattr(sys.modules.get(top), "__file__", None) or "")
    return bool(_version(module)) or top == "martensite" or "site-packages" in where or "dist-packages" in where
