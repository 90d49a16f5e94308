"""The CPU's native layer: the machine, assembling and loading, the thread pool."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tetragrad.backends.cpu import host, pool, pool_text
from tetragrad.backends.cpu.compiler import (
    LoadedModule,
    Processor,
    assemble,
    disassemble,
    load,
)
from tetragrad.core.errors import CompileError, SettingError

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
needs_maps = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
needs_threads = pytest.mark.skipif(
    sys.platform == "win32", reason="the pool has no workers on Windows"
)

ADD_ONE = "define i64 @add_one(i64 %x) {\n %y = add i64 %x, 1\n ret i64 %y\n}"

VECTOR_SUM = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @multiply_add(ptr %a, ptr %b) "prefer-vector-width"="512" {
  %x = load <16 x float>, ptr %a, align 4
  %y = load <16 x float>, ptr %b, align 4
  %z = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x,
                                          <16 x float> %y)
  store <16 x float> %z, ptr %b, align 4
  ret void
}
"""

USE_BEFORE_DEFINITION = """
define i32 @f(i1 %c) {
  br i1 %c, label %a, label %b
a:
  %x = add i32 1, 1
  br label %b
b:
  ret i32 %x
}
"""


def call_add_one(module: LoadedModule, argument: int) -> int:
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    return int(kind(module.address("add_one"))(argument))


def run_script(text: str) -> str:
    """Run a script in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(text)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The machine ----------------------------------------------------------------------


def test_the_machine_is_described() -> None:
    machine = host.host()
    assert machine.cores >= 1
    assert machine.vector_bytes in (16, 32, 64)
    assert 1024 <= machine.l1_bytes <= machine.l2_bytes
    assert machine.name


def test_counting_cores_does_not_load_llvm() -> None:
    script = """
        import sys
        from tetragrad.backends.cpu import compiler, host, pool
        host.available_cores()
        host.cache_bytes("l2")
        pool.num_threads()
        print("llvmlite" in sys.modules)
    """
    assert run_script(script).strip() == "False"


@pytest.mark.parametrize(
    ("features", "width"),
    [((), 16), (("+avx2",), 32), (("+avx2", "+avx512f"), 64), (("-avx2",), 16)],
)
def test_vector_width(features: tuple[str, ...], width: int) -> None:
    assert host.vector_bytes_of(features) == width


@pytest.mark.parametrize(
    ("text", "size"), [("32K", 32768), ("1M", 1 << 20), ("512", 512), ("", 0)]
)
def test_cache_sizes_are_read(text: str, size: int) -> None:
    assert host.parse_size(text) == size


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_container_quota(
    tmp_path: Path, files: dict[str, str], cores: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert host.read_quota(tmp_path) == cores


# Assembling and loading -----------------------------------------------------------


def test_text_becomes_a_callable() -> None:
    assert call_add_one(load(assemble(ADD_ONE)), 41) == 42


def test_modules_with_equal_names_live_side_by_side() -> None:
    codes = [
        assemble(f"define i64 @add_one(i64 %x) {{\n ret i64 {value}\n}}")
        for value in range(8)
    ]
    modules = [load(code) for code in codes]
    assert [call_add_one(module, 0) for module in modules] == list(range(8))


def test_address_stays_valid_between_calls() -> None:
    module = load(assemble(ADD_ONE))
    first = module.address("add_one")
    others = [load(assemble(ADD_ONE)) for _ in range(4)]
    assert module.address("add_one") == first
    assert [call_add_one(other, 1) for other in others] == [2] * 4
    assert call_add_one(module, 1) == 2


def test_object_code_runs_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "kernel.o"
    path.write_bytes(assemble(ADD_ONE))
    script = f"""
        import ctypes
        from pathlib import Path
        from tetragrad.backends.cpu.compiler import load
        module = load(Path({str(path)!r}).read_bytes())
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
        print(kind(module.address("add_one"))(6))
    """
    assert run_script(script).strip() == "7"


def test_code_calls_the_c_library_and_given_symbols() -> None:
    text = """
    declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
    declare i64 @given(i64)
    define i64 @add_one(i64 %x) {
      %buffer = alloca [4096 x i8]
      call void @llvm.memset.p0.i64(ptr %buffer, i8 1, i64 4096, i1 false)
      %byte = load i8, ptr %buffer
      %one = zext i8 %byte to i64
      %y = call i64 @given(i64 %x)
      %z = add i64 %y, %one
      ret i64 %z
    }
    """
    given = load(assemble(ADD_ONE))
    module = load(assemble(text), {"given": given.address("add_one")})
    assert call_add_one(module, 40) == 42


@needs_maps
def test_released_modules_return_their_memory() -> None:
    def count_mappings() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    code = assemble(ADD_ONE)
    load(code).address("add_one")
    before = count_mappings()
    for _ in range(200):
        assert call_add_one(load(code), 1) == 2
    gc.collect()
    assert count_mappings() < before + 50


@pytest.mark.parametrize(
    ("processor", "instruction"),
    [
        (Processor("x86_64-unknown-linux-gnu", "skylake-avx512"), "zmm"),
        (Processor("x86_64-unknown-linux-gnu", "haswell"), "ymm"),
        (Processor("x86_64-pc-windows-msvc", "haswell"), "ymm"),
        (Processor("aarch64-unknown-linux-gnu", "neoverse-n1"), "fmla"),
        (Processor("arm64-apple-macosx", "apple-m1"), "fmla"),
        (Processor("x86_64-unknown-linux-gnu", "", ("+avx2", "+fma")), "vfmadd"),
    ],
)
def test_any_processor_can_be_assembled_for(
    processor: Processor, instruction: str
) -> None:
    assert instruction in disassemble(VECTOR_SUM, processor)
    assert len(assemble(VECTOR_SUM, processor)) > 100


def test_stack_slots_become_registers() -> None:
    text = """
    define i64 @add_one(i64 %x) {
      %slot = alloca i64
      store i64 %x, ptr %slot
      %y = load i64, ptr %slot
      %z = add i64 %y, 1
      ret i64 %z
    }
    """
    processor = Processor("x86_64-unknown-linux-gnu", "haswell")
    assert "(%rsp)" not in disassemble(text, processor)


def test_several_threads_generate_the_same_code() -> None:
    texts = [ADD_ONE.replace("1", str(number)) for number in range(1, 40)]
    expected = [assemble(text) for text in texts]
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(assemble, texts)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("define void @f( {", "expected type"),
        ("define i32 @f() {\n ret i32 %missing\n}", "use of undefined value"),
        (USE_BEFORE_DEFINITION, "does not dominate"),
    ],
)
def test_bad_text_is_refused_with_the_text(text: str, reason: str) -> None:
    with pytest.raises(CompileError, match=reason) as caught:
        assemble(text)
    assert text in str(caught.value)


def test_unknown_processor_is_refused() -> None:
    with pytest.raises(CompileError, match="cannot generate code for 'pdp11'"):
        assemble(ADD_ONE, Processor("pdp11"))


def test_bytes_that_are_not_object_code_are_refused() -> None:
    with pytest.raises(CompileError, match="9 bytes are not object code"):
        load(b"not code!")
    with pytest.raises(CompileError, match="are not object code"):
        load(assemble(ADD_ONE)[:200])


def test_missing_symbols_are_named() -> None:
    with pytest.raises(CompileError, match="'add_two' cannot be linked"):
        load(assemble(ADD_ONE)).address("add_two")


# The thread pool ------------------------------------------------------------------

JOBS = """
declare void @tetragrad_parallel(ptr, ptr, ptr, i64)

; Add 1 to the counter of this part.
define void @count(ptr %counters, i64 %part, i64 %parts) {
  %counter = getelementptr i64, ptr %counters, i64 %part
  atomicrmw add ptr %counter, i64 1 seq_cst
  ret void
}

; Wait until as many parts have arrived as there are; arrivals are at offset 0.
define void @meet(ptr %arrivals, i64 %part, i64 %parts) {
  %before = atomicrmw add ptr %arrivals, i64 1 seq_cst
  br label %wait
wait:
  %arrived = load atomic i64, ptr %arrivals seq_cst, align 8
  %all = icmp uge i64 %arrived, %parts
  br i1 %all, label %done, label %wait
done:
  ret void
}

; Part 1 waits for the number at offset 0 to become 1; every part adds 1 at offset 8.
define void @wait_for_flag(ptr %memory, i64 %part, i64 %parts) {
  %waits = icmp eq i64 %part, 1
  br i1 %waits, label %wait, label %done
wait:
  %flag = load atomic i64, ptr %memory seq_cst, align 8
  %is_set = icmp eq i64 %flag, 1
  br i1 %is_set, label %done, label %wait
done:
  %counter = getelementptr i64, ptr %memory, i64 1
  atomicrmw add ptr %counter, i64 1 seq_cst
  ret void
}

; Every part forks again. memory holds the pool and, at offset 8, counters.
define void @nest(ptr %memory, i64 %part, i64 %parts) {
  %pool = load ptr, ptr %memory
  %counters = getelementptr i64, ptr %memory, i64 1
  call void @tetragrad_parallel(ptr %pool, ptr @count, ptr %counters, i64 %parts)
  ret void
}
"""


@pytest.fixture(scope="module")
def jobs() -> LoadedModule:
    return load(assemble(JOBS), {"tetragrad_parallel": pool.parallel_address()})


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    count = pool.num_threads()
    yield
    if pool.num_threads() != count:
        pool.set_num_threads(count)


def zeros(count: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * count)()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [0, 1, 2, 3, 64])
def test_every_part_runs_once(jobs: LoadedModule, threads: int, parts: int) -> None:
    pool.set_num_threads(threads)
    counters = zeros(65)
    for _ in range(20):
        pool.run(jobs.address("count"), ctypes.addressof(counters), parts)
    assert list(counters) == [20] * parts + [0] * (65 - parts)


@needs_threads
@pytest.mark.parametrize("threads", [2, 4])
def test_parts_run_at_the_same_time(jobs: LoadedModule, threads: int) -> None:
    pool.set_num_threads(threads)
    arrivals = zeros(1)
    pool.run(jobs.address("meet"), ctypes.addressof(arrivals), threads)
    assert arrivals[0] == threads


@needs_threads
def test_workers_wake_after_sleeping(jobs: LoadedModule) -> None:
    pool.set_num_threads(3)
    for _ in range(10):
        time.sleep(0.005)
        arrivals = zeros(1)
        pool.run(jobs.address("meet"), ctypes.addressof(arrivals), 3)
        assert arrivals[0] == 3


@needs_threads
def test_the_caller_sleeps_until_a_long_part_is_done(jobs: LoadedModule) -> None:
    pool.set_num_threads(3)
    for _ in range(5):
        memory = zeros(2)
        timer = threading.Timer(0.01, memory.__setitem__, (0, 1))
        timer.start()
        pool.run(jobs.address("wait_for_flag"), ctypes.addressof(memory), 3)
        assert list(memory) == [1, 3]
        timer.join()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_part_may_fork_again(jobs: LoadedModule, threads: int) -> None:
    pool.set_num_threads(threads)
    memory = zeros(9)
    memory[0] = pool.state_address()
    pool.run(jobs.address("nest"), ctypes.addressof(memory), 8)
    assert list(memory)[1:] == [8] * 8


def test_many_threads_may_call_at_once(jobs: LoadedModule) -> None:
    pool.set_num_threads(3)
    count = jobs.address("count")
    buffers = [zeros(4) for _ in range(6)]

    def work(counters: ctypes.Array[ctypes.c_int64]) -> None:
        for _ in range(300):
            pool.run(count, ctypes.addressof(counters), 4)

    callers = [threading.Thread(target=work, args=(buffer,)) for buffer in buffers]
    for caller in callers:
        caller.start()
    for _ in range(10):
        pool.set_num_threads(2)
        pool.set_num_threads(3)
    for caller in callers:
        caller.join()
    assert [list(buffer) for buffer in buffers] == [[300] * 4] * 6


def test_the_state_stays_where_it_is() -> None:
    before = pool.state_address()
    pool.set_num_threads(pool.num_threads() + 1)
    assert pool.state_address() == before
    assert before % pool_text.STATE_ALIGNMENT == 0


@pytest.mark.parametrize("count", [0, -1, 5000])
def test_impossible_thread_counts_are_refused(count: int) -> None:
    with pytest.raises(SettingError, match=f"cannot use {count} threads"):
        pool.set_num_threads(count)


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "riscv64"])
def test_the_pool_assembles_for_other_machines(architecture: str) -> None:
    processor = Processor(f"{architecture}-unknown-linux-gnu")
    assert assemble(pool_text.threaded_text(architecture), processor)
    assert assemble(pool_text.serial_text(), processor)


SCRIPT_START = f"""
import ctypes, os, signal, sys, threading
from tetragrad.backends.cpu import pool
from tetragrad.backends.cpu.compiler import assemble, load

jobs = load(assemble('''{JOBS}'''), {{"tetragrad_parallel": pool.parallel_address()}})
pool.set_num_threads(3)

def meet():
    arrivals = (ctypes.c_int64 * 1)()
    pool.run(jobs.address("meet"), ctypes.addressof(arrivals), 3)
    return arrivals[0] == 3
"""


@needs_maps
def test_workers_follow_the_setting() -> None:
    script = """
import os, time
import tetragrad
from tetragrad.backends.cpu import pool

def threads():
    return len(os.listdir("/proc/self/task"))

def becomes(count):
    # A thread that has ended may be listed for a moment.
    deadline = time.monotonic() + 60
    while threads() != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return threads() == count

tetragrad.set_num_threads(1)
pool.state_address()
time.sleep(0.2)
alone = threads()
for count in (3, 2, 1, 4):
    tetragrad.set_num_threads(count)
    pool.state_address()
    assert becomes(alone + count - 1), (count, threads(), alone)
print("ok")
"""
    assert run_script(script) == "ok\n"


@needs_fork
def test_a_forked_child_gets_workers_of_its_own() -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
assert meet()
child = os.fork()
if child == 0:
    os._exit(0 if meet() and meet() else 1)
assert os.waitpid(child, 0)[1] == 0
assert meet()
print("ok")
"""
    assert run_script(SCRIPT_START + script) == "ok\n"


@needs_fork
def test_a_fork_while_a_job_runs_leaves_both_sides_usable() -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
memory = (ctypes.c_int64 * 2)()
job = threading.Thread(
    target=pool.run,
    args=(jobs.address("wait_for_flag"), ctypes.addressof(memory), 3),
)
job.start()
child = os.fork()
if child == 0:
    os._exit(0 if meet() else 1)
assert os.waitpid(child, 0)[1] == 0
memory[0] = 1
job.join()
assert memory[1] == 3 and meet()
print("ok")
"""
    assert run_script(SCRIPT_START + script) == "ok\n"


@needs_fork
def test_interrupting_a_job_leaves_the_pool_usable() -> None:
    script = """
memory = (ctypes.c_int64 * 2)()
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    memory[0] = 1
threading.Timer(0.05, interrupt).start()
try:
    pool.run(jobs.address("wait_for_flag"), ctypes.addressof(memory), 3)
    # The signal may arrive just after the job ended.
    threading.Event().wait(5)
except KeyboardInterrupt:
    print("interrupted", memory[1], meet())
"""
    assert run_script(SCRIPT_START + script) == "interrupted 3 True\n"


def test_the_interpreter_exits_with_workers_running() -> None:
    script = """
assert meet()
threading.Thread(target=meet, daemon=True).start()
print("ok")
"""
    assert run_script(SCRIPT_START + script) == "ok\n"


def test_kept_object_code_is_used() -> None:
    script = """
from tetragrad.backends.cpu import pool
code = pool.pool_object_code()
pool.make_by(lambda: code)
pool.pool_object_code = None
pool.state_address()
print("ok")
"""
    assert run_script(script) == "ok\n"
