"""NVIDIA's driver API through ctypes: the few calls that the backend makes.

Nothing happens when this module is imported. Every call's status is checked; an
error says what was attempted, and the driver's name and text for what went wrong.
Why not a package: docs/decisions/0006-cuda-driver-through-ctypes.md.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from ctypes import (
    byref,
    c_char_p,
    c_float,
    c_int,
    c_size_t,
    c_void_p,
)

from tetragrad.core.errors import CompileError, DeviceError, OutOfMemoryError
from tetragrad.core.frozen import frozen

_LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_OUT_OF_MEMORY = 2
#: What a kernel did wrong, or the hardware: afterwards the context answers nothing.
_FAULTS = frozenset({214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719})

# Numbers from cuda.h: device attributes, function attributes, linker options.
_MULTIPROCESSORS = 16
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_MAXIMUM_DYNAMIC_SHARED, _CARVEOUT = 8, 9
_STREAM_NON_BLOCKING = 1
_EVENT_WITHOUT_TIME = 2
_INFO_LOG, _INFO_LOG_BYTES, _ERROR_LOG, _ERROR_LOG_BYTES = 3, 4, 5, 6
_INPUT_PTX = 1
#: The instruction by which roles divide registers.
_DIVIDES_REGISTERS = "setmaxnreg"
_LOG_BYTES = 16384
#: Static shared memory ends here; more must be asked for by function attribute.
_PLAIN_SHARED_BYTES = 48 * 1024


@functools.cache
def opened_library() -> ctypes.CDLL | None:
    """The driver's library, or None where there is none."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return library if library.cuInit(0) == 0 else None
    return None


def count_devices() -> int:
    """How many GPUs the driver offers; 0 without a driver."""
    library = opened_library()
    if library is None:
        return 0
    count = c_int()
    library.cuDeviceGetCount(byref(count))
    return count.value


def capability_of(number: int) -> tuple[int, int]:
    """The compute capability of a GPU, which is not opened for it."""
    device, doing = c_int(), f"asking what cuda:{number} is"
    call("cuDeviceGet", byref(device), number, doing=doing)
    major, minor = (
        _attribute(device, kind) for kind in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
    )
    return major, minor


def _attribute(device: c_int, number: int) -> int:
    value = c_int()
    doing = "reading an attribute"
    call("cuDeviceGetAttribute", byref(value), number, device, doing=doing)
    return value.value


def _require() -> ctypes.CDLL:
    library = opened_library()
    if library is None:
        raise DeviceError(
            "device 'cuda' was asked for, but no NVIDIA driver is on this machine",
            hint='install the driver, or use device="cpu"',
        )
    return library


def call(name: str, *arguments: object, doing: str) -> None:
    """One call of the driver; raises DeviceError unless it succeeds."""
    library = _require()
    status = getattr(library, name)(*arguments)
    if status:
        raise _error(library, status, name, doing)


def _error(library: ctypes.CDLL, status: int, name: str, doing: str) -> DeviceError:
    word, text = c_char_p(), c_char_p()
    library.cuGetErrorName(status, byref(word))
    library.cuGetErrorString(status, byref(text))
    shown = (word.value or b"?").decode(), (text.value or b"?").decode()
    message = f"{doing}: {name} gave {shown[0]} ({shown[1]})"
    if status == _OUT_OF_MEMORY:
        return OutOfMemoryError(message)
    if status in _FAULTS:
        return GpuFault(message)
    return DeviceError(message)


class GpuFault(DeviceError):
    """A kernel failed, and with it all that this process had on the GPU."""


@frozen
class DeviceFacts:
    """What the driver says about one GPU."""

    name: str
    capability: tuple[int, int]
    units: int


class Context:
    """A GPU's primary context, which other libraries in the process share."""

    def __init__(self, number: int) -> None:
        _require()
        count = count_devices()
        if not 0 <= number < count:
            raise DeviceError(
                f"there is no GPU number {number}; the driver offers {count}",
                hint=f'use "cuda:0" to "cuda:{count - 1}"' if count else None,
            )
        doing = f"opening cuda:{number}"
        self.number, self.device = number, c_int()
        call("cuDeviceGet", byref(self.device), number, doing=doing)
        self.handle = c_void_p()
        call("cuDevicePrimaryCtxRetain", byref(self.handle), self.device, doing=doing)
        self._local = threading.local()
        self.use()
        #: Whether what is launched is recorded, and does not run.
        self.is_recording = False
        #: Held while the stream of the kernels records: others must not use it then.
        self.lock = threading.RLock()
        #: All kernels run on it.
        self.stream = self.new_stream()

    def new_stream(self) -> c_void_p:
        """A queue of work that runs beside that of other streams."""
        stream = c_void_p()
        doing = "making a stream"
        call("cuStreamCreate", byref(stream), _STREAM_NON_BLOCKING, doing=doing)
        return stream

    def use(self) -> None:
        """Make this the current context of the calling thread."""
        if not getattr(self._local, "is_current", False):
            call("cuCtxSetCurrent", self.handle, doing="changing the context")
            self._local.is_current = True

    def facts(self) -> DeviceFacts:
        """The GPU's name and what code for it depends on."""
        name = ctypes.create_string_buffer(256)
        call("cuDeviceGetName", name, 256, self.device, doing="reading a name")
        units = _attribute(self.device, _MULTIPROCESSORS)
        return DeviceFacts(name.value.decode(), capability_of(self.number), units)

    def synchronize(self) -> None:
        """Wait until all that was launched has finished."""
        self.use()
        call("cuStreamSynchronize", self.stream, doing="waiting for the GPU")

    def free_bytes(self) -> tuple[int, int]:
        """Memory of the GPU that nobody has allocated, and all that it has."""
        self.use()
        free, total = c_size_t(), c_size_t()
        call("cuMemGetInfo_v2", byref(free), byref(total), doing="asking for memory")
        return free.value, total.value


# --- code ----------------------------------------------------------------------------


class _Logs:
    """What the assembler has to say, as options of the calls that run it."""

    def __init__(self) -> None:
        self.buffers = [ctypes.create_string_buffer(_LOG_BYTES) for _ in range(2)]
        keys = (_INFO_LOG, _INFO_LOG_BYTES, _ERROR_LOG, _ERROR_LOG_BYTES)
        first, second = map(ctypes.addressof, self.buffers)
        values = (first, _LOG_BYTES, second, _LOG_BYTES)
        self.options = (
            len(keys), (c_int * len(keys))(*keys), (c_void_p * len(keys))(*values)
        )  # fmt: skip

    @property
    def errors(self) -> str:
        return self.buffers[1].value.decode(errors="replace")


def assemble(context: Context, text: str, name: str) -> bytes:
    """Machine code for PTX text, made by the driver's own assembler.

    Code that is linked must agree on registers, so how roles divide them would be
    ignored. Such text stays text: the driver assembles it when it is loaded, which may
    be in several threads, and keeps the machine code in a cache of its own.
    """
    if _DIVIDES_REGISTERS in text:
        return text.encode() + b"\0"
    context.use()
    logs = _Logs()
    library, state = _require(), c_void_p()
    doing = f"assembling {name}"
    call("cuLinkCreate_v2", *logs.options, byref(state), doing=doing)
    try:
        source = text.encode() + b"\0"
        status = library.cuLinkAddData_v2(
            state, _INPUT_PTX, source, c_size_t(len(source)), name.encode(), 0, 0, 0
        )
        code, size = c_void_p(), c_size_t()
        status = status or library.cuLinkComplete(state, byref(code), byref(size))
        if status:
            raise CompileError(f"the driver refused {name}:\n{logs.errors}\n{text}")
        return ctypes.string_at(code, size.value)
    finally:
        library.cuLinkDestroy(state)


class Module:
    """Loaded machine code, or text; its functions live as long as it does.

    Text is assembled as a library, which threads do side by side: loading a module
    holds a lock of the driver's meanwhile, and took 9 seconds for 66 products on an
    H200 where 8 threads need 1.3. Drivers before CUDA 12 have no libraries.
    """

    def __init__(self, context: Context, code: bytes, name: str) -> None:
        context.use()
        self.name = name
        self.handle = c_void_p()
        driver, logs = _require(), _Logs()
        if hasattr(driver, "cuLibraryLoadData"):
            call_name, library = "cuLibraryLoadData", c_void_p()
            keys, values = logs.options[1:]
            no_options = None, None, 0
            status = driver.cuLibraryLoadData(
                byref(library), code, keys, values, len(keys), *no_options
            )
            status = status or driver.cuLibraryGetModule(byref(self.handle), library)
        else:
            call_name = "cuModuleLoadDataEx"
            status = driver.cuModuleLoadDataEx(byref(self.handle), code, *logs.options)
        if logs.errors:
            raise CompileError(f"the driver refused {name}:\n{logs.errors}")
        if status:
            raise _error(driver, status, call_name, f"loading {name}")

    def function(self, name: str, shared_bytes: int) -> c_void_p:
        """A function by name, allowed to use so much dynamic shared memory."""
        handle = c_void_p()
        call(
            "cuModuleGetFunction",
            byref(handle),
            self.handle,
            name.encode(),
            doing=f"finding {name}",
        )
        if shared_bytes > _PLAIN_SHARED_BYTES:
            # All of it may be shared memory, so that several blocks fit side by side.
            attributes = ((_MAXIMUM_DYNAMIC_SHARED, shared_bytes), (_CARVEOUT, 100))
            for attribute, value in attributes:
                call(
                    "cuFuncSetAttribute",
                    handle,
                    attribute,
                    value,
                    doing=f"giving {name} {shared_bytes:,} bytes of shared memory",
                )
        return handle


# --- time ----------------------------------------------------------------------------


class Event:
    """A point on the device's time line."""

    def __init__(self, context: Context, *, timed: bool = True) -> None:
        self._context = context
        self.handle = c_void_p()
        context.use()
        flags = 0 if timed else _EVENT_WITHOUT_TIME
        call("cuEventCreate", byref(self.handle), flags, doing="creating an event")

    def record(self, stream: c_void_p | None = None) -> None:
        """Let the event happen once all that a stream was given has finished."""
        stream = stream or self._context.stream
        call("cuEventRecord", self.handle, stream, doing="recording an event")

    def wait(self) -> None:
        """Wait until the event has happened."""
        call("cuEventSynchronize", self.handle, doing="waiting for the GPU")

    def hold(self, stream: c_void_p) -> None:
        """Let what a stream is given from now on wait for the event."""
        call("cuStreamWaitEvent", stream, self.handle, 0, doing="ordering streams")

    def seconds_since(self, start: Event) -> float:
        """Time between two events; waits for this one."""
        self.wait()
        milliseconds = c_float()
        call(
            "cuEventElapsedTime",
            byref(milliseconds),
            start.handle,
            self.handle,
            doing="reading a time",
        )
        return milliseconds.value / 1e3
