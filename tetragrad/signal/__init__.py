"""Signal processing: windows for spectral analysis, as in ``torch.signal``."""

from __future__ import annotations

from tetragrad.signal import windows

__all__ = ["windows"]
