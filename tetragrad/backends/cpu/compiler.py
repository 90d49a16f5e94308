"""LLVM IR text -> object code -> a loaded module with callable addresses.

``assemble`` and ``load`` are separate so that object code can be kept on disk and
loaded by another process. ``assemble`` takes the target as data: text for any
processor that the LLVM in llvmlite knows can be assembled on any machine.

Chosen by measurement (llvmlite 0.50, one 2.5 GHz Cascade Lake core, a kernel of 60
vector instructions): reading and verifying 0.7 ms, SROA 0.15 ms, code generation
5 ms at levels 1, 2 and 3 alike (level 0 saves a third and spills everything);
loading through OrcJIT 0.3 ms and 43 kB a module, against 1.1 ms and 54 kB with MCJIT,
which gives little of it back.

llvmlite runs all of LLVM under one lock. LLVM itself only wants a context and a target
machine for each thread, so code generation, four fifths of the time, is called past
the lock: several threads generate code at once.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tetragrad.backends.cpu.host import host
from tetragrad.core.errors import CompileError
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from llvmlite import binding

Result = TypeVar("Result")


@frozen
class Processor:
    """What code is generated for, in LLVM's words."""

    triple: str
    name: str = ""
    features: tuple[str, ...] = ()


def host_processor() -> Processor:
    """The processor this process runs on."""
    return Processor(host().triple, host().name, host().features)


def assemble(text: str, processor: Processor | None = None) -> bytes:
    """Turn LLVM IR text into relocatable object code (for the host by default).

    The text may define any number of functions. A mistake in it raises
    CompileError with LLVM's message and the text.
    """
    with (
        _machines.one_for(processor or host_processor()) as machine,
        _prepared(text, machine) as module,
    ):
        return _object_code(module, machine)


def disassemble(text: str, processor: Processor | None = None) -> str:
    """The assembly text of what ``assemble`` would produce, to be read by people."""
    with (
        _machines.one_for(processor or host_processor()) as machine,
        _prepared(text, machine) as module,
    ):
        return str(machine.emit_assembly(module))


class LoadedModule:
    """Object code in memory; its addresses are valid while this object lives."""

    def __init__(self, linker: binding.LLJIT, name: str, code: binding.ResourceTracker):
        # The order matters at release: code goes before the linker that owns it.
        self._code = code
        # Dropping what a lookup returned would unload the whole module.
        self._found: dict[str, binding.ResourceTracker] = {}
        self._name = name
        self._linker = linker

    def address(self, symbol: str) -> int:
        """Where the function or variable called ``symbol`` starts."""
        if symbol not in self._found:
            _undisturbed(lambda: self.find(symbol))
        return int(self._found[symbol][symbol])

    def find(self, symbol: str) -> None:
        """Look a symbol up, where nothing interrupts that."""
        try:
            self._found[symbol] = self._linker.lookup(self._name, symbol)
        except RuntimeError as error:
            raise CompileError(
                f"{symbol!r} cannot be linked: {error}",
                hint="define it in the text, or pass its address to load()",
            ) from None


def load(
    code: bytes, symbols: Mapping[str, int] | None = None, wanted: Iterable[str] = ()
) -> LoadedModule:
    """Place object code in memory, with ``symbols`` giving what it imports.

    What is ``wanted`` of it is looked up at once, which takes less time than later.
    Functions of the C library (``memset``, ``pthread_create``) are found in the
    running process.
    """
    return _undisturbed(lambda: _load(code, symbols or {}, wanted))


def _load(
    code: bytes, symbols: Mapping[str, int], wanted: Iterable[str]
) -> LoadedModule:
    from llvmlite import binding

    linker, name = _linkers.next()
    builder = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol, address in symbols.items():
        builder.import_symbol(symbol, address)
    try:
        tracker = builder.link(linker, name)
    except RuntimeError as error:
        raise CompileError(
            f"{len(code)} bytes are not object code for this machine: {error}",
            hint="assemble the text again; a cached object must match the processor",
        ) from None
    module = LoadedModule(linker, name, tracker)
    for symbol in wanted:
        module.find(symbol)
    return module


def _undisturbed(job: Callable[[], Result]) -> Result:
    """Do a job in a thread of its own, which Ctrl-C does not break off.

    Python's wrappers of LLVM's objects would free them twice if an interrupt came
    between freeing one and noting it. (Assembling has threads anyway.)
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(job).result()


@contextmanager
def _prepared(text: str, machine: binding.TargetMachine) -> Iterator[binding.ModuleRef]:
    """A verified module, ready for code generation.

    LLVM objects are released here, module first: left to the garbage collector, as
    after an error, they might go in an order that LLVM does not survive. The context
    is the module's own because a shared one would keep every type and constant.
    """
    from llvmlite import binding

    with binding.create_context() as context, _parse(text, context) as module:
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        _verify(module, text)
        _promote_stack_slots(module, machine)
        yield module


def _parse(text: str, context: binding.ContextRef) -> binding.ModuleRef:
    from llvmlite import binding

    try:
        return binding.parse_assembly(text, context=context)
    except RuntimeError as error:
        raise _refusal(error, text) from None


def _verify(module: binding.ModuleRef, text: str) -> None:
    """LLVM would end the process on a mistake found only in code generation."""
    try:
        module.verify()
    except RuntimeError as error:
        raise _refusal(error, text) from None


def _refusal(error: RuntimeError, text: str) -> CompileError:
    return CompileError(f"LLVM refuses this text: {error}\n{text}")


def _promote_stack_slots(
    module: binding.ModuleRef, machine: binding.TargetMachine
) -> None:
    """Keep ``alloca`` slots in registers, so that emitters need no phi nodes."""
    from llvmlite import binding

    options = binding.create_pipeline_tuning_options(speed_level=0)
    with (
        binding.create_pass_builder(machine, options) as builder,
        binding.create_new_module_pass_manager() as passes,
    ):
        passes.add_always_inliner_pass()
        passes.add_sroa_pass()
        passes.run(module, builder)


@functools.cache
def _start_llvm() -> None:
    """Register every processor LLVM knows; harmless if two threads do it at once."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def _object_code(module: binding.ModuleRef, machine: binding.TargetMachine) -> bytes:
    """What ``machine.emit_object`` gives, while other threads may do the same."""
    from llvmlite.binding import ffi

    with ffi.OutputString() as mistake:
        buffer = _emit_without_lock()(machine, module, 1, mistake)
        if not buffer:
            raise CompileError(f"LLVM generates no code: {mistake}")
    try:
        start = ffi.lib.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def _emit_without_lock() -> Callable[..., Any]:
    """llvmlite's function that generates code, from the library itself."""
    from llvmlite.binding import ffi

    library = ctypes.CDLL(ffi.lib._name, handle=ffi.lib._handle)
    locked, free = (
        entry.LLVMPY_TargetMachineEmitToMemory for entry in (ffi.lib, library)
    )
    free.argtypes, free.restype = locked.argtypes, locked.restype
    return free


class _Machines:
    """Target machines, each used by one thread at a time, which LLVM asks for.

    Making one takes as long as code for a small kernel, so they are kept.
    """

    def __init__(self) -> None:
        self._idle: dict[Processor, list[binding.TargetMachine]] = {}

    @contextmanager
    def one_for(self, processor: Processor) -> Iterator[binding.TargetMachine]:
        """A machine that nobody else uses meanwhile."""
        idle = self._idle.setdefault(processor, [])
        try:
            machine = idle.pop()
        except IndexError:
            machine = _target_machine(processor)
        try:
            yield machine
        finally:
            idle.append(machine)


_machines = _Machines()


def _target_machine(processor: Processor) -> binding.TargetMachine:
    from llvmlite import binding

    _start_llvm()
    try:
        target = binding.Target.from_triple(processor.triple)
    except RuntimeError as error:
        raise CompileError(
            f"LLVM cannot generate code for {processor.triple!r}: {error}",
            hint="use a triple such as 'aarch64-unknown-linux-gnu'",
        ) from None
    return target.create_target_machine(
        cpu=processor.name,
        features=",".join(processor.features),
        opt=2,
        reloc="pic",
        codemodel="small",
    )


class _Linkers:
    """Hands out linkers, a fresh one after every so many modules.

    A linker keeps 9 kB of names for each module it ever held, even released ones.
    They are returned with the linker, once the last of its modules is gone. A linker
    itself takes 1.7 MB, so it should serve many.
    """

    modules_per_linker = 512

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._current: binding.LLJIT | None = None

    def next(self) -> tuple[binding.LLJIT, str]:
        """A linker, and a name that no module of it has had."""
        with self._lock:
            if self._current is None or self._count % self.modules_per_linker == 0:
                self._current = _create_linker()
            self._count += 1
            return self._current, f"tetragrad.{self._count}"


_linkers = _Linkers()


def _create_linker() -> binding.LLJIT:
    from llvmlite import binding

    _start_llvm()
    machine = binding.Target.from_triple(host().triple).create_target_machine(jit=True)
    # LLVM's newer linker lacks parts of Windows' object format.
    use_jit_link = platform.system() != "Windows"
    return binding.create_lljit_compiler(
        machine, use_jit_link=use_jit_link, suppress_errors=True
    )
