"""Run ONNX's own backend tests: 2,024 models with the outputs that they should give.

    python conformance/onnx_backend.py                 # all, on the device cpu
    python conformance/onnx_backend.py --device reference
    python conformance/onnx_backend.py --match lstm    # those whose name has it

The cases come with the ``onnx`` package. Each runs in a worker process with a time
limit, and is compared as the package's own runner compares. The result file says what
passed, and why each of the others did not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
SUITE = "onnx.backend.test"
KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
SECONDS = 60

_ANY_DRAW = (
    "the expected values are one draw of NumPy's generator; the test's source says "
    "that the operator may give other values even where a seed is specified"
)

_ROUNDING_NOISE = (
    "expects 1.9e-7, an error of NumPy's FFT in float32, where the exact value is 0, "
    "as it is here, and allows a difference of 1e-7"
)

#: Tests that are left out, with the reason.
EXCLUDED: dict[str, str] = {
    **{
        f"test_bernoulli{variant}{expanded}": _ANY_DRAW
        for variant in ("", "_double", "_seed")
        for expanded in ("", "_expanded")
    },
    "test_dft_inverse": _ROUNDING_NOISE,
    "test_dft_inverse_opset19": _ROUNDING_NOISE,
}


@dataclass(frozen=True)
class Outcome:
    """What became of one test; no message means that it passed."""

    name: str
    message: str


@lru_cache(maxsize=1)
def cases() -> dict[str, Any]:
    """Every test case by its name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # The package makes some expected values with overflow on purpose.
        warnings.simplefilter("ignore")
        return {
            case.name: case for kind in KINDS for case in load_model_tests(kind=kind)
        }


def model_of(case: Any) -> Any:
    """The model of a case: a path or a message."""
    if case.model is not None:
        return case.model
    return Path(case.model_dir) / "model.onnx"


def data_of(case: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Inputs and expected outputs of a case, once for each of its data sets."""
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [_plain(entry) for entry in inputs], [_plain(e) for e in outputs]
        return
    import onnx

    model = onnx.load(model_of(case))
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        inputs = _protos(folder, "input", list(model.graph.input))
        yield inputs, _protos(folder, "output", list(model.graph.output))


def _protos(folder: Path, kind: str, values: list[Any]) -> list[Any]:
    """The values in a folder's files, read as the types that the model says."""
    import onnx

    found = []
    for number in range(len(list(folder.glob(f"{kind}_*.pb")))):
        data = (folder / f"{kind}_{number}.pb").read_bytes()
        which = values[number].type.WhichOneof("value")
        classes = {
            "sequence_type": onnx.SequenceProto,
            "optional_type": onnx.OptionalProto,
        }
        proto = classes.get(which, onnx.TensorProto)()
        proto.ParseFromString(data)
        found.append(_plain(proto))
    return found


def _plain(value: Any) -> Any:
    """An array, a list or None from one of the package's messages."""
    import onnx

    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return onnx.numpy_helper.to_optional(value)
    return value


def run_case(case: Any) -> None:
    """Run one case and compare; raises what is wrong with it."""
    from tetragrad import onnx

    model = onnx.load(model_of(case))
    for inputs, expected in data_of(case):
        results = model(*inputs)
        outputs = results if isinstance(results, tuple) else (results,)
        assert len(outputs) == len(expected), f"{len(outputs)} outputs"
        for wanted, found in zip(expected, outputs, strict=True):
            compare(wanted, found, case.rtol, case.atol)


def compare(wanted: Any, found: Any, rtol: float, atol: float) -> None:
    """Compare as the package's runner does, which cannot look into sequences of 0-d."""
    from onnx.backend.test.runner import Runner

    if isinstance(wanted, list):
        assert isinstance(found, list), f"a {type(found).__name__}, not a sequence"
        assert len(found) == len(wanted), f"a sequence of {len(found)} elements"
        for one, other in zip(wanted, found, strict=True):
            compare(one, other, rtol, atol)
    elif wanted is None:
        assert found is None, f"a {type(found).__name__}, not an empty optional"
    else:
        Runner.assert_similar_outputs([wanted], [_as_array(found)], rtol, atol)


def _as_array(value: Any) -> Any:
    return value.numpy(force=True) if hasattr(value, "numpy") else value


class _TooSlow(Exception):
    pass


def outcome_of(name: str) -> Outcome:
    """Run one test of the suite, for at most so many seconds."""

    def stop(*_: Any) -> None:
        raise _TooSlow

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        run_case(cases()[name])
    except _TooSlow:
        return Outcome(name, f"not done after {SECONDS} seconds")
    except Exception as error:
        notes = " | ".join(getattr(error, "__notes__", ()))
        text = f"{type(error).__name__}: {error} {notes}".strip()
        return Outcome(name, " ".join(text.split())[:600])
    finally:
        signal.alarm(0)
    return Outcome(name, "")


def run_all(names: list[str], workers: int) -> Iterator[Outcome]:
    """Run tests in processes; one that kills its process is a failure like others."""
    waiting = list(names)
    while waiting:
        with ProcessPoolExecutor(workers) as pool:
            futures = {name: pool.submit(outcome_of, name) for name in waiting}
            lost = []
            for name, future in futures.items():
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(name)
        if len(lost) < len(waiting) or not lost:
            waiting = lost
            continue
        # The first one is what broke the pool twice.
        yield Outcome(lost[0], "the process died")
        waiting = lost[1:]


def write_results(path: Path, outcomes: list[Outcome]) -> dict[str, Any]:
    """Write the result file, which ``report.py`` reads."""
    import onnx

    failures = [entry for entry in outcomes if entry.message]
    result = {
        "suite": SUITE,
        "version": onnx.__version__,
        "date": date.today().isoformat(),
        "passed": len(outcomes) - len(failures),
        "failed": len(failures),
        "excluded": [{"name": n, "reason": r} for n, r in EXCLUDED.items()],
        "failures": [{"name": e.name, "message": e.message} for e in failures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return result


def main() -> int:
    """Run the suite, or a part of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--match", default="", help="only names with this text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="the result file")
    options = parser.parse_args()
    os.environ["TETRAGRAD_DEVICE"] = options.device
    names = [name for name in cases() if options.match in name and name not in EXCLUDED]
    outcomes = []
    for outcome in run_all(names, options.workers):
        outcomes.append(outcome)
        if outcome.message:
            print(f"{outcome.name}: {outcome.message}", flush=True)
    is_whole = not options.match
    suffix = "" if options.device == "cpu" else f"_{options.device}"
    path = options.output or RESULTS / f"onnx{suffix}.json"
    if is_whole or options.output:
        write_results(path, outcomes)
    failed = sum(1 for entry in outcomes if entry.message)
    print(f"{len(outcomes) - failed} of {len(outcomes)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
