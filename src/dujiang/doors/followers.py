"""Where a log goes on after its key was changed: a hint for who pinned the one before, and never a reason to trust.

Known from the document of the log's keys that lies beside, from the node that is named or serves the home, or from
the home itself, which is only read. Nobody has to be right about it: whoever pins a key asks its operator.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from dujiang.doors import mirror
from dujiang.doors.local import Answer, Options
from dujiang.kernel.errors import Refused, Unavailable

_STEPS = ("2 signature", "2 key disowned", "4 signature", "5 key disowned")
"""What fails where a key is not the one that signs any more."""
_WAIT_S = 5.0
_NAMED_MAX = 2
"""Two keys sign while one follows the other; whoever names more wants to be believed."""
_HINT = {
    "en": "This log goes on with another key, if what is said here is so: {vkey}. Ask its operator; then pin it "
    "with --vkey. `dujiang ledger keys` shows what vouches for it.",
    "zh": "若此处所述属实，该日志已改用其他密钥：{vkey}。请向其运营方核实后，用 --vkey 指定；"
    "`dujiang ledger keys` 显示其依据。",
}


def hinted(given: Answer, pinned: list[str], document: object, options: Options) -> Answer:
    """The refusal with a hint at the key the log goes on with, where one is known; else as it was.

    `document`: of the log's keys, where it lay beside what was verified.
    """
    if not given.exit or not pinned or not str(given.body.get("step")).startswith(_STEPS):
        return given
    followers = _followers(pinned, _beside(options) if document is None else document)
    if not followers:
        return given
    hint = _HINT[options.language].format(vkey=" ".join(followers))
    return replace(given, body={**given.body, "fix": f"{given.body['fix']} {hint}"})


def _followers(pinned: list[str], document: object) -> list[str]:
    """The keys that sign now, where a pinned one is a key of the same log and signs no longer."""
    from dujiang.ledger import note, trust

    try:
        trust.ends(document)
    except trust.NotKeys:
        return []
    told: list[dict[str, Any]] = document["keys"]  # type: ignore[index]
    signs = {row["vkey"]: row.get("signs") is True for row in told if isinstance(row.get("vkey"), str)}
    own = [signs[line] for line in pinned if line in signs]
    if not own or any(own):
        return []
    try:
        return [note.read_key(line).line for line, now in signs.items() if now][:_NAMED_MAX]
    except note.NotANote:
        return []


def _beside(options: Options) -> object:
    """What the node that is named or serves the home says of its keys, or the home itself; None: nothing does."""
    from dujiang import home

    try:
        url = options.node or home.holder(options.home)
        if url is None:
            return _inside(options)
        with mirror.at(f"{url.rstrip('/').removesuffix('/log')}/log", _WAIT_S) as source:
            return json.loads(source("keys") or b"null")
    except (Refused, Unavailable, ValueError, RecursionError):
        return None


def _inside(options: Options) -> object:
    from dujiang import home
    from dujiang.kernel.shape import plain
    from dujiang.ledger import rekeying
    from dujiang.plugs import migrations

    if not (options.home / "home.json").is_file():
        return None
    place = home.place_of(options.home)
    if place.missing or place.version() != migrations.HEAD:
        return None
    with contextlib.closing(place.opened()) as database, database.reading() as db:
        return json.loads(json.dumps(plain(rekeying.document(db))))
