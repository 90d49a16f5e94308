"""Special functions, under the names of ``torch.special``.

>>> from tetragrad import Tensor, special
>>> special.ndtr(Tensor([0.0]))
tensor([0.5000])
"""

from __future__ import annotations

from tetragrad.tensor.polynomials import (
    chebyshev_polynomial_t,
    chebyshev_polynomial_u,
    chebyshev_polynomial_v,
    chebyshev_polynomial_w,
    hermite_polynomial_h,
    hermite_polynomial_he,
    laguerre_polynomial_l,
    legendre_polynomial_p,
    shifted_chebyshev_polynomial_t,
    shifted_chebyshev_polynomial_u,
    shifted_chebyshev_polynomial_v,
    shifted_chebyshev_polynomial_w,
)
from tetragrad.tensor.special import (
    airy_ai,
    bessel_j0,
    bessel_j1,
    bessel_y0,
    bessel_y1,
    entr,
    erfcx,
    i0e,
    i1,
    i1e,
    log_ndtr,
    modified_bessel_k0,
    modified_bessel_k1,
    ndtr,
    ndtri,
    scaled_modified_bessel_k0,
    scaled_modified_bessel_k1,
    spherical_bessel_j0,
    xlog1py,
    zeta,
)
from tetragrad.tensor.special_methods import polygamma
from tetragrad.tensor.tensor import Tensor as _Tensor

digamma = psi = _Tensor.digamma
erf = _Tensor.erf
erfc = _Tensor.erfc
erfinv = _Tensor.erfinv
exp2 = _Tensor.exp2
expit = _Tensor.sigmoid
expm1 = _Tensor.expm1
gammainc = _Tensor.igamma
gammaincc = _Tensor.igammac
gammaln = _Tensor.lgamma
i0 = _Tensor.i0
log1p = _Tensor.log1p
log_softmax = _Tensor.log_softmax
logit = _Tensor.logit
logsumexp = _Tensor.logsumexp
modified_bessel_i0 = _Tensor.i0
modified_bessel_i1 = i1
multigammaln = _Tensor.mvlgamma
round = _Tensor.round
sinc = _Tensor.sinc
softmax = _Tensor.softmax
xlogy = _Tensor.xlogy


__all__ = sorted(
    name for name in globals() if not name.startswith("_") and name != "annotations"
)
