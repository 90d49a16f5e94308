"""ONNX models as modules: every operator, on every device.

>>> model = tetragrad.onnx.load("model.onnx")  # doctest: +SKIP
>>> model  # doctest: +SKIP
OnnxModel(
  input image: float32[1, 3, 240, 320]
  output scores: float32[1, 4420, 2]
  158 nodes, 264,640 parameters
)

Files are read with the ``onnx`` package: ``pip install "tetragrad[onnx]"``.
"""

from tetragrad.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load"]
