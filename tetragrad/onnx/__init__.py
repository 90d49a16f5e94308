"""ONNX models as modules: looked at, called, captured and trained like any other.

    model = tetragrad.onnx.load("model.onnx")
    scores = model(images)

Files are read with the ``onnx`` package: ``pip install "tetragrad[onnx]"``.

On the way from a file to a value: ``reading.py``, ``parsing.py`` (a checked
``graph.py``), ``program.py`` (its nodes bound to functions, which ``registry.py``
knows and ``operators`` defines), ``evaluate.py``, all behind ``model.py``.
"""

from tetragrad.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load"]
