"""Verifies the evidence bundle it lies in: needs Python 3.10, its standard library and `openssl`, nothing else.

    python3 verify.py [--vkey 'NAME+HEX+BASE64']

1. Every receipt: each opened fact and its salt give the commitment in the entry, SHA-256(salt, JSON of [field, value]).
2. The entry's hash and the path lead to the root of the checkpoint (RFC 6962). 3. The checkpoint is signed by a key
of `vkeys`. 4. The first checkpoint's tree is a prefix of the last one's. Whose the keys are it cannot know: hold the
keys it prints against those you were given by another way, or name one with --vkey.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
from decimal import Decimal
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent


def sha(*parts: bytes) -> bytes:
    """The SHA-256 of the parts, one after another."""
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value: Any) -> str:
    """JSON by RFC 8785."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(canonical(key) + ":" + canonical(value[key]) for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e21:
            return str(int(value))
        mantissa, _, exponent = repr(value).partition("e")
        if 1e-6 <= abs(value) < 1e21:
            return format(Decimal(repr(value)), "f")
        return f"{mantissa.removesuffix('.0')}e{int(exponent or 0):+d}"
    return json.dumps(value, ensure_ascii=False)


def root_by(leaf: bytes, index: int, size: int, path: "list[bytes]") -> bytes:
    """The root an inclusion path leads to (RFC 9162, 2.1.3.2)."""
    place, last, current = index, size - 1, leaf
    for step in path:
        if last == 0:
            return b""
        if place & 1 or place == last:
            current = sha(b"\1", step, current)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            current = sha(b"\1", current, step)
        place, last = place >> 1, last >> 1
    return current if last == 0 else b""


def grown(old: int, new: int, old_root: bytes, new_root: bytes, proof: "list[bytes]") -> bool:
    """Whether a tree of `old` entries is a prefix of one of `new` (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0] if path else b""
    for step in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = sha(b"\1", step, first), sha(b"\1", step, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = sha(b"\1", second, step)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def signers(note: str, keys: "list[str]") -> "list[str]":
    """The keys (vkey lines) with a true Ed25519 signature under a checkpoint; a false one ends everything."""
    text, _, lines = note.rpartition("\n\n")
    found: list[str] = []
    for line in lines.splitlines():
        _, name, raw = line.split(" ")
        data = base64.b64decode(raw)
        for key in keys:
            named, number, kind_public = key.split("+", 2)
            public = base64.b64decode(kind_public)
            if (named, bytes.fromhex(number)) != (name, data[:4]) or public[0] not in (1, 4):
                continue
            message, signature = text.encode() + b"\n", data[4:]
            if public[0] == 4:  # the cosignature of a witness, with its time
                stamp = int.from_bytes(data[4:12], "big")
                message, signature = f"cosignature/v1\ntime {stamp}\n".encode() + message, data[12:]
            if not openssl(public[1:], message, signature):
                sys.exit(f"FAILED: the signature of {name} under a checkpoint is false")
            found.append(key)
    return found


def openssl(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature is true, by `openssl pkeyutl`."""
    with tempfile.TemporaryDirectory() as folder:
        names = [str(pathlib.Path(folder, name)) for name in ("key", "message", "signature")]
        parts = (bytes.fromhex("302a300506032b6570032100") + public, message, signature)
        for name, raw in zip(names, parts, strict=True):
            pathlib.Path(name).write_bytes(raw)
        line = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", names[0], "-rawin"]
        line += ["-in", names[1], "-sigfile", names[2]]
        return subprocess.run(line, capture_output=True).returncode == 0


def receipt_fails(receipt: "dict[str, Any]", root: bytes, size: int) -> str:
    """What is wrong with a receipt, or nothing."""
    leaf = json.loads(receipt["leaf"])
    for field, told in receipt["opened"].items():
        if told.get("erased") is True and field in leaf["commitments"]:
            continue
        pair = canonical([field, told["value"]]).encode()
        if leaf["commitments"].get(field) != sha(bytes.fromhex(told["salt"]), pair).hex():
            return f"the fact {field} is not what was committed to"
    path = [base64.b64decode(step) for step in receipt["path"]]
    if root_by(sha(b"\0", receipt["leaf"].encode()), receipt["index"], size, path) != root:
        return "the path does not lead to the root"
    return ""


def main(words: "list[str]") -> None:
    """Nothing; prints what was verified, or ends with what was not."""
    pinned = words[words.index("--vkey") + 1] if "--vkey" in words else None
    keys = (HERE / "vkeys").read_text().split()
    if pinned is not None and pinned not in keys:
        sys.exit("FAILED: the key you expect is not among those of this bundle")
    heads = [(HERE / name).read_text(encoding="utf-8") for name in ("checkpoint.first", "checkpoint")]
    parts = [head.split("\n") for head in heads]
    sizes, roots = [int(part[1]) for part in parts], [base64.b64decode(part[2]) for part in parts]
    signed = [signers(head, keys) for head in heads]
    trusted = [
        [key for key in each if key.split("+")[0] == part[0]]
        for each, part in zip(signed, parts, strict=True)
    ]
    if not all(trusted) or (pinned is not None and pinned not in trusted[1]):
        sys.exit("FAILED: a checkpoint is not signed by a key of this bundle")
    proof = [base64.b64decode(line) for line in (HERE / "consistency").read_text().split()]
    if not grown(sizes[0], sizes[1], roots[0], roots[1], proof):
        sys.exit("FAILED: the last tree does not continue the first one")
    count = 0
    for file in sorted(HERE.glob("entries/*/*.json")):
        receipt = json.loads(file.read_text(encoding="utf-8"))
        if receipt["checkpoint"] != heads[1]:
            sys.exit(f"FAILED: {file.name} names another checkpoint")
        if wrong := receipt_fails(receipt, roots[1], sizes[1]):
            sys.exit(f"FAILED: {file.name}: {wrong}")
        count += 1
    print(f"OK: {count} entries verified under a tree of {sizes[1]} entries, root {roots[1].hex()}")
    print("signed by:", *signed[1], sep="\n  ")
    if pinned is None:
        print("Nobody but this bundle says whose keys these are: give --vkey and one you had by another way.")


if __name__ == "__main__":
    main(sys.argv[1:])
