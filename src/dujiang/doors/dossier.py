"""Evidence as files: the bundle of a contract or a period, and the story of one life with its receipts.

1. A bundle needs none of our programs: receipts, tlog-proofs and their entries, both heads, the keys, the proof that
   the log only grew, and a verifier of its own on Python's standard library and `openssl`.
2. The same entries under the same head give the same bytes, as a folder and as a `.zip`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors import entries, show
from dujiang.doors.flow import OUT_FAILED, write_receipt
from dujiang.doors.local import Answer, Client, Options, opened
from dujiang.doors.verbs import Deed
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.ledger import proof

DOSSIER_EXISTS = Code(
    "dossier_exists", 409, Exit.conflict,
    "There is something in this place already.", "Name a folder that is empty or not there yet, or a new .zip file.",
    "该位置已有内容。", "请指定空的或尚不存在的目录，或新的 .zip 文件。",
)  # fmt: skip
CODES = (DOSSIER_EXISTS,)
_AT = (1980, 1, 1, 0, 0, 0)
_PER_FOLDER = 1000
_DONE = {
    "en": "{count} entries, proved under a tree of {size}: {path}",
    "zh": "{count} 条存证，在长度为 {size} 的树下均可证明：{path}",
}
Put = Callable[[str, bytes], None]


def export(
    *,
    contract: str | None = None,
    about: str | None = None,
    since: str | None = None,
    until: str | None = None,
    out: Path,
) -> Deed:
    """Write an evidence bundle that verifies without this program, as a folder or a .zip file.

    Parameters
    ----------
    contract
        A contract: its negotiation, its questions, its bills.
    about
        Any other id: of a question, a product, a bill.
    since
        Only entries of this UTC day (2026-11-24) or instant (2026-11-24T12:00:00Z) and later.
    until
        Only entries up to this UTC day, all of it, or before this instant.
    out
        The folder to make, or a file that ends in .zip.
    """
    named = {"contract": contract, "about": about, "since": since, "until": until}
    ask = {name: value for name, value in named.items() if value is not None}

    def deed(options: Options) -> Answer:
        with opened(options) as client:
            first = client.run(ACTS["ledger.export"], ask)
            if first.exit:
                return first
            with _place(out) as put:
                count = _bundle(client, ask, first.body, put)
        said = {"file": str(out), "entries": count, "size": first.body["size"]}
        show.say(_DONE[options.language].format(count=count, size=first.body["size"], path=out))
        return Answer(said, human={})

    return deed


def replay(id: str, *, out: Path | None = None) -> Deed:
    """Follow one question, negotiation or contract from its first entry on.

    Parameters
    ----------
    id
        A question (job_…), a negotiation (neg_…), a contract (ctr_…), or any other id entries name.
    out
        A folder for the receipts of its entries, which `dujiang verify` checks.
    """

    def deed(options: Options) -> Answer:
        whole: dict[str, Any] = {}
        with opened(options) as client:
            after: int | None = -1
            while after is not None:
                page = client.run(ACTS["ledger.replay"], {"id": id, "after": after})
                if page.exit:
                    return page
                whole = {**page.body, "steps": [*whole.get("steps", ()), *page.body["steps"]]}
                after = page.body.get("next")
            human = None if options.json else entries.replayed(client, whole, options.language)
        if out is not None:
            try:
                out.mkdir(mode=0o700, parents=True, exist_ok=True)
                for step in whole["steps"]:
                    write_receipt(step["receipt"], out / f"{int(step['index']):09d}.json")
            except OSError:
                raise Unavailable(OUT_FAILED) from None
            whole["file"] = str(out)
        return Answer(whole, human=human)

    return deed


def _bundle(client: Client, ask: Mapping[str, Any], page: Mapping[str, Any], put: Put) -> int:
    """How many entries a bundle has, now that it is written."""
    sums: list[str] = []
    count, first = 0, page

    def keep(name: str, raw: bytes) -> None:
        put(name, raw)
        sums.append(f"{hashlib.sha256(raw).hexdigest()}  {name}\n")

    def prove(name: str, receipt: Mapping[str, Any]) -> None:
        text, entry = proof.of_receipt(receipt)
        told = json.dumps(receipt, ensure_ascii=False, indent=1, sort_keys=True)
        keep(f"{name}.json", told.encode() + b"\n")
        keep(f"{name}.tlog-proof", text.encode())
        keep(f"{name}.entry", entry)

    for place, receipt in enumerate(first.get("kept") or ()):
        prove(f"kept/{place:03d}-{int(receipt['index']):09d}", receipt)
    while True:
        for receipt in page["receipts"]:
            count += 1
            index = int(receipt["index"])
            prove(f"entries/{index // _PER_FOLDER:06d}/{index:09d}", receipt)
        if page.get("next") is None:
            break
        more = client.run(ACTS["ledger.export"], {**ask, "after": page["next"], "size": first["size"]})
        if more.exit:
            raise Unavailable(OUT_FAILED)
        page = more.body
    # An empty bundle has but one head.
    old = first.get("first_checkpoint") or first["checkpoint"]
    keep("checkpoint", first["checkpoint"].encode())
    keep("checkpoint.first", old.encode())
    keep("consistency", "".join(f"{line}\n" for line in first.get("consistency") or ()).encode())
    keep("vkeys", "".join(f"{key}\n" for key in first["vkeys"]).encode())
    keep("verify.py", Path(__file__).with_name("alone.py").read_bytes())
    keep("README.md", _readme(ask, count, first).encode())
    put("SHA256SUMS", "".join(sums).encode())
    return count


@contextmanager
def _place(out: Path) -> Iterator[Put]:
    """What writes a file of the bundle by its name.

    Raises: Refused dossier_exists; Unavailable out_failed.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise Refused(DOSSIER_EXISTS)
    try:
        if out.suffix.lower() != ".zip":
            yield lambda name, raw: _file(out / name, raw)
            return
        draft = out.with_name(f".{out.name}.part")
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
            yield lambda name, raw: _packed(packed, name, raw)
        draft.chmod(0o600)
        draft.replace(out)
    except OSError:
        raise Unavailable(OUT_FAILED) from None


def _file(place: Path, raw: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.write_bytes(raw)
    place.chmod(0o600)


def _packed(packed: zipfile.ZipFile, name: str, raw: bytes) -> None:
    one = zipfile.ZipInfo(name, _AT)
    one.compress_type, one.external_attr, one.create_system = zipfile.ZIP_DEFLATED, 0o600 << 16, 3
    packed.writestr(one, raw)


def _readme(ask: Mapping[str, Any], count: int, page: Mapping[str, Any]) -> str:
    asked = ", ".join(f"{name} {value}" for name, value in ask.items()) or "everything its reader may see"
    keys = "\n".join(f"    {key}" for key in page["vkeys"])
    text = (Path(__file__).parent / "templates" / "bundle.md").read_text(encoding="utf-8")
    return text.format(asked=asked, count=count, size=page["size"], keys=keys)
