"""Certificates: anybody verifies them, nobody alters them, and the register says what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey

from dujiang.identity import acts as identity
from dujiang.identity import rules as keys
from dujiang.kernel.act import NOBODY
from dujiang.kernel.canonical import canonical, sha256_hex
from dujiang.registry import acts, wire
from dujiang.registry.right import Basis, DataClass, Limits, Right
from tests.life import Life, opened

HOSPITAL, INSURER, RIVAL = "市立医院", "保险公司", "Rival Clinic"
_salt = iter(range(500, 10_000))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file; each brings content of its own."""
    with opened(tmp_path_factory.mktemp("certificates")) as made:
        yield made


def registered(life: Life, **said: Any) -> acts.Registration:
    """A resource of the hospital with content of its own."""
    upload = life.upload(life.hospital, next(_salt))
    return life.run("registry.register", life.hospital, acts.Register(upload, "编号", **said))


def exported(life: Life, name: str, holder: Any = None) -> str:
    """The certificate of a version or a grant, by default of the hospital."""
    return life.run("registry.export", holder or life.hospital, acts.Export(name)).certificate


def issuer_of(life: Life) -> dict[str, Any]:
    """The DID document of who signs the register's certificates, as anybody gets it."""
    return life.run("identity.show", NOBODY, identity.Show(HOSPITAL)).did_document


def claims_of(text: str) -> dict[str, Any]:
    """What a certificate says, unverified."""
    return json.loads(keys.decode(text.split(".")[1]))


def forged(text: str, **changes: Any) -> str:
    """A certificate with other members of its subject, signed by a key of the forger's, which it carries."""
    own = Ed25519PrivateKey.generate()
    header = keys.header_of(text) or {}
    header["jwk"] = wire.jwk(own.public_key().public_bytes_raw())
    claims = claims_of(text)
    claims["credentialSubject"] |= changes
    first = f"{keys.encode(canonical(header))}.{keys.encode(canonical(claims))}"
    return f"{first}.{keys.encode(own.sign(first.encode()))}"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_an_outside_jose_library_verifies_it_with_the_issuer_s_did_document(life: Life) -> None:
    made = registered(life)
    text = exported(life, made.version)
    jwk = issuer_of(life)["verificationMethod"][0]["publicKeyJwk"]
    read = jws.deserialize_compact(text, OKPKey.import_key(jwk), algorithms=["EdDSA"])
    assert json.loads(read.payload) == claims_of(text)
    other = OKPKey.generate_key("Ed25519", private=False)
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(text, other, algorithms=["EdDSA"])


def test_it_states_holder_rights_case_and_ground_and_nothing_measured(life: Life) -> None:
    made = registered(life, basis=Basis.authorised, data_class=DataClass.important)
    claims = claims_of(exported(life, made.version))
    subject = claims["credentialSubject"]
    assert subject["id"] == life.did(life.hospital)
    assert [each["right"] for each in subject["rights"]] == ["hold", "use", "operate"]
    assert [each["name"] for each in subject["rights"]] == ["数据持有权", "数据使用权", "数据经营权"]
    (case,) = subject["cases"]
    assert (case["number"], case["kind"], case["holder"]) == (
        made.registration,
        "first",
        life.did(life.hospital),
    )
    assert (subject["sourceBasis"], subject["dataClass"], subject["state"]) == (
        "authorised",
        "important",
        "registered",
    )
    assert int(claims["validUntil"][:4]) == int(claims["validFrom"][:4]) + 5
    said = json.dumps(subject["schema"])
    assert not {"lo", "hi", "keys", "distinct_max", "rows"} & set(json.loads(said)[0])


def test_a_grant_s_certificate_leads_from_the_registration_to_its_holder(life: Life) -> None:
    made = registered(life)
    first = acts.Grant(
        made.resource, RIVAL, Right.operate, onward=True, purposes=("analyse",), scope="仅限研究"
    )
    above = life.run("registry.grant", life.hospital, first)
    below = life.run(
        "registry.grant",
        life.rival,
        acts.Grant(made.resource, INSURER, Right.operate, limits=Limits(group_min=20)),
    )
    claims = claims_of(exported(life, below.grant, life.insurer))
    subject = claims["credentialSubject"]
    assert claims["type"][1] == wire.GRANT
    assert (subject["id"], subject["right"], subject["state"]) == (life.did(life.insurer), "operate", "live")
    path = [(each["by"], each["from"], each["to"]) for each in subject["chain"]]
    hospital, rival, insurer = map(life.did, (life.hospital, life.rival, life.insurer))
    assert path == [
        ("registration", hospital, hospital),
        ("grant", hospital, rival),
        ("grant", rival, insurer),
    ]
    assert [each["purposes"] for each in subject["chain"]] == [None, ["analyse"], ["analyse"]]
    assert subject["chain"][2]["limits"]["group_min"] == 20
    assert life.refused("registry.export", life.insurer, acts.Export(above.grant)) == "not_found"
    life.run("registry.revoke", life.hospital, acts.Revoke(above.grant))
    late = claims_of(exported(life, below.grant, life.insurer))["credentialSubject"]
    assert late["state"] == "ended" and [bool(each["ended"]) for each in late["chain"]] == [False, True, True]


def test_every_change_of_a_byte_is_seen(life: Life) -> None:
    text = exported(life, registered(life).version)
    public = keys.decode(issuer_of(life)["verificationMethod"][0]["publicKeyJwk"]["x"])
    assert wire.examine(text, public).ok and wire.examine(text, None).ok
    for at in range(0, len(text), 37):
        sign = "A" if text[at] != "A" else "B"
        assert not wire.examine(text[:at] + sign + text[at + 1 :], public).ok, at


def test_a_forger_s_own_key_is_never_trusted(life: Life) -> None:
    text = exported(life, registered(life).version)
    fake = forged(text, id=life.did(life.rival))
    public = keys.decode(issuer_of(life)["verificationMethod"][0]["publicKeyJwk"]["x"])
    assert wire.examine(fake, None).ok, "without a pin it is whole, and its issuer is unknown"
    assert wire.examine(fake, public).step == "2 signature"
    assert life.refused("registry.verify", NOBODY, acts.Verify(fake)) == "certificate_unverified"


def test_a_schema_that_is_not_the_hashed_one_is_seen(life: Life) -> None:
    text = exported(life, registered(life).version)
    fake = forged(text, schema=[{"name": "a", "kind": "text"}])
    assert wire.examine(fake, None).step == "4 schema"
    columns = [{"name": "a", "kind": "text"}]
    assert wire.examine(forged(text, schema=columns, schemaSha256=sha256_hex(columns)), None).ok


@pytest.mark.parametrize("text", ["", "a.b.c", "..", "e30.e30.e30", "x" * 600_000, "\ud800.a.b"])
def test_rubbish_is_no_certificate(life: Life, text: str) -> None:
    assert not wire.examine(text, None).ok and not wire.is_certificate(text)


def test_a_certificate_without_a_key_inside_is_checked_by_the_pinned_one_alone(life: Life) -> None:
    """As those signed before certificates carried their issuer's key."""
    claims = claims_of(exported(life, registered(life).version))
    text = life.sign(life.hospital, wire.HEADER, claims)
    public = keys.decode(issuer_of(life)["verificationMethod"][0]["publicKeyJwk"]["x"])
    assert wire.examine(text, public).ok and not wire.examine(text, None).ok
    assert life.run("registry.verify", NOBODY, acts.Verify(text)).stands


def test_another_signed_text_of_the_operator_is_no_certificate(life: Life) -> None:
    """A message or agreement carries the same key's signature and must not pass for a registration."""
    jwk = wire.jwk(keys.decode(issuer_of(life)["verificationMethod"][0]["publicKeyJwk"]["x"]))
    headers: tuple[dict[str, object], ...] = ({"typ": "agreement+jws"}, {"typ": "vc+jwt", "jwk": jwk})
    for header in headers:
        text = life.sign(life.hospital, header, {"credentialSubject": {"id": "x"}, "issuer": "y"})
        assert not wire.examine(text, None).ok
        assert life.refused("registry.verify", NOBODY, acts.Verify(text)) == "certificate_unverified"


def test_the_register_says_what_became_of_it(life: Life) -> None:
    def state(text: str) -> tuple[bool, str]:
        said = life.run("registry.verify", NOBODY, acts.Verify(text))
        return said.stands, said.state

    salt = next(_salt)
    ask = acts.Register(life.upload(life.hospital, salt), "编号")
    made = life.run("registry.register", life.hospital, ask)
    grant = life.run("registry.grant", life.hospital, acts.Grant(made.resource, INSURER, Right.use))
    first, right = exported(life, made.version), exported(life, grant.grant)
    assert (state(first), state(right)) == ((True, "registered"), (True, "live"))
    life.run("registry.transfer", life.hospital, acts.Transfer(made.resource, RIVAL))
    assert (state(first), state(right)) == ((False, "transferred"), (True, "live"))
    second = exported(life, made.version, life.rival)
    assert claims_of(second)["credentialSubject"]["cases"][-1]["from"] == life.did(life.hospital)
    assert state(second) == (True, "registered")
    life.run("registry.withdraw", life.rival, acts.Withdraw(made.resource))
    assert (state(second), state(right)) == ((False, "withdrawn"), (False, "ended"))
    again = acts.Register(life.upload(life.rival, salt), "编号")
    third = life.run("registry.register", life.rival, again)
    assert state(exported(life, third.version, life.rival)) == (True, "registered")
    assert state(second) == (False, "withdrawn"), "registered again is another registration"


def test_a_key_is_read_from_every_usual_form(life: Life) -> None:
    document = issuer_of(life)
    jwk = document["verificationMethod"][0]["publicKeyJwk"]
    raw = keys.decode(jwk["x"])
    number, digits = int.from_bytes(b"\xed\x01" + raw, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[rest] + digits
    forms = (jwk["x"], json.dumps(jwk), json.dumps(document), json.dumps({"did_document": document}))
    for text in (*forms, f"did:key:z{digits}", f"{jwk['x']}\n"):
        assert wire.public_of(text) == raw
    known = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"  # W3C did:key test vector
    assert wire.public_of(known) is not None
    for text in (
        "",
        "{}",
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",
        "did:web:x",
        "AAAA",
        "[]",
    ):
        assert wire.public_of(text) is None
