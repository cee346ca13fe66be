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
    province: str = ""
    """Where it sits: two digits of GB/T 2260, or empty where it does not say."""
    sector: str = ""
    """Its field: a section letter of GB/T 4754-2017, or empty where it does not say."""

    def counted(self, to: Organisation | None = None, **facts: str | int) -> dict[str, str | int]:
        """What an entry tells the figures: this side, the side data flow `to`, and the given facts.

        Quantities are those of `ledger.model.QUANTITIES`; empty texts are left out.
        """
        told: dict[str, str | int] = {
            "from": self.id,
            "from_province": self.province,
            "from_sector": self.sector,
        }
        if to is not None:
            told |= {"to": to.id, "to_province": to.province, "to_sector": to.sector}
        return {name: value for name, value in (told | facts).items() if value != ""}


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
    made_by: str | None = None
    """The key that asked for it: it ends with that one."""


PROVINCES: dict[str, tuple[str, str]] = {
    "11": ("Beijing", "北京"), "12": ("Tianjin", "天津"), "13": ("Hebei", "河北"), "14": ("Shanxi", "山西"),
    "15": ("Inner Mongolia", "内蒙古"), "21": ("Liaoning", "辽宁"), "22": ("Jilin", "吉林"),
    "23": ("Heilongjiang", "黑龙江"), "31": ("Shanghai", "上海"), "32": ("Jiangsu", "江苏"),
    "33": ("Zhejiang", "浙江"), "34": ("Anhui", "安徽"), "35": ("Fujian", "福建"), "36": ("Jiangxi", "江西"),
    "37": ("Shandong", "山东"), "41": ("Henan", "河南"), "42": ("Hubei", "湖北"), "43": ("Hunan", "湖南"),
    "44": ("Guangdong", "广东"), "45": ("Guangxi", "广西"), "46": ("Hainan", "海南"), "50": ("Chongqing", "重庆"),
    "51": ("Sichuan", "四川"), "52": ("Guizhou", "贵州"), "53": ("Yunnan", "云南"), "54": ("Tibet", "西藏"),
    "61": ("Shaanxi", "陕西"), "62": ("Gansu", "甘肃"), "63": ("Qinghai", "青海"), "64": ("Ningxia", "宁夏"),
    "65": ("Xinjiang", "新疆"), "71": ("Taiwan", "台湾"), "81": ("Hong Kong", "香港"), "82": ("Macao", "澳门"),
}  # fmt: skip
"""Provincial divisions (省级行政区), GB/T 2260: two digits, English and Chinese short name."""
SECTORS: dict[str, tuple[str, str]] = {
    "A": ("Agriculture, forestry, fishery", "农、林、牧、渔业"), "B": ("Mining", "采矿业"),
    "C": ("Manufacturing", "制造业"),
    "D": ("Electricity, heat, gas and water", "电力、热力、燃气及水生产和供应业"), "E": ("Construction", "建筑业"),
    "F": ("Wholesale and retail", "批发和零售业"), "G": ("Transport, storage and post", "交通运输、仓储和邮政业"),
    "H": ("Hotels and catering", "住宿和餐饮业"),
    "I": ("Information transmission and software", "信息传输、软件和信息技术服务业"), "J": ("Finance", "金融业"),
    "K": ("Real estate", "房地产业"), "L": ("Leasing and business services", "租赁和商务服务业"),
    "M": ("Scientific research and technical services", "科学研究和技术服务业"),
    "N": ("Water, environment and public facilities", "水利、环境和公共设施管理业"),
    "O": ("Household services and repair", "居民服务、修理和其他服务业"), "P": ("Education", "教育"),
    "Q": ("Health and social work", "卫生和社会工作"), "R": ("Culture, sports and entertainment", "文化、体育和娱乐业"),
    "S": ("Public administration", "公共管理、社会保障和社会组织"), "T": ("International organisations", "国际组织"),
}  # fmt: skip
"""Sections (门类) of GB/T 4754-2017: letter, English and Chinese title."""

NAME_TAKEN = Code(
    "name_taken", 409, Exit.conflict,
    "That name is taken.", "Choose another name.",
    "该名称已被使用。", "请另选名称。",
)  # fmt: skip
NAME_UNFIT = Code(
    "name_unfit", 400, Exit.usage,
    "A name has 1 to 100 printable characters and is no DID or id.", "Shorten it or remove control characters.",
    "名称应为 1 至 100 个可见字符，且不得为 DID 或编号。", "请缩短名称或去掉控制字符。",
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
PERSON_ACTIVE = Code(
    "person_active", 409, Exit.conflict,
    "This person still acts for the organisation.", "Revoke the person first: `dujiang identity revoke PERSON`.",
    "该人员仍可代表本机构。", "请先吊销该人员：`dujiang identity revoke 人员编号`。",
)  # fmt: skip
PROVINCE_UNKNOWN = Code(
    "province_unknown", 400, Exit.usage,
    "That is no province of GB/T 2260.", "Give its two digits or its short name, for example 35 or Fujian.",
    "这不是 GB/T 2260 中的省级行政区。", "请填写两位代码或简称，例如 35 或 福建。",
)  # fmt: skip
SECTOR_UNKNOWN = Code(
    "sector_unknown", 400, Exit.usage,
    "That is no section of GB/T 4754.", "Give its letter or its title, for example Q.",
    "这不是 GB/T 4754 的门类。", "请填写门类字母或名称，例如 Q。",
)  # fmt: skip
CODES = (
    PROVINCE_UNKNOWN, SECTOR_UNKNOWN,
    NAME_TAKEN, NAME_UNFIT, ROLE_UNKNOWN, ROLE_BEYOND, BAD_LOGIN, PASSWORD_SHORT, NOT_SIGNED_IN,
    LAST_OPERATOR, LAST_PERSON, PERSON_ACTIVE,
)  # fmt: skip
