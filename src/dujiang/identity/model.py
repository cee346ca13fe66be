"""Words of 身份 (identity): organisation, person, API key, session.

1. An organisation has one DID (did:web under the home's authority, chosen once) and one signing key.
2. Roles belong to people and keys, never to an organisation as such; nobody grants more than they have.
3. Somebody can always act for an organisation, and somebody operate the home.
4. Of secrets only hashes are kept: argon2id of passwords, SHA-256 of random keys, sessions and links.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit


class Role(StrEnum):
    """What a person or key may do (角色)."""

    provider = "provider"
    """提供方: offers data."""
    consumer = "consumer"
    """使用方: agrees contracts and asks."""
    operator = "operator"
    """运营方: admits organisations, sees the whole log."""
    auditor = "auditor"
    """监管方: sees the whole log, changes nothing."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation (机构) of this home."""

    id: str
    name: str
    did: str
    public: bytes
    """Ed25519 public key, 32 bytes."""
    sealed: bytes
    """Its private key, sealed by the vault."""
    operator: bool


@dataclass(frozen=True, slots=True)
class Person:
    """A person who acts for an organisation (经办人)."""

    id: str
    org: str
    name: str
    roles: tuple[str, ...]
    password: str | None
    """argon2id hash, or None: no password sign-in."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key; its secret is known to its holder only."""

    id: str
    org: str
    person: str
    roles: tuple[str, ...]
    revoked: bool


NAME_TAKEN = Code(
    "name_taken", 409, Exit.conflict,
    "That name is taken.", "Choose another name.",
    "该名称已被使用。", "请另选名称。",
)  # fmt: skip
NAME_UNFIT = Code(
    "name_unfit", 400, Exit.usage,
    "A name has 1 to 100 printable characters.", "Shorten it or remove control characters.",
    "名称应为 1 至 100 个可见字符。", "请缩短名称或去掉控制字符。",
)  # fmt: skip
ROLE_UNKNOWN = Code(
    "role_unknown", 400, Exit.usage,
    "A role is one of {known}.", "Choose among them.",
    "角色只能是下列之一：{known}。", "请从中选择。",
)  # fmt: skip
ROLE_BEYOND = Code(
    "role_beyond", 403, Exit.refused,
    "Nobody grants or revokes a role they do not have.", "Ask somebody of your organisation who has the role.",
    "不能授予或吊销自己没有的角色。", "请由本机构具有该角色的人员操作。",
)  # fmt: skip
BAD_LOGIN = Code(
    "bad_login", 401, Exit.refused,
    "The sign-in is not valid.",
    "Check organisation, name and password; after several failures wait a while, or ask for a new link.",
    "登录无效。", "请检查机构、姓名和密码；多次失败后请稍候再试，或重新获取登录链接。",
)  # fmt: skip
PASSWORD_SHORT = Code(
    "password_short", 400, Exit.usage,
    "A password has 12 to 200 characters.", "Choose a longer one; a sentence is good.",
    "密码应为 12 至 200 个字符。", "请使用更长的密码，例如一句话。",
)  # fmt: skip
NOT_SIGNED_IN = Code(
    "not_signed_in", 401, Exit.refused,
    "This needs a valid key or session.", "Give an API key (Authorization: Bearer …) or sign in.",
    "此操作需要有效的密钥或会话。", "请提供 API 密钥（Authorization: Bearer …）或登录。",
)  # fmt: skip
LAST_OPERATOR = Code(
    "last_operator", 409, Exit.conflict,
    "Nobody else could operate this home then.", "Give another person the role operator first.",
    "这样将无人可以运营本节点。", "请先为另一人员授予 operator 角色。",
)  # fmt: skip
LAST_PERSON = Code(
    "last_person", 409, Exit.conflict,
    "Nobody else could act for this organisation then.", "Invite another person first.",
    "这样将无人可以代表本机构。", "请先邀请另一人员。",
)  # fmt: skip
CODES = (
    NAME_TAKEN, NAME_UNFIT, ROLE_UNKNOWN, ROLE_BEYOND, BAD_LOGIN, PASSWORD_SHORT, NOT_SIGNED_IN, LAST_OPERATOR,
    LAST_PERSON,
)  # fmt: skip
