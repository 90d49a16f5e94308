"""ONNX models as modules: looked at, called, captured and trained like any other.

    model = tetragrad.onnx.load("model.onnx")
    scores = model(images)

Files are read with the ``onnx`` package: ``pip install "tetragrad[onnx]"``.
"""

from tetragrad.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load"]
