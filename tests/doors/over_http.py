"""A node for the tests of the HTTP doors: two organisations, their keys, the loops, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from dujiang import home
from dujiang.doors import http, journal
from dujiang.doors.loops import Loops
from dujiang.kernel.config import Config

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Node:
    """An open home behind its HTTP application."""

    home: home.Home
    client: TestClient
    made: tuple[dict[str, Any], ...]

    def key(self, which: int) -> dict[str, str]:
        """The header that speaks for the organisation of that number."""
        return {"authorization": f"Bearer {self.made[which]['api_key']}"}

    def post(self, act: str, ask: dict[str, Any], which: int | None = None, **headers: str) -> Any:
        """The response of an act; `which` organisation asks, or nobody."""
        signed = {} if which is None else self.key(which)
        words = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"/v1/{act.replace('.', '/')}", json=ask, headers={**signed, **words})

    def entries(self) -> int:
        """How many entries the log has."""
        return int(self.post("ledger.list", {"limit": 1}, 0).json()["size"])

    def signed_in(self, which: int) -> str:
        """A session of the first person of an organisation."""
        token = self.post("identity.link", {}, which).json()["token"]
        return str(self.post("identity.enter", {"token": token}).json()["session"])


@contextmanager
def node(path: Path, config: Config | None = None, *, loops: bool = False) -> Iterator[Node]:
    """A node of a hospital (operates it, provides) and an insurer (consumes)."""
    opened, made = home.create(
        path / "home", [("医院", ("operator", "provider")), ("Insurer", ("consumer",))], config=config
    )
    running = Loops(opened)
    journal.configure()
    app = http.app(opened)
    try:
        if loops:
            running.start()
        with TestClient(app, follow_redirects=False) as client:
            yield Node(opened, client, tuple(made))
    finally:
        app.state.desk.waits.close()
        running.stop()
        app.state.desk.close()
        opened.close()
