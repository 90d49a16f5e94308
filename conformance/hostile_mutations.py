"""Ways to damage a file: by chance, and where the format would believe it."""

from __future__ import annotations

import contextlib
import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable

#: Numbers at which readers go wrong: signs, widths, what an address can hold.
NUMBERS = (
    0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -8, -(2**31), -(2**63),
)  # fmt: skip

#: Pieces of programs that would run code if anything did.
PROGRAMS = (
    b"cos\nsystem\nX\x04\x00\x00\x00true\x85R",
    b"cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R",
    b"(S'true'\nios\nsystem\n",
    b"(cos\nsystem\nS'true'\no",
    b"\x82\x01",
    b"cbuiltins\ngetattr\ncos\nsystem\n\x86R",
    b"cnumpy\nzeros\nJ\xff\xff\xff\x7f\x85R",
    b"cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x40\x85R",
)

Mutation = Callable[[random.Random, bytes], bytes]


def _place(generator: random.Random, contents: bytes) -> int:
    return generator.randrange(len(contents) + 1)


def flip_bits(generator: random.Random, contents: bytes) -> bytes:
    """Some bits the other way round."""
    changed = bytearray(contents)
    for _ in range(generator.choice((1, 1, 2, 8))):
        if changed:
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def truncate(generator: random.Random, contents: bytes) -> bytes:
    """Only the beginning."""
    return contents[: _place(generator, contents)]


def cut(generator: random.Random, contents: bytes) -> bytes:
    """A stretch left out."""
    first = _place(generator, contents)
    return contents[:first] + contents[first + generator.randrange(1, 64) :]


def repeat(generator: random.Random, contents: bytes) -> bytes:
    """A stretch twice, or many times."""
    first = _place(generator, contents)
    stretch = contents[first : first + generator.randrange(1, 64)]
    times = generator.choice((1, 1, 3, 500))
    return contents[:first] + stretch * times + contents[first:]


def insert(generator: random.Random, contents: bytes) -> bytes:
    """Bytes that were not there."""
    first = _place(generator, contents)
    return contents[:first] + generator.randbytes(8) + contents[first:]


def write_number(generator: random.Random, contents: bytes) -> bytes:
    """A number where one may stand, in any width and order."""
    size = generator.choice((1, 2, 4, 8))
    order = generator.choice(("little", "big"))
    number = generator.choice(NUMBERS) % (1 << (8 * size))
    if len(contents) < size:
        return contents
    first = generator.randrange(len(contents) - size + 1)
    return contents[:first] + number.to_bytes(size, order) + contents[first + size :]


def change_number(generator: random.Random, contents: bytes) -> bytes:
    """Another number in place of one that is written in digits."""
    found = list(re.finditer(rb"\d+", contents))
    if not found:
        return flip_bits(generator, contents)
    match = generator.choice(found)
    number = str(generator.choice(NUMBERS)).encode()
    return contents[: match.start()] + number + contents[match.end() :]


def move(generator: random.Random, contents: bytes) -> bytes:
    """A stretch at another place."""
    first = _place(generator, contents)
    length = generator.randrange(1, 64)
    stretch = contents[first : first + length]
    rest = contents[:first] + contents[first + length :]
    place = _place(generator, rest)
    return rest[:place] + stretch + rest[place:]


ANYWHERE: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    cut,
    repeat,
    insert,
    write_number,
    change_number,
    move,
)


# --- formats --------------------------------------------------------------------------


def inside_header(generator: random.Random, contents: bytes) -> bytes:
    """safetensors: another header, with the length that it has."""
    (length,) = struct.unpack_from("<Q", contents)
    header, elements = contents[8 : 8 + length], contents[8 + length :]
    change = generator.choice((change_number, change_number, _change_json, *ANYWHERE))
    changed = change(generator, header)
    return struct.pack("<Q", len(changed)) + changed + elements


def _change_json(generator: random.Random, header: bytes) -> bytes:
    """A value of the header replaced by one of another kind."""
    try:
        values = json.loads(header)
    except ValueError:
        return header
    target = values
    while isinstance(target, dict) and target:
        key = generator.choice(sorted(target))
        if not isinstance(target[key], dict) or generator.random() < 0.2:
            target[key] = generator.choice(_ODD_VALUES)
            break
        target = target[key]
    return json.dumps(values).encode()


_ODD_VALUES = (
    None, True, -1, 1e308, "F32", "", [], {}, [-1, 4], [4, 0], [2**63, 2**64],
    [[1]], [1.5], ["1"], "x" * 10_000, [1] * 100, {"dtype": "F32"},
)  # fmt: skip


def inside_zip(generator: random.Random, contents: bytes) -> bytes:
    """A record changed, with the checksum that it has then, so that it is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            records = {
                info.filename: (info.compress_type, archive.read(info))
                for info in archive.infolist()
            }
    except (zipfile.BadZipFile, OSError):
        return flip_bits(generator, contents)
    names = sorted(records)
    pickles = [name for name in names if name.endswith(".pkl")]
    name = generator.choice(pickles * 8 + names)
    kind, record = records[name]
    records[name] = (kind, inside_pickle(generator, record))
    if generator.random() < 0.05:
        records[generator.choice(names)] = (kind, b"")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, (kind, record) in records.items():
            archive.writestr(name, record, compress_type=kind)
    return stream.getvalue()


def inside_pickle(generator: random.Random, contents: bytes) -> bytes:
    """An opcode, its argument, or a whole program, where opcodes begin."""
    if generator.random() < 0.3:
        return generator.choice(ANYWHERE)(generator, contents)
    places = _opcode_places(contents)
    place = generator.choice(places)
    choice = generator.random()
    if choice < 0.3:
        piece = generator.choice(PROGRAMS)
        return contents[:place] + piece + contents[place:]
    if choice < 0.6:
        opcode = ord(generator.choice(pickletools.opcodes).code)
        return contents[:place] + bytes([opcode]) + contents[place + 1 :]
    if choice < 0.8:
        # What an index or a length says, in the width that follows the opcode.
        number = generator.choice(NUMBERS) % 2**32
        return contents[: place + 1] + struct.pack("<I", number) + contents[place + 5 :]
    other = generator.choice(places)
    first, last = sorted((place, other))
    stretch = contents[first:last]
    return contents[:last] + stretch * generator.choice((1, 2, 50)) + contents[last:]


def _opcode_places(contents: bytes) -> list[int]:
    places = [0]
    # Of a damaged pickle, the opcodes before the damage.
    with contextlib.suppress(ValueError, LookupError):
        places += [place or 0 for _, _, place in pickletools.genops(contents)]
    return places


BY_FORMAT: dict[str, tuple[Mutation, ...]] = {
    "safetensors": (inside_header,),
    "torch": (inside_zip,),
    "program": (inside_zip,),
    "npz": (inside_zip,),
    "idx": (write_number,),
    "onnx": (write_number, change_number),
}


def mutate(format: str, contents: bytes, generator: random.Random) -> bytes:
    """One damaged file."""
    ways = BY_FORMAT[format] if generator.random() < 0.5 else ANYWHERE
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        contents = generator.choice(ways)(generator, contents)
    return contents
