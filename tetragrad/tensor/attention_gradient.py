"""The gradient of attention, in the form that computes and rounds least.

With scores S = s·q·kᵀ (masked), weights P = softmax(S) and o = P·v:

    dP = do·vᵀ;   dS = P ∘ (dP − Σ_c do∘o);   dq = s·dS·k;   dk = s·dSᵀ·q;   dv = Pᵀ·do

(Dao et al. 2022, appendix B.2.) The composition's own gradient says the same, but it
sums P ∘ dP over a whole row and multiplies floats that are not rounded. The weights
are written exp(S − log Σ exp S): from a row's one number, and no others, they can be
made again wherever they are read, so that nothing of the scores' size need be stored.

All of this is more graph, so its own gradient is as right as that of any other.
"""

from __future__ import annotations

from tetragrad.core.dtypes import accumulation
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.markers import Detached
from tetragrad.graph.movement import Permute, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Sum
from tetragrad.tensor.contraction import matmul_nodes


@frozen(slots=True)
class Dropped:
    """Which weights count, and what they are multiplied by."""

    kept: Node
    factor: float

    def apply(self, weights: Node) -> Node:
        scaled = ops.Mul(weights, full_like(weights, self.factor))
        return ops.Where(self.kept, scaled, full_like(weights, 0.0))


@frozen(slots=True)
class Attention:
    """What attention was made of; called, it gives the gradients of its inputs.

    Queries, keys and values have equal dimensions before the last two. ``scores`` are
    masked: -inf where not ``allowed``. A ``bias`` was added to them.
    """

    query: Node
    key: Node
    value: Node
    scores: Node
    output: Node
    scale: float
    allowed: Node | None
    bias: Node | None
    dropped: Dropped | None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What there are gradients for."""
        given = (self.query, self.key, self.value)
        return given if self.bias is None else (*given, self.bias)

    def __call__(self, upstream: Node) -> tuple[Node, ...]:
        weights = self._weights()
        counted = weights if self.dropped is None else self.dropped.apply(weights)
        of_scores: Node = ops.Mul(weights, self._beyond_mean(upstream, weights))
        if self.allowed is not None:
            nothing = full_like(of_scores, 0.0)
            of_scores = ops.Where(self.allowed, of_scores, nothing)
        rounded = ops.Cast(of_scores, self.query.dtype)
        of_query = self._scaled_product(rounded, self.key)
        of_key = self._scaled_product(_transposed(rounded), self.query)
        of_value = matmul_nodes(
            _transposed(ops.Cast(counted, upstream.dtype)), upstream
        )
        found = (of_query, of_key, of_value)
        return found if self.bias is None else (*found, of_scores)

    @property
    def _is_short(self) -> bool:
        """Whether rows of weights are no longer than those of values, and not narrow.

        Then the sums of rows of weights are as short as any, and exact: where one
        weight is 1, the gradients of its row's scores are 0.
        """
        dtype = self.value.dtype
        is_narrow = accumulation(dtype) is not dtype
        return not is_narrow and self.scores.shape[-1] <= self.value.shape[-1]

    def _weights(self) -> Node:
        """The softmax of the scores; of long rows from one number for each."""
        scores, last = self.scores, (self.scores.ndim - 1,)
        largest = Detached(Max(scores, last))
        powers = ops.Exp(ops.Sub(scores, broadcast_to(largest, scores.shape)))
        total = Sum(powers, last)
        if self._is_short:
            return ops.Div(powers, broadcast_to(total, scores.shape))
        log_sums = ops.Add(ops.Log(total), largest)
        return ops.Exp(ops.Sub(scores, broadcast_to(log_sums, scores.shape)))

    def _beyond_mean(self, upstream: Node, weights: Node) -> Node:
        """The gradient of each weight, less the row's mean: Σ P∘dP is Σ do∘o."""
        wide = accumulation(upstream.dtype)
        upstream, output = ops.Cast(upstream, wide), ops.Cast(self.output, wide)
        value = ops.Cast(self.value, wide)
        of_weights = matmul_nodes(upstream, _transposed(value))
        if self.dropped is not None:
            of_weights = self.dropped.apply(of_weights)
        pair = (weights, of_weights) if self._is_short else (upstream, output)
        mean = Sum(ops.Mul(*pair), (upstream.ndim - 1,))
        return ops.Sub(of_weights, broadcast_to(mean, of_weights.shape))

    def _scaled_product(self, lhs: Node, rhs: Node) -> Node:
        """lhs @ rhs · scale, rounded once."""
        wide = accumulation(rhs.dtype)
        product = matmul_nodes(ops.Cast(lhs, wide), ops.Cast(rhs, wide))
        scaled = ops.Mul(product, full_like(product, self.scale))
        return ops.Cast(scaled, rhs.dtype)


def _transposed(node: Node) -> Node:
    """The last two dimensions exchanged."""
    last = node.ndim - 1
    return Permute(node, (*range(last - 1), last, last - 1))
