"""The LLVM IR text of the thread pool.

One block of memory holds the pool's state. A job is published in one 64-bit word,
the *ticket*: a job number above, the count of parts nobody has claimed yet below.
Workers claim a part by lowering the ticket with compare-and-swap, so a worker that
comes late finds nothing to claim, and can never mix up two jobs. Only after a claim
does it read the job's function and arguments, which stay until every part is done.

Waiting means spinning for some microseconds, then blocking on a condition variable.
Whoever makes a change looks for sleepers after it, whoever goes to sleep looks for a
change after saying so; both in one total order, hence no wake-up is lost.
"""

from __future__ import annotations

MAX_WORKERS = 1023

# Where each field stands, in bytes. Fields that different threads write are kept 128
# bytes apart, since processors fetch neighbouring lines of 64 bytes in pairs. A mutex
# or condition variable takes at most 64 bytes on Linux and macOS.
_FIELDS = {
    "ticket": 0,
    "unfinished": 128,
    "busy": 256,
    "function": 384,
    "arguments": 392,
    "parts": 400,
    "sleepers": 512,
    "caller_sleeps": 516,
    "stopping": 520,
    "num_workers": 524,
    "mutex": 640,
    "work_ready": 768,
    "job_done": 896,
    "workers": 1024,
}
STATE_BYTES = _FIELDS["workers"] + 8 * MAX_WORKERS
STATE_ALIGNMENT = 128

# About 20 microseconds of x86 "pause" instructions on a recent server core.
_SPINS = 400

_PAUSE = {
    "x86_64": "llvm.x86.sse2.pause()",
    "aarch64": "llvm.aarch64.hint(i32 1)",
}


def threaded_text(architecture: str) -> str:
    """The pool for systems with POSIX threads."""
    pause = _PAUSE.get(architecture, "llvm.donothing()")
    declared = pause.replace("i32 1", "i32 immarg")
    text = f"declare void @{declared}\n" + _THREADED_TEXT + _SERIAL_FUNCTION + _RUN_ALL
    return text.replace("PAUSE", f"call void @{pause}").replace("SPINS", str(_SPINS))


def serial_text() -> str:
    """The same entry point for systems without: the caller runs every part."""
    return _SERIAL_FUNCTION + _SERIAL_ENTRY + _RUN_ALL


def _field_addresses(*names: str) -> str:
    return "\n".join(
        f"  %{name} = getelementptr i8, ptr %pool, i64 {_FIELDS[name]}"
        for name in names
    )


#: Calls every entry of a table of pairs, of an entry and of its arguments, in turn.
RUN_ALL = "tetragrad_run_all"
_RUN_ALL = f"""
define void @{RUN_ALL}(ptr %pool, ptr %table, i64 %count) {{
start:
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %step, label %end
step:
  %index = phi i64 [ 0, %start ], [ %next, %step ]
  %row = getelementptr [2 x ptr], ptr %table, i64 %index
  %entry = load ptr, ptr %row
  %second = getelementptr ptr, ptr %row, i64 1
  %arguments = load ptr, ptr %second
  call void %entry(ptr %pool, ptr %arguments)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %step, label %end
end:
  ret void
}}
"""

_SERIAL_FUNCTION = """
define internal void @run_serially(ptr %function, ptr %arguments, i64 %parts) {
entry:
  %is_empty = icmp sle i64 %parts, 0
  br i1 %is_empty, label %done, label %loop
loop:
  %part = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %function(ptr %arguments, i64 %part, i64 %parts)
  %next = add i64 %part, 1
  %is_last = icmp eq i64 %next, %parts
  br i1 %is_last, label %done, label %loop
done:
  ret void
}
"""

_SERIAL_ENTRY = """
define void @tetragrad_parallel(ptr %pool, ptr %function, ptr %arguments, i64 %parts) {
  call void @run_serially(ptr %function, ptr %arguments, i64 %parts)
  ret void
}
"""

_DECLARATIONS = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(ptr, ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @sched_yield()
"""

# Publish a job, take part in it, and return when all of it is done. A caller that
# finds the pool busy, from inside a job or from another thread, works alone.
_PARALLEL = f"""
define void @tetragrad_parallel(ptr %pool, ptr %function, ptr %arguments, i64 %parts) {{
entry:
{
    _field_addresses(
        "ticket",
        "unfinished",
        "busy",
        "sleepers",
        "caller_sleeps",
        "num_workers",
        "mutex",
        "work_ready",
        "job_done",
    )
}
  %function_field = getelementptr i8, ptr %pool, i64 {_FIELDS["function"]}
  %arguments_field = getelementptr i8, ptr %pool, i64 {_FIELDS["arguments"]}
  %parts_field = getelementptr i8, ptr %pool, i64 {_FIELDS["parts"]}
  %num = load atomic i32, ptr %num_workers monotonic, align 4
  %has_workers = icmp sgt i32 %num, 0
  %has_parts = icmp sgt i64 %parts, 1
  %fits_ticket = icmp slt i64 %parts, 2147483648
  %worth_trying = and i1 %has_workers, %has_parts
  %allowed = and i1 %worth_trying, %fits_ticket
  br i1 %allowed, label %claim_pool, label %serial

claim_pool:
  %claim = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic
  %claimed = extractvalue {{ i32, i1 }} %claim, 1
  br i1 %claimed, label %publish, label %serial

serial:
  call void @run_serially(ptr %function, ptr %arguments, i64 %parts)
  ret void

publish:
  store ptr %function, ptr %function_field
  store ptr %arguments, ptr %arguments_field
  store i64 %parts, ptr %parts_field
  store atomic i64 %parts, ptr %unfinished monotonic, align 8
  %last_ticket = load atomic i64, ptr %ticket monotonic, align 8
  %last_number = and i64 %last_ticket, -4294967296
  %number = add i64 %last_number, 4294967296
  %new_ticket = or i64 %number, %parts
  store atomic i64 %new_ticket, ptr %ticket seq_cst, align 8
  %num_asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %anyone_asleep = icmp ne i32 %num_asleep, 0
  br i1 %anyone_asleep, label %wake, label %work

wake:
  %helpers = add i64 %parts, -1
  %asleep = zext i32 %num_asleep to i64
  %count = call i64 @llvm.umin.i64(i64 %helpers, i64 %asleep)
  call i32 @pthread_mutex_lock(ptr %mutex)
  br label %wake_one
wake_one:
  %woken = phi i64 [ 0, %wake ], [ %woken_next, %wake_one ]
  call i32 @pthread_cond_signal(ptr %work_ready)
  %woken_next = add i64 %woken, 1
  %woke_all = icmp eq i64 %woken_next, %count
  br i1 %woke_all, label %wake_done, label %wake_one
wake_done:
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %work

work:
  call void @work_on_job(ptr %pool)
  br label %spin

spin:
  %spins = phi i32 [ 0, %work ], [ %spins_next, %spin_on ]
  %left = load atomic i64, ptr %unfinished acquire, align 8
  %finished = icmp eq i64 %left, 0
  br i1 %finished, label %done, label %spin_more
spin_more:
  %spins_next = add i32 %spins, 1
  %tired = icmp eq i32 %spins_next, SPINS
  br i1 %tired, label %sleep, label %spin_on
spin_on:
  PAUSE
  br label %spin

sleep:
  call i32 @pthread_mutex_lock(ptr %mutex)
  store atomic i32 1, ptr %caller_sleeps seq_cst, align 4
  br label %sleep_check
sleep_check:
  %still_left = load atomic i64, ptr %unfinished seq_cst, align 8
  %sleep_done = icmp eq i64 %still_left, 0
  br i1 %sleep_done, label %awake, label %sleep_on
sleep_on:
  call i32 @pthread_cond_wait(ptr %job_done, ptr %mutex)
  br label %sleep_check
awake:
  store atomic i32 0, ptr %caller_sleeps seq_cst, align 4
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done

done:
  store atomic i32 0, ptr %busy release, align 4
  ret void
}}

declare i64 @llvm.umin.i64(i64, i64)
"""

# Claim and run parts until none is left to claim. The last to finish wakes the caller.
_WORK_ON_JOB = f"""
define internal void @work_on_job(ptr %pool) {{
entry:
{
    _field_addresses(
        "ticket",
        "unfinished",
        "function",
        "arguments",
        "parts",
        "caller_sleeps",
        "mutex",
        "job_done",
    )
}
  br label %look

look:
  %seen = load atomic i64, ptr %ticket acquire, align 8
  %unclaimed = and i64 %seen, 4294967295
  %nothing_left = icmp eq i64 %unclaimed, 0
  br i1 %nothing_left, label %done, label %claim
claim:
  %lowered = add i64 %seen, -1
  %swap = cmpxchg ptr %ticket, i64 %seen, i64 %lowered acq_rel monotonic
  %claimed = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %claimed, label %run, label %look

run:
  %job = load ptr, ptr %function
  %job_arguments = load ptr, ptr %arguments
  %job_parts = load i64, ptr %parts
  %part = sub i64 %job_parts, %unclaimed
  call void %job(ptr %job_arguments, i64 %part, i64 %job_parts)
  %left = atomicrmw sub ptr %unfinished, i64 1 seq_cst
  %was_last = icmp eq i64 %left, 1
  br i1 %was_last, label %finish, label %look

finish:
  %caller = load atomic i32, ptr %caller_sleeps seq_cst, align 4
  %must_wake = icmp ne i32 %caller, 0
  br i1 %must_wake, label %wake, label %look
wake:
  call i32 @pthread_mutex_lock(ptr %mutex)
  call i32 @pthread_cond_broadcast(ptr %job_done)
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %look

done:
  ret void
}}
"""

# What each worker thread does all its life.
_WORKER = f"""
define internal ptr @worker(ptr %pool) {{
entry:
{_field_addresses("ticket", "sleepers", "stopping", "mutex", "work_ready")}
  br label %start

start:
  br label %spin
spin:
  %spins = phi i32 [ 0, %start ], [ %spins_next, %spin_on ]
  %seen = load atomic i64, ptr %ticket acquire, align 8
  %unclaimed = and i64 %seen, 4294967295
  %has_work = icmp ne i64 %unclaimed, 0
  br i1 %has_work, label %work, label %spin_more
spin_more:
  %spins_next = add i32 %spins, 1
  %tired = icmp eq i32 %spins_next, SPINS
  br i1 %tired, label %sleep, label %spin_on
spin_on:
  PAUSE
  br label %spin

work:
  call void @work_on_job(ptr %pool)
  br label %start

sleep:
  call i32 @pthread_mutex_lock(ptr %mutex)
  atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %sleep_check
sleep_check:
  %seen_asleep = load atomic i64, ptr %ticket seq_cst, align 8
  %unclaimed_asleep = and i64 %seen_asleep, 4294967295
  %work_came = icmp ne i64 %unclaimed_asleep, 0
  %stop = load atomic i32, ptr %stopping seq_cst, align 4
  %must_stop = icmp ne i32 %stop, 0
  %must_wake = or i1 %work_came, %must_stop
  br i1 %must_wake, label %awake, label %sleep_on
sleep_on:
  call i32 @pthread_cond_wait(ptr %work_ready, ptr %mutex)
  br label %sleep_check
awake:
  atomicrmw sub ptr %sleepers, i32 1 seq_cst
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br i1 %must_stop, label %exit, label %work

exit:
  ret ptr null
}}
"""

# Called from Python, one at a time: prepare zeroed memory, start and end workers.
_LIFE_CYCLE = f"""
define void @tetragrad_pool_prepare(ptr %pool) {{
{_field_addresses("mutex", "work_ready", "job_done")}
  call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  call i32 @pthread_cond_init(ptr %work_ready, ptr null)
  call i32 @pthread_cond_init(ptr %job_done, ptr null)
  ret void
}}

define i32 @tetragrad_pool_start(ptr %pool, i32 %wanted) {{
entry:
{_field_addresses("num_workers", "workers")}
  br label %next
next:
  %started = phi i32 [ 0, %entry ], [ %one_more, %created ]
  %is_enough = icmp sge i32 %started, %wanted
  br i1 %is_enough, label %done, label %create
create:
  %handle = getelementptr ptr, ptr %workers, i32 %started
  %error = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %pool)
  %one_more = add i32 %started, 1
  %failed = icmp ne i32 %error, 0
  br i1 %failed, label %done, label %created
created:
  br label %next
done:
  store atomic i32 %started, ptr %num_workers seq_cst, align 4
  ret i32 %started
}}

define void @tetragrad_pool_stop(ptr %pool) {{
entry:
{_field_addresses("busy", "stopping", "num_workers", "workers", "mutex", "work_ready")}
  br label %claim
claim:
  %swap = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic
  %claimed = extractvalue {{ i32, i1 }} %swap, 1
  br i1 %claimed, label %stop, label %wait
wait:
  call i32 @sched_yield()
  br label %claim

stop:
  %num = load atomic i32, ptr %num_workers monotonic, align 4
  store atomic i32 0, ptr %num_workers monotonic, align 4
  call i32 @pthread_mutex_lock(ptr %mutex)
  store atomic i32 1, ptr %stopping seq_cst, align 4
  call i32 @pthread_cond_broadcast(ptr %work_ready)
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %join
join:
  %joined = phi i32 [ 0, %stop ], [ %joined_next, %join_one ]
  %all_joined = icmp sge i32 %joined, %num
  br i1 %all_joined, label %done, label %join_one
join_one:
  %handle_field = getelementptr ptr, ptr %workers, i32 %joined
  %handle = load ptr, ptr %handle_field
  call i32 @pthread_join(ptr %handle, ptr null)
  %joined_next = add i32 %joined, 1
  br label %join
done:
  store atomic i32 0, ptr %stopping seq_cst, align 4
  store atomic i32 0, ptr %busy release, align 4
  ret void
}}
"""

_THREADED_TEXT = _DECLARATIONS + _PARALLEL + _WORK_ON_JOB + _WORKER + _LIFE_CYCLE
