"""The online join: contraction, row and contraction become one kernel.

    scores = q·k;  weights = softmax(scores);  weights·v

is three kernels and two stored matrices. Where shift analysis can carry the row in
one pass (``online.py``), it is one kernel that stores nothing but the result.
"""

from __future__ import annotations

from functools import cached_property

from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Cast, Mul
from tetragrad.graph.movement import Reshape
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.kernel.fusion.analysis import is_leaf
from tetragrad.kernel.fusion.decisions import MOST_FEATURES, Decisions
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.repeats import lower_group
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.online_contraction import OnlineContraction, online_contraction
from tetragrad.kernel.single_row import with_row

#: What rows are multiples of apart for a copy engine.
BULK_BYTES = 16


def join_online(decisions: Decisions) -> None:
    """Un-store the scores and weights of every row that one pass can carry."""
    _Join(decisions).run()


class _Join:
    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        # Asked once for all layers that are the same.
        self.answers: dict[Kernel, bool] = {}

    def run(self) -> None:
        reads = {end: self.reads_of(end) for end in self.products}
        for end in self.products:
            for row in reads[end]:
                if self.is_row(row) and self.only_feeds(row, end):
                    self.try_join(end, row)

    @cached_property
    def products(self) -> dict[Node, None]:
        """Stored values that end a product.

        Those with a single row are no contractions to fusion, but a pass in parts is
        quicker than storing their scores.
        """
        decisions = self.decisions
        found = dict.fromkeys(decisions.epilogues)
        if decisions.target.has_roles:
            stored = (node for node in decisions.order if node in decisions.in_memory)
            found |= dict.fromkeys(filter(_is_sum_of_products, stored))
        return found

    def try_join(self, end: Node, row: Node) -> None:
        """Join if the kernel that results has an online form."""
        decisions = self.decisions
        for scores in self.reads_of(row):
            if scores not in self.products or not self.only_feeds(scores, row):
                continue
            between = {row, scores} & decisions.in_memory
            decisions.in_memory -= between
            if self.has_online_form(end):
                decisions.note(end, f"online: rows of {row.shape}")
                return
            decisions.in_memory |= between

    def has_online_form(self, end: Node) -> bool:
        """Ask shift analysis about the kernel of what is not stored now."""
        lowered = lower_group(Group([end]), self.decisions.in_memory).kernel
        if lowered not in self.answers:
            kernel = with_row(lowered)
            form = online_contraction(kernel)
            target = self.decisions.target
            self.answers[lowered] = form is not None and pays(kernel, form, target)
        return self.answers[lowered]

    def is_row(self, node: Node) -> bool:
        """Whether the node's kernel reads its own row again."""
        reasons = self.decisions.reasons.get(node, ())
        return any(reason.startswith("row") for reason in reasons)

    def only_feeds(self, node: Node, root: Node) -> bool:
        """Whether a stored value is read by one kernel only, and not asked for."""
        decisions = self.decisions
        if node in decisions.wanted:
            return False
        stack, seen = list(decisions.users[node]), set()
        while stack:
            user = stack.pop()
            if user is root or user in seen:
                continue
            if user in decisions.in_memory:
                return False
            seen.add(user)
            stack.extend(decisions.users[user])
        return True

    def reads_of(self, root: Node) -> list[Node]:
        """The stored values that a root's kernel loads."""
        found: dict[Node, None] = {}
        stack, seen = list(root.sources), set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.decisions.in_memory or is_leaf(node):
                found[node] = None
            else:
                stack.extend(node.sources)
        return list(found)


def _is_sum_of_products(node: Node) -> bool:
    """Whether a value is a sum of products, rounded or not, of whatever shape."""
    while isinstance(node, Cast | Reshape):
        (node,) = node.sources
    return isinstance(node, Sum) and isinstance(node.source, Mul)


def pays(kernel: Kernel, form: OnlineContraction, target: Target) -> bool:
    """Whether one kernel is better than three.

    A GPU's matrix unit multiplies half-width floats so fast that they may as well go
    through memory, unless it can keep the weights, rounded, and has its operands
    brought. Where there are no totals, half of the products are left.
    """
    operands = [_load_of(entry) for entry in operands_of(form)]
    halves = [load for load in operands if load is not None and load.dtype.bits == 16]
    if "mma" not in target.features or not halves:
        return True
    if not form.totals:
        return target.has_roles
    features = [axis for entry in form.inner for axis in entry.scores.axes]
    if form.column is not None:
        features.append(form.column)
    is_narrow = all(kernel.axes[axis] <= MOST_FEATURES for axis in features)
    is_brought = len(halves) == len(operands) and all(map(_is_bulk, halves))
    is_rounded = all(_is_rounded(total.weights) for total in form.totals)
    is_kept = is_rounded and (not form.statistics or _is_softmax(form))
    return target.has_roles and is_narrow and is_brought and is_kept


def _is_softmax(form: OnlineContraction) -> bool:
    """Whether a maximum and sums are what one total's weights are made with."""
    first, *others = (form.online.carries[number] for number in form.statistics)
    is_single = len(form.inner) == len(form.totals) == 1
    return is_single and first.op is Max and all(entry.op is Sum for entry in others)


def _is_rounded(weights: Expression) -> bool:
    """Whether weights are half-width floats, widened."""
    if not isinstance(weights, Compute) or weights.op is not Cast:
        return False
    return bool(weights.inputs[0].dtype.bits == 16)


def operands_of(form: OnlineContraction) -> list[Expression]:
    """What is multiplied by something else than weights made here, and by weights."""
    inner = [side for entry in form.inner for side in (entry.queries, entry.keys)]
    return inner + [total.values for total in form.totals]


def _load_of(operand: Expression) -> Expression | None:
    """The load that an operand is, widened or not."""
    if isinstance(operand, Compute) and operand.op is Cast:
        (operand,) = operand.inputs
    return operand if isinstance(operand, Load) else None


def _is_bulk(load: Expression) -> bool:
    """Whether one axis walks through neighbours and rows begin every 16 bytes."""
    unit = BULK_BYTES // load.dtype.itemsize
    steps = [load.address.constant, *(factor for _, factor in load.address.terms)]
    is_aligned = all(step == 1 or step % unit == 0 for step in steps)
    return is_aligned and steps[1:].count(1) == 1 and load.address.is_pure()
