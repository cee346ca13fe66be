"""A throw-away home for a benchmark: an operator, a hospital that offers its sample table, an insurer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dujiang import home as homes
from dujiang.catalogue import acts as catalogue
from dujiang.contract import acts as contract
from dujiang.doors.data import keep_upload
from dujiang.doors.local import pieces
from dujiang.doors.loops import Loops
from dujiang.doors.profiles import write as write_profiles
from dujiang.kernel.act import Caller
from dujiang.policy.wire import terms_file

_ORGANISATIONS = (
    ("Operator", ("operator", "auditor")), ("Hospital", ("provider",)), ("Insurer", ("consumer",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Space:
    """An open home, who calls in it, and the product they meet over."""

    home: homes.Home
    operator: Caller
    hospital: Caller
    insurer: Caller
    insurer_key: str
    product: str

    def agreed(self) -> str:
        """The id of a contract of the insurer for the product."""
        begun = self.home.run(
            "contract.request", self.insurer, contract.Request(self.product, "analyse")
        ).reply
        Loops(self.home).until_quiet()
        shown = self.home.run("contract.show", self.insurer, contract.Show(begun.contract)).reply
        assert shown.status == "active"
        return shown.contract


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on the disk that bench/ is on, gone afterwards."""
    out = Path(__file__).with_name("out")
    out.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def opened(place: Path, statistics: int = 12, terms: str = "", database: str = "") -> Iterator[Space]:
    """A home in a folder with the sample table offered; `statistics` are what its account holds.

    `terms`: more of its terms, such as a price; `database`: the address of an empty PostgreSQL database.
    """
    home, made = homes.create(place / "home", list(_ORGANISATIONS), database=database)
    try:
        write_profiles(place / "home", made)
        callers = [_known(home.caller_of_key(one["api_key"])) for one in made]
        product = _offered(home, callers[1], statistics, terms)
        yield Space(home, callers[0], callers[1], callers[2], str(made[2]["api_key"]), product)
    finally:
        home.close()


def _offered(home: homes.Home, hospital: Caller, statistics: int, terms: str) -> str:
    samples = resources.files("dujiang") / "samples"
    text = (
        (samples / "clinic.toml").read_text("utf-8").replace("statistics = 12", f"statistics = {statistics}")
    )
    with resources.as_file(samples / "clinic.parquet") as path:
        upload = keep_upload(home, hospital, path.name, pieces(path))
    ask = catalogue.Offer(upload=upload, entity="seqn", terms=terms_file(text + terms))
    reply: Any = home.run("catalogue.offer", hospital, ask).reply
    return str(reply.product)


def _known(caller: Caller | None) -> Caller:
    assert caller is not None
    return caller
