"""Files as the safetensors wheel writes them are read, and what we write is, byte for byte, what it writes; what it refuses, we refuse."""
import hashlib
import json
import os
import pathlib
import random
import struct
import subprocess

import numpy as np
import safetensors
import safetensors.numpy

BUILD = pathlib.Path(os.environ["ENGRAM_BUILD"])
PROBE = BUILD / "bin" / "parity_safetensors"
# Where we go by the letter of the format and the wheel does not.
STRICTER = ("twice", "unknown field", "dimensions", "overflows", "does not begin with {")
DTYPES = {"bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "int32": "I32", "uint32": "U32", "float32": "F32",
          "float64": "F64", "int64": "I64", "uint64": "U64"}


def ours(files: list[bytes]) -> list[dict]:
    answer = subprocess.run([PROBE, "read"], input=b"".join(struct.pack("<Q", len(f)) + f for f in files), capture_output=True)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def theirs(file: bytes) -> dict | None:
    """What the wheel reads, or None where it refuses."""
    try:
        tensors = safetensors.deserialize(file)
    except safetensors.SafetensorError:
        return None
    return {name: [tensor["dtype"], list(tensor["shape"]), hashlib.sha256(bytes(tensor["data"])).hexdigest()] for name, tensor in tensors}


def random_file(rng: random.Random) -> bytes:
    generator = np.random.default_rng(rng.randrange(2**32))
    tensors = {}
    for _ in range(rng.randrange(6)):
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        name = "".join(rng.choice("ab.\u00e9\U0001F600\"\\\n_0") for _ in range(rng.randrange(1, 9)))
        tensors[name] = generator.integers(0, 2, shape).astype(rng.choice(list(DTYPES)))
    metadata = {rng.choice("abc\u00e9"): rng.choice(["", "x", "\u6771", "{}"])} if rng.random() < 0.5 else None
    return safetensors.numpy.save(tensors, metadata)


def test_files_of_the_wheel_are_read():
    rng = random.Random(1)
    files = [random_file(rng) for _ in range(500)]
    for file, got in zip(files, ours(files), strict=True):
        assert got.get("tensors") == theirs(file), got
        length = struct.unpack("<Q", file[:8])[0]
        assert got["metadata"] == json.loads(file[8:8 + length]).get("__metadata__", {})


def test_files_are_written_as_the_wheel_writes_them(tmp_path):
    rng = random.Random(2)
    for _ in range(60):
        file = random_file(rng)
        (tmp_path / "from").write_bytes(file)
        subprocess.run([PROBE, "copy", tmp_path / "from", tmp_path / "to"], check=True)
        assert (tmp_path / "to").read_bytes() == file


def mutate(rng: random.Random, file: bytes) -> bytes:
    """A few edits, most of them to the header's numbers, names and marks; the stated length often follows."""
    length = struct.unpack("<Q", file[:8])[0]
    header, data = bytearray(file[8:8 + length]), bytearray(file[8 + length:])
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(header) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            header[at:at + 1] = rng.choice(b"{}[]\",:0123456789- \x80").to_bytes()
        elif kind == 1:
            header[at:at] = rng.choice([b"0", b",", b" ", b'"F32"', b"18446744073709551615", b"[]", b"{}", b"null", b"1e3", b"\xff"])
        elif kind == 2:
            del header[at:at + rng.randrange(1, 4)]
        elif kind == 3:
            digits = [i for i, c in enumerate(header) if 48 <= c < 58]
            if digits:
                header[rng.choice(digits)] = rng.choice(b"0123456789")
        elif kind == 4:
            data += b"\0" * rng.randrange(3)
        elif data:
            del data[-1:]
    stated = len(header) if rng.random() < 0.8 else rng.choice([0, length, len(header) + 1, 2**63, 100_000_001])
    return struct.pack("<Q", stated) + bytes(header) + bytes(data)


def test_what_the_wheel_refuses_we_refuse():
    """We refuse more (STRICTER), never less, and read the same."""
    rng = random.Random(3)
    files = [mutate(rng, random_file(rng)) for _ in range(40_000)]
    accepted = stricter = 0
    for file, got in zip(files, ours(files), strict=True):
        expected = theirs(file)
        if "error" in got:
            if expected is not None:
                stricter += 1
                assert any(word in got["error"] for word in STRICTER), (got, file)
            continue
        assert expected == got["tensors"], file
        accepted += 1
    assert accepted > 300 and stricter < 400
