"""Modules: objects that hold parameters, buffers and other modules by name.

Assigning a :class:`Parameter` or a :class:`Module` to an attribute registers it, so
that ``parameters()``, ``state_dict()``, ``train()`` and ``to()`` reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from tetragrad.core.changes import CountedDict, changes
from tetragrad.nn.conversion import ModuleConversions
from tetragrad.nn.hooks import KINDS, ModuleHooks, no_hooks
from tetragrad.nn.parameter import Parameter
from tetragrad.nn.state_dict import ModuleStateDict
from tetragrad.tensor import Tensor
from tetragrad.tensor.pending import keeps_whole
from tetragrad.tensor.strangers import refuse_strangers

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class Module(ModuleStateDict, ModuleHooks, ModuleConversions):
    """Base of all layers and models; a subclass defines ``forward``.

    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(Tensor([2.0]))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool

    #: Attributes whose changes are all counted.
    counted_attributes: ClassVar[frozenset[str]] = frozenset((*_REGISTRIES, *KINDS))

    def __init__(self) -> None:
        # Written past __setattr__, which needs them to exist.
        values = self.__dict__
        values["training"] = True
        values |= {name: CountedDict() for name in _REGISTRIES}
        values["_non_persistent_buffers"] = set()
        values |= no_hooks()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass defines its own."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward(): define one in the subclass"
        )

    @keeps_whole
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook in self._forward_pre_hooks:
            args, kwargs = hook.before(self, args, kwargs)
        passage = self._gradient_passage()
        if passage is not None:
            args = passage.enter(args)
        try:
            output = self.forward(*args, **kwargs)
        except BaseException as error:
            self._call_hooks_of_failures(args, kwargs)
            refuse_strangers(type(self).__name__, args, error)
            raise
        for hook in self._forward_hooks:
            output = hook.after(self, args, kwargs, output)
        return output if passage is None else passage.leave(output)

    # --- attributes ------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._register("_modules", name, value)
        elif name in self._registry("_buffers"):
            self.register_buffer(
                name, value, persistent=name not in self._non_persistent_buffers
            )
        elif name in self._registry("_parameters"):
            self._assign_to_parameter(name, value)
        elif name in self._registry("_modules") and value is None:
            self._modules[name] = None
        elif name in _REGISTRIES:
            object.__setattr__(self, name, CountedDict(value))
            changes.note()
        else:
            self._forget(name)
            object.__setattr__(self, name, value)
            if name in KINDS:
                changes.note()

    def _registry(self, registry: str) -> dict[str, Any]:
        found: dict[str, Any] = self.__dict__.get(registry, {})
        return found

    def _assign_to_parameter(self, name: str, value: Any) -> None:
        if value is not None:
            raise TypeError(
                f"cannot assign a {type(value).__name__} as parameter {name!r} of "
                f"{type(self).__name__}\nhint: wrap it, nn.Parameter(value), or copy "
                f"into it: with no_grad(): module.{name}.copy_(value)"
            )
        self._parameters[name] = None

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that are not ordinary attributes.
        for registry in _REGISTRIES:
            entries = self.__dict__.get(registry, {})
            if name in entries:
                return entries[name]
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        close = get_close_matches(name, self.__dir__(), n=1)
        if close:
            message += f". Did you mean {close[0]!r}?"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        if any(name in self._registry(registry) for registry in _REGISTRIES):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = set(super().__dir__())
        for registry in _REGISTRIES:
            names.update(self._registry(registry))
        return sorted(names)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(no_hooks() | state)
        changes.note()

    def _forget(self, name: str) -> None:
        """Drop a name from wherever it is registered or stored."""
        self.__dict__.pop(name, None)
        for registry in _REGISTRIES:
            self._registry(registry).pop(name, None)
        self.__dict__.get("_non_persistent_buffers", set()).discard(name)

    def _register(self, registry: str, name: str, value: Any) -> None:
        if registry not in self.__dict__:
            raise AttributeError(
                f"cannot assign {name!r}: {type(self).__name__}.__init__ has not "
                "called super().__init__() yet\n"
                "hint: make super().__init__() its first line"
            )
        self._check_name(name)
        entries = self.__dict__[registry]
        if name not in entries:
            self._forget(name)
        entries[name] = value

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a name must be a str, not {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"a name must not be empty nor contain a dot, got {name!r}")

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name without a value."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"cannot register a {type(parameter).__name__} as parameter {name!r}\n"
                "hint: wrap it, nn.Parameter(value)"
            )
        self._register("_parameters", name, parameter)

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Add a tensor that is state but is not trained.

        Args:
            name: the attribute it can be read as.
            tensor: its value, or None to reserve the name.
            persistent: whether ``state_dict()`` includes it.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot register a {type(tensor).__name__} as buffer {name!r}\n"
                "hint: make it a tensor first, Tensor(value)"
            )
        self._register("_buffers", name, tensor)
        if persistent:
            self._non_persistent_buffers.discard(name)
        else:
            self._non_persistent_buffers.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a module under a name; the same as ``add_module``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"cannot register {module!r} ({type(module).__name__}) as module "
                f"{name!r}: it is not a Module\n{_meant_module(module)}"
            )
        self._register("_modules", name, module)

    add_module = register_module

    # --- walking ---------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = ""
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, once each, with their dotted names."""
        seen = set() if memo is None else memo
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children_with_repeats():
            yield from child.named_modules(seen, _join(prefix, name))

    def named_children_with_repeats(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, including one that has two names."""
        for name, child in self._modules.items():
            if child is not None:
                yield name, child

    def modules(self) -> Iterator[Module]:
        """This module and all below it, once each."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, once each, with their names."""
        seen: set[int] = set()
        for name, child in self.named_children_with_repeats():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below, once each."""
        for _, child in self.named_children():
            yield child

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name; a shared one only once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, once: what an optimiser is given."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its dotted name; a shared one only once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer, once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        modules = self.named_modules(prefix=prefix) if recurse else [(prefix, self)]
        seen: set[int] = set()
        for module_name, module in modules:
            for name, value in module._registry(registry).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield _join(module_name, name), value

    def get_submodule(self, target: str) -> Module:
        """The module with a dotted name; '' is this one."""
        module: Module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"{type(module).__name__} has no submodule {name!r} "
                    f"(of {target!r}); it has: {', '.join(module._modules) or 'none'}"
                )
            module = child
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module where a dotted name leads; ``strict``: only in another's place.

        >>> model = nn.Sequential(nn.Linear(1, 1))
        >>> model.set_submodule("0", nn.ReLU())
        >>> model
        Sequential(
          (0): ReLU()
        )
        """
        parent_name, _, name = target.rpartition(".")
        parent = self.get_submodule(parent_name)
        if strict:
            parent.get_submodule(name)
        parent.register_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name."""
        return self._get_member("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name."""
        return self._get_member("_buffers", "buffer", target)

    def _get_member(self, registry: str, kind: str, target: str) -> Any:
        module_name, _, name = target.rpartition(".")
        entries = self.get_submodule(module_name)._registry(registry)
        if entries.get(name) is None:
            raise AttributeError(f"there is no {kind} {target!r}")
        return entries[name]

    # --- changing everything ---------------------------------------------------

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call a function on every module below, then on this one; returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch to training behaviour (dropout drops, norms learn); returns self."""
        if not isinstance(mode, bool):
            raise ValueError(f"train(mode) takes True or False, not {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to inference behaviour; the same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters, or freeze them; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or fill them with zeros)."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach().zeros_like()

    # --- text ------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What ``repr`` shows of this module itself; layers give their sizes."""
        return ""

    def __repr__(self) -> str:
        children = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]
        own = self.extra_repr()
        name = type(self).__name__
        if not children:
            return f"{name}({own})"
        lines = [own, *children] if own else children
        return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


def _meant_module(value: object) -> str:
    """What to write where a module was expected."""
    if isinstance(value, type):
        return f"hint: make one of the class, {value.__name__}(...)"
    if isinstance(value, list | tuple):
        return "hint: give its modules one by one, *modules, or use nn.ModuleList"
    return "hint: a function can be called in forward() without being registered"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
