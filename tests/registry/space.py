"""A home with an operator, two providers and a consumer, and files to upload, for tests of acts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import new_id

SAMPLES = Path(home.__file__).parent / "samples"
ORGANISATIONS = (
    ("运营中心", ("operator",)),
    ("市立医院", ("provider",)),
    ("Second Clinic", ("provider", "consumer")),
    ("保险公司", ("consumer",)),
)


@dataclass(frozen=True, slots=True)
class Space:
    """An open home and a caller for each of its organisations."""

    home: home.Home
    operator: Caller
    hospital: Caller
    clinic: Caller
    insurer: Caller

    def run(self, name: str, caller: Caller, ask: object) -> Any:
        """The reply of an act."""
        return self.home.run(name, caller, ask).reply

    def upload(self, caller: Caller, content: bytes | Path, name: str) -> str:
        """The id of a file put where uploads are put."""
        made = new_id("upl", self.home.node.clock.now_ms())
        key = f"uploads/{caller.org}/{made}"
        given = content if isinstance(content, bytes) else content.read_bytes()
        self.home.node.blobs.room(key).write_bytes(given)
        self.home.node.blobs.room(f"{key}.name").write_text(name, encoding="utf-8")
        return made

    def refused(self, name: str, caller: Caller, ask: object) -> Refused:
        """The refusal of an act, which leaves the log and the tables as they were."""
        before = self.entries(), self.tables()
        with pytest.raises(Refused) as refused:
            self.run(name, caller, ask)
        assert (self.entries(), self.tables()) == before
        return refused.value

    def entries(self) -> int:
        """The number of log entries."""
        return len(self.facts())

    def facts(self) -> list[dict[str, Any]]:
        """What each entry of the log says, the newest first."""
        from dujiang.ledger import store

        with self.home.node.database.reading() as db:
            return [record.facts for record in store.page(db, 2**53, 1000)]

    def tables(self) -> list[str]:
        """Every file below the registered tables."""
        root = self.home.node.blobs.path("tables")
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@contextmanager
def opened(path: Path) -> Iterator[Space]:
    """A new space in a folder, closed at the end."""
    made, organisations = home.create(path / "home", list(ORGANISATIONS), "data.example.org")
    try:
        callers = [Caller(each["org"], each["person"], frozenset(each["roles"])) for each in organisations]
        yield Space(made, *callers)
    finally:
        made.close()


def patients(encoding: str = "utf-8", people: int = 60, salt: int = 1) -> bytes:
    """A table of visits with Chinese headers, up to 4 rows a person."""
    chance = random.Random(salt)
    lines = ["编号,性别,体重,就诊日期,备注"]
    for person in range(people):
        for visit in range(1 + person % 4):
            kg = 45 + chance.randrange(500) / 10
            sex = "男" if person % 2 else "女"
            lines.append(f"P{person:05d},{sex},{kg},2024-0{1 + visit}-1{person % 10},机密{person}-{visit}")
    return ("\n".join(lines) + "\n").encode(encoding)
