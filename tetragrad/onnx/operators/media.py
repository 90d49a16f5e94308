"""Pictures: compressed ones become pixels, with Pillow."""

from __future__ import annotations

import io

import numpy as np

from tetragrad.core.errors import FileFormatError, TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host

#: A picture of more pixels is refused before it is decoded.
LARGEST_PICTURE = 1 << 28


@operator("ImageDecoder")
def image_decoder(stream: Host, *, pixel_format: str = "RGB") -> Host:
    """(height, width, channels) in bytes, from the bytes of a picture file."""
    try:
        from PIL import Image
    except ImportError as error:
        raise TetragradError(
            "the operator ImageDecoder needs the package 'pillow'",
            hint="pip install pillow",
        ) from error
    try:
        with Image.open(io.BytesIO(stream.tobytes())) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise FileFormatError(f"a picture of {picture.size} pixels")
            mode = "L" if pixel_format == "Grayscale" else "RGB"
            pixels = np.asarray(picture.convert(mode), np.uint8)
    except OSError as error:
        raise FileFormatError(f"ImageDecoder: {error}") from error
    if pixel_format == "Grayscale":
        return pixels[..., None]
    return pixels[..., ::-1] if pixel_format == "BGR" else pixels
