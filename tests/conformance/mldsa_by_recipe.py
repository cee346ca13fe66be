"""Whether an ML-DSA-44 line of a checkpoint is true, by the words of C2SP tlog-cosignature and `cryptography` alone.

    python mldsa_by_recipe.py CHECKPOINT VKEY

It shares no line with the program it judges and is run by another interpreter. Exit 0: true, 1: not.
"""

import base64
import hashlib
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey


def main() -> int:
    """The exit status."""
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        text, _, lines = file.read().partition("\n\n")
    origin, size, root = text.split("\n")[:3]
    name, digits, encoded = sys.argv[2].split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    number = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    assert number.hex() == digits and key[0] == 6, "not an ML-DSA-44 verifier key"
    found = [
        base64.b64decode(line.split(" ")[2]) for line in lines.splitlines() if line.split(" ")[1] == name
    ]
    signed = [raw for raw in found if raw[:4] == number]
    for raw in signed:
        # A record of start and end, both 64 bits: the tree is the subtree from 0.
        message = b"subtree/v1\n\0" + bytes([len(name.encode())]) + name.encode() + raw[4:12]
        message += bytes([len(origin.encode())]) + origin.encode() + struct.pack(">QQ", 0, int(size))
        try:
            MLDSA44PublicKey.from_public_bytes(key[1:]).verify(raw[12:], message + base64.b64decode(root))
        except (InvalidSignature, ValueError):
            return 1
    return 0 if signed else 1


if __name__ == "__main__":
    sys.exit(main())
