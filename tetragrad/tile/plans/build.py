"""From a kernel and a plan to the tile program."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen, replace
from tetragrad.core.target import Target
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Kernel, Mode, Slot
from tetragrad.kernel.naming import sizes_text
from tetragrad.kernel.single_row import with_row
from tetragrad.tile.ir import (
    Copy,
    Fetch,
    Fold,
    For,
    Grid,
    Layout,
    Map,
    Mma,
    Program,
    Role,
    Running,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    View,
    When,
    every_statement,
)
from tetragrad.tile.plans.last_part import with_last_apart
from tetragrad.tile.plans.nests.chain import ChainPlan, build_chain
from tetragrad.tile.plans.nests.columns import ColumnsPlan, build_columns
from tetragrad.tile.plans.nests.fill import FillPlan, build_fill
from tetragrad.tile.plans.nests.nest import NestPlan, build_nest
from tetragrad.tile.plans.nests.slide import SlidePlan, build_slide
from tetragrad.tile.plans.nests.stream import StreamPlan, build_stream
from tetragrad.tile.plans.nests.transpose import TransposePlan, build_transpose
from tetragrad.tile.plans.online.online import OnlinePlan, build_online
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.prepare.guarded_products import with_guarded_factors
from tetragrad.tile.plans.prepare.quick_powers import with_quick_powers
from tetragrad.tile.plans.products.contraction import ContractionPlan
from tetragrad.tile.plans.products.product import build_contraction
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.roles.online_roles import OnlineRolePlan, build_online_roles
from tetragrad.tile.plans.roles.pass_roles import PassRolePlan, build_pass_roles
from tetragrad.tile.plans.roles.role_plan import RolePlan
from tetragrad.tile.plans.roles.roles import build_roles
from tetragrad.tile.plans.scope import Builder
from tetragrad.tile.plans.skip import skip_empty

GridPlan = (
    NestPlan
    | ContractionPlan
    | RolePlan
    | TransposePlan
    | StreamPlan
    | FillPlan
    | OnlinePlan
    | OnlineRolePlan
    | PassRolePlan
    | SlidePlan
    | ColumnsPlan
    | ChainPlan
)


_PASSES = OnlinePlan | OnlineRolePlan | PassRolePlan


@frozen
class Plan:
    """All choices for one kernel: where it is cut, and how each part is computed.

    Every cut takes something out of what the cuts before it left; ``stages`` has the
    grids for each kernel that was cut off, and last for the rest.
    """

    cuts: tuple[Division, ...]
    stages: tuple[tuple[GridPlan, ...], ...]

    @property
    def kind(self) -> str:
        """One word for what dominates, used in the program's name."""
        grids = [grid for stage in self.stages for grid in stage]
        if any(isinstance(grid, ContractionPlan | RolePlan) for grid in grids):
            return "contraction"
        if any(isinstance(grid, _PASSES) for grid in grids):
            return "online"
        if self.cuts:
            return "reduce"
        return "map"


def cut_kernel(
    kernel: Kernel,
    cuts: tuple[Division, ...],
    *,
    is_pass: bool = False,
) -> list[Kernel]:
    """The kernels that run one after the other; a pass is told by its rows."""
    rest = simplify_axes(kernel)
    if is_pass:
        rest = with_row(rest)
    kernels = []
    for cut in cuts:
        first, rest = cut.divide(rest)
        kernels.append(first)
    return [*kernels, rest]


def build(kernel: Kernel, plan: Plan, target: Target) -> Program:
    """The tile program that computes a kernel as the plan says."""
    if target.has_free_iterations and plan.kind in ("map", "reduce"):
        kernel = with_quick_powers(kernel)
    if not target.has_free_iterations:
        kernel = with_guarded_factors(kernel)
    kernels = cut_kernel(kernel, plan.cuts, is_pass=plan.kind == "online")
    slots = kernels[-1].slots
    builder = Builder(kernels[0])
    body: list[Statement] = []
    for part, grids in zip(kernels, plan.stages, strict=True):
        builder.kernel = part
        for grid in grids:
            statements = build_grid(builder, grid)
            if target.has_free_iterations and isinstance(grid, NestPlan | ColumnsPlan):
                extents = builder.extents
                statements = [with_last_apart(step, extents) for step in statements]
            body += statements
    if dtypes.int64 in kernel.scalars:
        body = skip_empty(body)
    scratch = Scratch(len(kernel.slots), slots, body, builder)
    sizes = sizes_text(kernels[-1])
    return Program(
        name=f"{plan.kind}_{sizes}",
        slots=kernel.slots,
        scalars=kernel.scalars,
        scratch=(*builder.scratch, *scratch.tiles.values()),
        body=tuple(scratch.statement(statement) for statement in body),
        outputs=frozenset(
            output.slot for output in kernel.outputs if output.slot < len(kernel.slots)
        ),
    )


def build_grid(builder: Builder, grid: GridPlan) -> list[Statement]:
    """The statements of one grid."""
    match grid:
        case NestPlan():
            return build_nest(builder, grid)
        case ContractionPlan():
            return build_contraction(builder, grid)
        case RolePlan():
            return build_roles(builder, grid)
        case OnlinePlan():
            return build_online(builder, grid)
        case OnlineRolePlan():
            return build_online_roles(builder, grid)
        case PassRolePlan():
            return build_pass_roles(builder, grid)
        case StreamPlan():
            return build_stream(builder, grid)
        case SlidePlan():
            return build_slide(builder, grid)
        case ColumnsPlan():
            return build_columns(builder, grid)
        case TransposePlan():
            return build_transpose(builder, grid)
        case ChainPlan():
            return build_chain(builder, grid)
        case FillPlan():
            return build_fill(builder, grid)


class Scratch:
    """Turns the slots that cuts added into tiles in global memory.

    A vector may read beyond the end of a tile where its guard fails, so each tile
    is as long as the furthest address that any load could reach.
    """

    def __init__(
        self,
        first: int,
        slots: tuple[Slot, ...],
        body: list[Statement],
        builder: Builder,
    ) -> None:
        lengths = {number: slots[number].numel for number in range(first, len(slots))}
        for load in loads_in(body) if lengths else ():
            if load.slot in lengths:
                _, last = load.address.range(builder.extents)
                lengths[load.slot] = max(lengths[load.slot], last + 1)
        self.tiles = {
            number: Tile(
                f"scratch{number - first + 1}",
                (length,),
                slots[number].dtype,
                Space.GLOBAL,
                Layout((1,)),
            )
            for number, length in lengths.items()
        }

    def statement(self, statement: Statement) -> Statement:
        """The statement with scratch loads and stores in place of slots."""
        if not self.tiles:
            return statement
        match statement:
            case Grid() | For() | Role():
                body = tuple(self.statement(entry) for entry in statement.body)
                return replace(statement, body=body)
            case When():
                body = tuple(self.statement(entry) for entry in statement.body)
                other = tuple(self.statement(entry) for entry in statement.otherwise)
                return replace(statement, body=body, otherwise=other)
            case Store():
                return self._store(statement)
            case Map() | Fold() | Running():
                return replace(statement, value=self._value(statement.value))
            case Copy():
                return replace(statement, source=self.tiles.get(statement.slot))
            case Fetch() | View():
                return replace(statement, source=self._source(statement.source))
            case Mma() if statement.ahead is not None:
                fetch = statement.ahead.fetch
                fetch = replace(fetch, source=self._source(fetch.source))
                return replace(statement, ahead=replace(statement.ahead, fetch=fetch))
        return statement

    def _source(self, source: int | Tile) -> int | Tile:
        return self.tiles.get(source, source) if isinstance(source, int) else source

    def _store(self, store: Store) -> Statement:
        value = self._value(store.value)
        tile = self.tiles.get(store.slot)
        if tile is None:
            return replace(store, value=value)
        place = (store.address,)
        if store.mode is Mode.STORE:
            return Map(store.axes, tile, place, value, store.guard)
        operation = Sum if store.mode is Mode.ADD else Max
        return Fold(store.axes, tile, place, operation, value, store.guard)

    def _value(self, value: Expression) -> Expression:
        loads: dict[Expression, Expression] = {
            entry: self._load(entry)
            for entry in walk(value)
            if isinstance(entry, Load) and entry.slot in self.tiles
        }
        return Rewriter({}, loads)(value) if loads else value

    def _load(self, load: Load) -> Expression:
        return TileLoad(self.tiles[load.slot], (load.address,))


def loads_in(body: Sequence[Statement]) -> list[Load]:
    """Every load in the statements."""
    values = [getattr(entry, "value", None) for entry in every_statement(body)]
    below = walk(*(value for value in values if value is not None))
    return [entry for entry in below if isinstance(entry, Load)]
