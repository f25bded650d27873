"""Small vector files for tests, as word2vec, GloVe and fastText write them."""
from pathlib import Path

import numpy as np
import pytest

from disaster_nbdev.core import UserError

TINY = {"fire": [1.5, -2.0, 0.25], "caf\u00e9": [0.1, 0.2, 0.3], "other": [9.0, 9.0, 9.0]}
# the matrix for the words fire, smoke and café
EXPECTED = np.float32([[0, 0, 0], TINY["fire"], [0, 0, 0], TINY["caf\u00e9"]])
ROWS = [("fire", "0.12573 -0.13210 0.64042"), ("flood", "1.30400 0.94708 -0.70374"),
        ("caf\u00e9", "-2.32503 -0.21879 -1.24591")]
# malformed headers of .npy files
HEADERS = [b"[" * 5000, b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"(" * 500,
           b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 300), }",
           b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }",
           b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }", b"{}", b"\xff\n",
           b"1 +", b""]


def binary(vectors: dict, newline: bytes = b"") -> bytes:
    "Return vectors in word2vec's binary format."
    dim = len(next(iter(vectors.values())))
    return (b"%d %d\n" % (len(vectors), dim)
            + b"".join(word.encode() + b" " + np.asarray(v, "<f4").tobytes() + newline
                       for word, v in vectors.items()))


def text(vectors: dict, header: bool = True) -> bytes:
    "Return vectors as word2vec or GloVe text; float32 numbers survive it exactly."
    dim = len(next(iter(vectors.values())))
    lines = [f"{word} {' '.join(repr(float(x)) for x in v)}\n" for word, v in vectors.items()]
    return ((f"{len(vectors)} {dim}\n" if header else "") + "".join(lines)).encode()


def vec(*words: str, first: str | None = None, end: str = "\n") -> bytes:
    "Return word2vec text with `ROWS` and these words; all numbers have a decimal point."
    rows = [*ROWS, *((word, "9.5 9.5 9.5") for word in words)]
    lines = [first or f"{len(rows)} 3", *(f"{word} {numbers}" for word, numbers in rows)]
    return "".join(line + end for line in lines).encode()


def array_file(header: bytes) -> bytes:
    "Return a .npy file with this header."
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(36)


def fails(call) -> str:
    "Return the sentence that a user would read: one paragraph, no traceback."
    with pytest.raises(UserError) as caught: call()
    said = str(caught.value)
    assert "\n" not in said and said[0].isprintable() and said.endswith("."), said
    return said


def put(folder: Path, name: str, content: bytes) -> Path:
    "Write a file and return its path."
    path = Path(folder)/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
