"""What a tile program means: run it on NumPy buffers, statement by statement.

The oracle of every emitter. Tiles start as poison; a load or store outside its
buffer raises. Roles are coroutines that take turns in a seeded random order at every
statement, so a missing wait shows up as poison and a missing release as a deadlock.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.evaluator import check_addresses, poison
from tetragrad.kernel.expression import Guard
from tetragrad.kernel.ir import Mode
from tetragrad.tile.evaluator import Evaluator
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Copy,
    Extent,
    Fetch,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    PassTurn,
    Pin,
    Program,
    Release,
    Role,
    Running,
    Statement,
    Store,
    Sync,
    TakeTurn,
    Tile,
    View,
    Wait,
    When,
)
from tetragrad.tile.layout import tile_elements

Steps = Generator[None, None, None]


def run_program(
    program: Program,
    buffers: Sequence[np.ndarray],
    scalars: Sequence[object] = (),
    seed: int = 0,
) -> None:
    """Run a program on flat buffers, one a slot; the outputs are written."""
    simulator = Simulator(program, buffers, scalars, random.Random(seed))
    with np.errstate(all="ignore"):
        simulator.run()


@dataclass
class _Ring:
    """The state of a channel: how far producers and consumers have come."""

    channel: Channel
    consumers: int
    acquired: int = 0
    committed: int = 0
    waited: dict[str, int] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)

    def free(self) -> bool:
        """Whether every consumer has released the slot that comes next."""
        done = [self.released.get(name, 0) for name in self.waited]
        done += [0] * (self.consumers - len(done))
        return self.acquired - min(done, default=0) < self.channel.depth


@dataclass
class _Frame:
    """Where one thread of execution stands: its axes, tiles and channel slots."""

    axes: dict[int, np.ndarray]
    tiles: dict[str, np.ndarray]
    rings: dict[str, _Ring]
    role: str = ""
    slots: dict[str, int] = field(default_factory=dict)
    #: How many turns the members along an axis have passed on.
    turns: dict[int, int] = field(default_factory=dict)


class Simulator:
    """One run of one program."""

    def __init__(
        self,
        program: Program,
        buffers: Sequence[np.ndarray],
        scalars: Sequence[object],
        choices: random.Random,
    ) -> None:
        self.program = program
        self.buffers = buffers
        self.scalars = [
            np.asarray(value).astype(dtype.numpy)
            for value, dtype in zip(scalars, program.scalars, strict=True)
        ]
        self.choices = choices
        self.executed = 0
        self.scratch = {tile.name: poisoned(tile) for tile in program.scratch}

    def run(self) -> None:
        """Run the grids, one after the other."""
        frame = _Frame({}, dict(self.scratch), {})
        finish(self.body(self.program.body, frame))

    # --- control ---------------------------------------------------------------

    def body(self, statements: Sequence[Statement], frame: _Frame) -> Steps:
        """Run statements in order; roles next to one another run side by side."""
        for is_role, group in itertools.groupby(
            statements, lambda entry: isinstance(entry, Role)
        ):
            if is_role:
                roles = [entry for entry in group if isinstance(entry, Role)]
                yield from self.roles(roles, frame)
                continue
            for statement in group:
                yield from self.statement(statement, frame)
                if frame.role:
                    yield

    def statement(self, statement: Statement, frame: _Frame) -> Steps:
        match statement:
            case Grid(axes, body):
                yield from self.grid(axes, body, frame)
            case For(axis, extent, body):
                for position in range(extent):
                    frame.axes[axis] = np.array(position)
                    if not self.holds(statement.guard, frame):
                        break
                    yield from self.body(body, frame)
            case When(guard, body, otherwise):
                chosen = body if self.holds(guard, frame) else otherwise
                yield from self.body(chosen, frame)
            case Alloc(tile):
                frame.tiles[tile.name] = poisoned(tile)
            case View():
                frame.tiles[statement.tile.name] = self.viewed(statement, frame)
            case Acquire() | Commit() | Wait() | Release():
                yield from self.channel_step(statement, frame)
            case TakeTurn(members) | PassTurn(members):
                yield from self.turn(statement, members, frame)
            case Sync() | Pin():
                pass
            case _:
                self.collective(statement, frame)

    def grid(
        self, axes: tuple[Extent, ...], body: Sequence[Statement], frame: _Frame
    ) -> Steps:
        """Every point in a random order, each with tiles of its own."""
        points = list(np.ndindex(*(extent for _, extent in axes)))
        self.choices.shuffle(points)
        for point in points:
            positions = {
                axis: np.array(position)
                for (axis, _), position in zip(axes, point, strict=True)
            }
            inner = _Frame({**frame.axes, **positions}, dict(frame.tiles), {})
            yield from self.body(body, inner)

    def roles(self, roles: Sequence[Role], frame: _Frame) -> Steps:
        """Run roles side by side, a statement at a time, in a random order."""
        for channel in channels_of(roles):
            consumers = sum(
                member_count(role) for role in roles if consumes(role.body, channel)
            )
            frame.rings[channel.name] = _Ring(channel, consumers)
        running = {
            name: self.body(
                role.body,
                _Frame(axes, dict(frame.tiles), frame.rings, name, turns=frame.turns),
            )
            for role in roles
            for name, axes in members_of(role, frame)
        }
        self.allocate_channels(frame)
        idle = 0
        while running:
            name = self.choices.choice(sorted(running))
            before = self.executed
            try:
                next(running[name])
            except StopIteration:
                del running[name]
                idle = 0
                continue
            idle = 0 if self.executed != before else idle + 1
            if idle > 1000 * (len(running) + 1):
                raise VerifyError(
                    f"deadlock: roles {sorted(running)} wait for one another"
                )
        yield

    def allocate_channels(self, frame: _Frame) -> None:
        """Give every slot of every channel its own poisoned tiles."""
        for ring in frame.rings.values():
            for tile in ring.channel.tiles:
                for slot in range(ring.channel.depth):
                    self.scratch[f"{tile.name}#{slot}"] = poisoned(tile)

    def channel_step(self, statement: Statement, frame: _Frame) -> Steps:
        """Block until the channel allows the step, then take it."""
        ring = frame.rings[statement.channel.name]  # type: ignore[attr-defined]
        name = ring.channel.name
        match statement:
            case Acquire():
                while not ring.free():
                    yield
                frame.slots[name] = ring.acquired % ring.channel.depth
                ring.acquired += 1
                for tile in ring.channel.tiles:
                    slot = frame.slots[name]
                    self.scratch[f"{tile.name}#{slot}"][...] = poison(tile.dtype)
            case Commit():
                ring.committed += 1
            case Wait():
                taken = ring.waited.setdefault(frame.role, 0)
                while ring.committed <= taken:
                    yield
                frame.slots[name] = taken % ring.channel.depth
                ring.waited[frame.role] = taken + 1
            case Release():
                count = ring.released.get(frame.role, 0)
                if count >= ring.waited.get(frame.role, 0):
                    raise VerifyError(f"{frame.role} releases {name} without a wait")
                ring.released[frame.role] = count + 1
        self.executed += 1

    def turn(self, statement: Statement, members: Extent, frame: _Frame) -> Steps:
        """Block until it is this member's turn, or pass it on."""
        axis, count = members
        member = int(frame.axes[axis])
        if isinstance(statement, TakeTurn):
            while frame.turns.get(axis, 0) % count != member:
                yield
        else:
            if frame.turns.get(axis, 0) % count != member:
                raise VerifyError(f"{frame.role} passes a turn on that it has not")
            frame.turns[axis] = frame.turns.get(axis, 0) + 1
        self.executed += 1

    # --- collective statements ---------------------------------------------------

    def collective(self, statement: Statement, frame: _Frame) -> None:
        """Run one statement at all points of its axes at once."""
        self.executed += 1
        match statement:
            case Map():
                point = self.point(statement.axes, frame)
                mask = point.guard(statement.guard)
                where = point.offsets(statement.tile, statement.indices, mask)
                values = point.value(statement.value)
                self.assign(frame, statement.tile, where, mask, values)
            case Fold():
                self.fold(statement, frame)
            case Running():
                self.running(statement, frame)
            case Store():
                self.store(statement, frame)
            case Copy():
                self.copy(statement, frame)
            case Mma():
                self.multiply(statement, frame)
            case Fetch():
                pass
            case _:
                raise AssertionError(f"no meaning for {type(statement).__name__}")

    def point(self, axes: tuple[Extent, ...], frame: _Frame) -> Evaluator:
        """An evaluator with one dimension for each axis of a statement."""
        environment = dict(frame.axes)
        for dim, (axis, extent) in enumerate(axes):
            alone = [1] * max(1, len(axes))
            alone[dim] = extent
            environment[axis] = np.arange(extent).reshape(alone)
        shape = tuple(extent for _, extent in axes) or (1,)
        memory_of = functools.partial(self.memory, frame=frame)
        return Evaluator(self.buffers, self.scalars, memory_of, environment, shape)

    def holds(self, guard: Guard, frame: _Frame) -> bool:
        """Whether a guard without collective axes is true."""
        return bool(self.point((), frame).guard(guard).all())

    def memory(self, tile: Tile, frame: _Frame) -> np.ndarray:
        """The elements of a tile, in the slot that this role holds."""
        for ring in frame.rings.values():
            if tile in ring.channel.tiles:
                slot = frame.slots.get(ring.channel.name)
                if slot is None:
                    raise VerifyError(
                        f"{frame.role} uses {tile.name} without holding a slot "
                        f"of {ring.channel.name}"
                    )
                return self.scratch[f"{tile.name}#{slot}"]
        if tile.name not in frame.tiles:
            raise VerifyError(f"tile {tile.name} is used before its Alloc")
        return frame.tiles[tile.name]

    def viewed(self, view: View, frame: _Frame) -> np.ndarray:
        """The part of a slot's or tile's memory that a view shows."""
        source = view.source
        if isinstance(source, int):
            memory = self.buffers[source]
        else:
            memory = self.memory(source, frame)
        first = int(self.point((), frame).form(view.address).item())
        last = first + tile_elements(view.tile) - 1
        where = np.array([first, last])
        check_addresses(where, memory.size, f"the view {view.tile.name}")
        return memory[first : last + 1]

    def assign(
        self,
        frame: _Frame,
        tile: Tile,
        where: np.ndarray,
        mask: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Write values into a tile where the mask is true."""
        memory = self.memory(tile, frame)
        memory[where[mask]] = values[mask]

    def fold(self, statement: Fold, frame: _Frame) -> None:
        """Combine values into a tile, in the order of the points."""
        point = self.point(statement.axes, frame)
        mask = point.guard(statement.guard)
        where = point.offsets(statement.tile, statement.indices, mask)
        values = point.value(statement.value)
        memory = self.memory(statement.tile, frame)
        statement.op.universal.at(memory, where[mask], values[mask])

    def running(self, statement: Running, frame: _Frame) -> None:
        """Combine along the last axis, from what is carried so far."""
        point = self.point(statement.axes, frame)
        tile, op = statement.tile, statement.op.universal
        identity = tile.dtype.numpy.type(statement.op.identity(tile.dtype))
        mask = point.guard(statement.guard)
        values = np.where(mask, point.value(statement.value), identity)
        carry = self.memory(statement.carry, frame)
        start = carry.reshape(*values.shape[:-1], 1)
        ahead = values[..., ::-1] if statement.reverse else values
        both = np.concatenate([start, ahead], -1).astype(tile.dtype.numpy)
        found = op.accumulate(both, axis=-1, dtype=both.dtype)[..., 1:]
        carry[...] = found[..., -1].reshape(carry.shape)
        found = found[..., ::-1] if statement.reverse else found
        where = point.offsets(tile, statement.indices)
        everywhere = np.ones(values.shape, np.bool_)
        self.assign(frame, tile, where, everywhere, found)

    def store(self, statement: Store, frame: _Frame) -> None:
        """Write values to a slot's buffer where the guard holds."""
        point = self.point(statement.axes, frame)
        buffer = self.buffers[statement.slot]
        mask = point.guard(statement.guard)
        where = np.broadcast_to(point.form(statement.address), mask.shape)[mask]
        values = point.value(statement.value)[mask]
        check_addresses(where, buffer.size, f"a store to slot {statement.slot}")
        if statement.mode is Mode.STORE:
            buffer[where] = values
            return
        combine = np.add if statement.mode is Mode.ADD else np.maximum
        combine.at(buffer, where, values)

    def copy(self, statement: Copy, frame: _Frame) -> None:
        """Read a box of a slot's elements into a tile; zeros outside the guard."""
        point = self.point(statement.axes, frame)
        tile = statement.tile
        mask = point.guard(statement.guard)
        found = point.box(statement)
        values = np.where(mask, found, np.zeros((), tile.dtype.numpy))
        everywhere = np.ones(mask.shape, np.bool_)
        where = point.offsets(tile, statement.places)
        self.assign(frame, tile, where, everywhere, values)

    def multiply(self, statement: Mma, frame: _Frame) -> None:
        """Multiply two regions of tiles and add the product to the accumulator."""
        rows, columns = statement.rows, statement.columns
        tile = statement.accumulator
        dtype = tile.dtype.numpy
        lhs = self.region(statement, statement.lhs, statement.lhs_offset, rows, frame)
        rhs = self.region(
            statement, statement.rhs, statement.rhs_offset, columns, frame
        )
        memory = self.memory(tile, frame)
        point = self.point(((-1, rows), (-2, columns)), frame)
        axes = (Affine(0, ((-1, 1),)), Affine(0, ((-2, 1),)))
        where = point.offsets(tile, axes)
        if statement.rhs.layout.swizzle:
            lhs, rhs = as_multiplied(lhs), as_multiplied(rhs)
        product = lhs.astype(dtype).T @ rhs.astype(dtype)
        memory[where] = product if statement.starts else memory[where] + product

    def region(
        self,
        statement: Mma,
        tile: Tile,
        offset: tuple[Affine, Affine],
        side: int,
        frame: _Frame,
    ) -> np.ndarray:
        """The part of an operand that a product takes, indexed [depth, side]."""
        depth, group = statement.depth, statement.group
        point = self.point(((-1, depth), (-2, group), (-3, side)), frame)
        steps = offset[0] + Affine(0, ((-1, 1),))
        sides = offset[1] + Affine(0, ((-3, 1),))
        indices = (steps, sides, Affine(0, ((-2, 1),)))[: len(tile.shape)]
        where = np.broadcast_to(point.offsets(tile, indices), point.shape)
        return self.memory(tile, frame)[where].reshape(depth * group, side)


def as_multiplied(operand: np.ndarray) -> np.ndarray:
    """An operand as a matrix unit takes it: without the last digits of float32."""
    if operand.dtype != np.float32:
        return operand
    first_digits = np.int32(-1 << 13)
    return (operand.view(np.int32) & first_digits).view(np.float32)


def poisoned(tile: Tile) -> np.ndarray:
    """Fresh memory for a tile, in which every element is poison."""
    return np.full(tile_elements(tile), poison(tile.dtype), tile.dtype.numpy)


def finish(steps: Steps) -> None:
    """Run a coroutine to its end."""
    for _ in steps:
        pass


def member_count(role: Role) -> int:
    """How many groups of warps run a role."""
    return 1 if role.members is None else role.members[1]


def members_of(role: Role, frame: _Frame) -> list[tuple[str, dict[int, np.ndarray]]]:
    """Each group of warps that runs a role: its name, and where the axes stand."""
    if role.members is None:
        return [(role.name, dict(frame.axes))]
    axis, count = role.members
    return [
        (f"{role.name}{place}", {**frame.axes, axis: np.array(place)})
        for place in range(count)
    ]


def channels_of(roles: Sequence[Role]) -> list[Channel]:
    """The channels that some roles use."""
    found: dict[Channel, None] = {}
    for statement in all_statements(tuple(roles)):
        channel = getattr(statement, "channel", None)
        if channel is not None:
            found[channel] = None
    return list(found)


def consumes(body: Sequence[Statement], channel: Channel) -> bool:
    """Whether a role waits on a channel."""
    return any(
        isinstance(statement, Wait) and statement.channel == channel
        for statement in all_statements(body)
    )


def all_statements(body: Sequence[Statement]) -> list[Statement]:
    """Statements at any depth, in order."""
    found: list[Statement] = []
    for statement in body:
        found.append(statement)
        found += all_statements(getattr(statement, "body", ()))
        found += all_statements(getattr(statement, "otherwise", ()))
    return found
