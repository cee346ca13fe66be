"""How the log stands, for the page: which keys sign it, how long records are kept, who cosigns; everybody may know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dujiang.home import Home
from dujiang.ledger import keyring, retaining, witnessing
from dujiang.ledger.model import DAY_MS, LogKey


def of(home: Home) -> dict[str, Any]:
    """The name and size of the log, its keys (two while one is rotated), the retention policy and the witnesses."""
    now_ms = home.node.clock.now_ms()
    with home.node.database.reading() as db:
        ring, disowned = keyring.overview(db)
        stand = witnessing.overview(db, now_ms)
        published = retaining.policies(db)
    coming = [each for each in published if each.time_ms > now_ms - retaining.NOTICE_DAYS * DAY_MS]
    return {
        "origin": ring[-1].origin if ring else home.book.origin,
        "size": stand.size,
        "keys": [{"vkey": keyring.vkey(key), "until": _day(key.until_ms)} for key in ring],
        "disowned": [{"key": _short(key), "beyond": key.disowned} for key in disowned],
        "days": retaining.days_of(published, now_ms),
        "coming": [
            {"days": each.days, "from": _day(each.time_ms + retaining.NOTICE_DAYS * DAY_MS)} for each in coming
        ],
        "least": stand.least, "witnesses": len(stand.witnesses), "cosigned": stand.cosigned, "fresh": stand.fresh,
    }  # fmt: skip


def _short(key: LogKey) -> str:
    """A key as people name it: all of its verifier key but the key itself."""
    return "+".join(keyring.vkey(key).split("+")[:2])


def _day(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
