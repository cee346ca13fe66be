"""Profiles of the command line: one 0600 file per organisation with its API key, in the home."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.plugs.folder import sync_folder

NO_PROFILE = Code(
    "no_profile", 401, Exit.usage,
    "No API key is known here.", "Run `dujiang init`, or set DUJIANG_KEY to a key of your organisation.",
    "此处没有已知的 API 密钥。", "请运行 `dujiang init`，或将 DUJIANG_KEY 设为贵机构的密钥。",
)  # fmt: skip
PROFILE_UNKNOWN = Code(
    "profile_unknown", 404, Exit.usage,
    "No organisation here goes by that name.", "Use one of: {known}.{hint}",
    "此处没有该名称的机构。", "请使用其中之一：{known}。{hint}",
)  # fmt: skip
PROFILE_AMBIGUOUS = Code(
    "profile_ambiguous", 409, Exit.usage,
    "Several organisations begin like that.", "Use one of: {known}.",
    "有多个机构以此开头。", "请使用其中之一：{known}。",
)  # fmt: skip
PROFILE_BROKEN = Code(
    "profile_broken", 500, Exit.failure,
    "A profile file cannot be read or written.", "Run `dujiang doctor`: it names the file.",
    "无法读取或写入配置文件。", "请运行 `dujiang doctor`，它会指出具体文件。",
)  # fmt: skip
CODES = (NO_PROFILE, PROFILE_UNKNOWN, PROFILE_AMBIGUOUS, PROFILE_BROKEN)


@dataclass(frozen=True, slots=True)
class Profile:
    """An organisation of this home and the API key that acts for it."""

    name: str
    did: str
    org: str
    api_key: str
    place: int = 0
    """Its place in `init`; the lowest is the default."""


def write(home: Path, made: Sequence[Mapping[str, str]]) -> list[Profile]:
    """Profiles of fresh organisations, on the disk durably and readable by their owner alone.

    Raises: Unavailable profile_broken.
    """
    folder = home / "profiles"
    fresh = [
        Profile(each["name"], each["did"], each["org"], each["api_key"], place)
        for place, each in enumerate(made, start=len(read(home)))
    ]
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for profile in fresh:
            handle = os.open(folder / f"{profile.org}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(profile), file, ensure_ascii=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
        for place in (folder, home):
            sync_folder(place)
    except OSError:
        raise Unavailable(PROFILE_BROKEN) from None
    return fresh


def read(home: Path) -> list[Profile]:
    """Every profile of a home, the default first; none where there is no home.

    Raises: Unavailable profile_broken.
    """
    try:
        texts = [path.read_text(encoding="utf-8") for path in (home / "profiles").glob("*.json")]
        found = [Profile(**json.loads(text)) for text in texts]
    except (OSError, ValueError, TypeError):
        raise Unavailable(PROFILE_BROKEN) from None
    return sorted(found, key=lambda profile: (profile.place, profile.org))


def choose(known: Sequence[Profile], wanted: str | None) -> Profile:
    """The profile a name, DID, id or unique beginning means; the default without one.

    Raises: Refused no_profile, profile_unknown, profile_ambiguous.
    """
    if not known:
        raise Refused(NO_PROFILE)
    if wanted is None:
        return known[0]
    exact = [each for each in known if wanted in (each.name, each.did, each.org)]
    if len(exact) == 1:
        return exact[0]
    begins = [each for each in known if any(n.startswith(wanted) for n in (each.name, each.did, each.org))]
    if len(begins) == 1:
        return begins[0]
    if begins:
        raise Refused(PROFILE_AMBIGUOUS, known=", ".join(each.name for each in begins))
    names = [each.name for each in known]
    near = difflib.get_close_matches(wanted, names, 1)
    raise Refused(PROFILE_UNKNOWN, known=", ".join(names), hint=f" ({near[0]}?)" if near else "")
