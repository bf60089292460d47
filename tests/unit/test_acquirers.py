"""Signatures of both sides, replays, tampering, key files, and the messages."""

from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core import acquirers
from parking_core.acquirers import BillKind, BillLine, SignatureError, SigningKey, Stamp, VerifyingKeys
from parking_core.errors import InvalidInputError, SettingsError
from parking_core.settings import AcquirerSettings

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
NONCE = "0123456789abcdef-_AZ"
BODY = b'{"notice_id":"N1"}'
NOTICE = (
    b'{"notice_id":"N1","order_id":"o","transaction_ref":"T1","amount_fen":500,"currency":"CNY","state":"paid",'
    b'"paid_at":"2026-11-23T12:00:00+08:00"}'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        private, public = acquirers.new_key_pair()
        (made / f"{name}.pem").write_bytes(private)
        (made / f"{name}_public.pem").write_bytes(public)
    (made / "both.pem").write_bytes((made / "a_public.pem").read_bytes() + (made / "b_public.pem").read_bytes())
    return made


@pytest.fixture(scope="module")
def key(folder: Path) -> SigningKey:
    return acquirers.load_signing_key(folder / "a.pem", "KEY")


@pytest.fixture(scope="module")
def public(folder: Path) -> VerifyingKeys:
    return acquirers.load_verifying_keys(folder / "a_public.pem", "PUBLIC")


def test_what_is_signed_is_written_down(key: SigningKey) -> None:
    """The text of the module's head, byte by byte: an acquirer's engineer implements it from there."""
    assert acquirers.request_text("POST", "/v1/orders?x=1", 1_795_406_400, NONCE, b"{}") == (
        b"POST\n/v1/orders?x=1\n1795406400\n0123456789abcdef-_AZ\n{}\n"
    )
    assert acquirers.answer_text(1_795_406_400, NONCE, b"{}") == b"1795406400\n0123456789abcdef-_AZ\n{}\n"
    stamp = key.stamp_answer(BODY, nonce=NONCE, now=NOW)
    assert stamp.headers()["acquirer-timestamp"] == str(int(NOW.timestamp()))
    assert Stamp.of_headers(stamp.headers()) == stamp


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_makes_and_takes_the_same_signatures(folder: Path, tmp_path: Path, key: SigningKey) -> None:
    text = acquirers.answer_text(int(NOW.timestamp()), NONCE, BODY)
    (tmp_path / "text").write_bytes(text)
    theirs = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", folder / "a.pem", tmp_path / "text"], check=True, capture_output=True
    ).stdout
    assert key.sign(text) == theirs, "PKCS#1 v1.5 is deterministic"


def test_answers_and_requests_of_the_other_side_are_taken(key: SigningKey, public: VerifyingKeys) -> None:
    public.verify_answer(BODY, stamp=key.stamp_answer(BODY, nonce=NONCE, now=NOW), now=NOW)
    stamp = key.stamp_request("GET", "/v1/orders/1", b"", nonce=NONCE, now=NOW)
    public.verify_request("GET", "/v1/orders/1", b"", stamp=stamp, now=NOW)
    with pytest.raises(SignatureError):
        public.verify_request("POST", "/v1/orders/1", b"", stamp=stamp, now=NOW)
    with pytest.raises(SignatureError):
        public.verify_request("GET", "/v1/orders/2", b"", stamp=stamp, now=NOW)
    with pytest.raises(SignatureError):
        public.verify_answer(b"", stamp=stamp, now=NOW)


@given(data=st.data())
def test_one_changed_bit_anywhere_is_refused(key: SigningKey, public: VerifyingKeys, data: st.DataObject) -> None:
    stamp = key.stamp_answer(BODY, nonce=NONCE, now=NOW)
    bit = data.draw(st.integers(0, 8 * (len(BODY) + len(stamp.signature)) - 1))
    changed = bytearray(BODY + stamp.signature)
    changed[bit // 8] ^= 1 << bit % 8
    body, signature = bytes(changed[: len(BODY)]), bytes(changed[len(BODY) :])
    with pytest.raises(SignatureError):
        public.verify_answer(body, stamp=Stamp(stamp.timestamp, NONCE, signature), now=NOW)


def test_time_and_nonce_are_signed_too(key: SigningKey, public: VerifyingKeys) -> None:
    stamp = key.stamp_answer(BODY, nonce=NONCE, now=NOW)
    for other in (
        Stamp(stamp.timestamp + 1, NONCE, stamp.signature),
        Stamp(stamp.timestamp, NONCE + "x", stamp.signature),
    ):
        with pytest.raises(SignatureError):
            public.verify_answer(BODY, stamp=other, now=NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_what_was_signed_five_minutes_ago_counts_and_no_longer(
    key: SigningKey,
    public: VerifyingKeys,
    seconds: int,
    taken: bool,  # noqa: FBT001  # a table of cases
) -> None:
    stamp = key.stamp_answer(BODY, nonce=NONCE, now=NOW)
    now = NOW + timedelta(seconds=seconds)
    if taken:
        public.verify_answer(BODY, stamp=stamp, now=now)
        return
    with pytest.raises(SignatureError, match="5 minutes"):
        public.verify_answer(BODY, stamp=stamp, now=now)


def test_a_new_key_is_known_beside_the_old_one(folder: Path) -> None:
    both = acquirers.load_verifying_keys(folder / "both.pem", "PUBLIC")
    for name in ("a", "b"):
        signed = acquirers.load_signing_key(folder / f"{name}.pem", "KEY").stamp_answer(BODY, nonce=NONCE, now=NOW)
        both.verify_answer(BODY, stamp=signed, now=NOW)
    only_b = acquirers.load_verifying_keys(folder / "b_public.pem", "PUBLIC")
    signed = acquirers.load_signing_key(folder / "a.pem", "KEY").stamp_answer(BODY, nonce=NONCE, now=NOW)
    with pytest.raises(SignatureError, match="stranger"):
        only_b.verify_answer(BODY, stamp=signed, now=NOW)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"acquirer-timestamp": ""},
        {"acquirer-timestamp": "-5"},
        {"acquirer-timestamp": "1e9"},
        {"acquirer-timestamp": "٣٣٣"},
        {"acquirer-timestamp": "9" * 12},
        {"acquirer-timestamp": "9" * 400},
        {"acquirer-nonce": "short"},
        {"acquirer-nonce": "x" * 65},
        {"acquirer-nonce": "0123456789abcdef\n"},
        {"acquirer-signature": "not base64"},
        {"acquirer-signature": ""},
        {"acquirer-signature": base64.b64encode(b"x" * 256).decode()},
    ],
)
def test_headers_that_are_no_stamp_are_refused(key: SigningKey, public: VerifyingKeys, spoilt: dict[str, str]) -> None:
    headers = key.stamp_answer(BODY, nonce=NONCE, now=NOW).headers() | spoilt
    with pytest.raises(SignatureError):
        public.verify_answer(BODY, stamp=Stamp.of_headers(headers), now=NOW)


def test_key_files_that_cannot_be_used_are_named_without_their_content(folder: Path, tmp_path: Path) -> None:
    weak = tmp_path / "weak.pem"
    weak.write_bytes(_weak_key())
    (tmp_path / "nonsense.pem").write_text("secret nonsense")
    for name in ("missing.pem", "nonsense.pem", "weak.pem"):
        for load in (acquirers.load_signing_key, acquirers.load_verifying_keys):
            with pytest.raises(SettingsError, match="PARKING_X names") as refusal:
                load(tmp_path / name, "PARKING_X")
            assert "secret" not in str(refusal.value)
    with pytest.raises(SettingsError):
        acquirers.load_verifying_keys(folder / "a.pem", "PARKING_X")
    with pytest.raises(SettingsError):
        acquirers.load_signing_key(folder / "a_public.pem", "PARKING_X")


def _weak_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_notice_says_what_was_paid() -> None:
    notice = acquirers.read_notice(NOTICE)
    assert (notice.transaction_ref, notice.amount_fen) == ("T1", 500)
    assert notice.paid_at == NOW


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"500", b"0"),
        (b"500", b"-500"),
        (b"500", b"5.5"),
        (b"500", b'"500"'),
        (b"500", b"100000001"),
        (b"CNY", b"USD"),
        (b'"paid"', b'"open"'),
        (b"+08:00", b""),
        (b'"T1"', b'"T 1"'),
        (b'"T1"', b'""'),
        (b'"N1"', b'"' + b"N" * 65 + b'"'),
        (NOTICE, b"[]"),
        (NOTICE, b"\xff"),
        (NOTICE, b""),
    ],
)
def test_a_notice_that_says_something_else_is_refused(part: bytes, instead: bytes) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        acquirers.read_notice(NOTICE.replace(part, instead))
    assert "T1" not in str(refusal.value), "the content stays out of the sentence"


def test_a_bill_is_read_as_it_was_written() -> None:
    lines = [
        BillLine(transaction_ref="T1", order_id="o,1", kind=BillKind.PAYMENT, amount_fen=1000, fee_fen=4, at=NOW),
        BillLine(transaction_ref="R1", order_id="o,1", kind=BillKind.REFUND, amount_fen=300, fee_fen=0, at=NOW),
    ]
    assert acquirers.read_bill(acquirers.write_bill(lines)) == lines
    assert acquirers.read_bill(acquirers.write_bill([])) == []
    with pytest.raises(InvalidInputError, match="Line 3"):
        acquirers.read_bill(acquirers.write_bill(lines).replace("R1,", ","))


def test_settings_are_off_until_all_are_there() -> None:
    environ = {"PARKING_ACQUIRER_URL": "https://pay.example/api/", "PARKING_ACQUIRER_KEY_FILE": "k"}
    settings = AcquirerSettings.from_environ(environ)
    assert (settings.code, settings.url) == ("acq", "https://pay.example/api")
    assert settings.missing() == ("PARKING_ACQUIRER_PUBLIC_KEY_FILE",)
    full = AcquirerSettings.from_environ(
        environ | {"PARKING_ACQUIRER_PUBLIC_KEY_FILE": "p", "PARKING_ACQUIRER": "bank-1"}
    )
    assert (full.missing(), full.code) == ((), "bank-1")
    assert AcquirerSettings.from_environ({"PARKING_ACQUIRER_URL": "http://127.0.0.1:8090"}).url


@pytest.mark.parametrize(
    "environ",
    [
        {"PARKING_ACQUIRER_URL": "http://pay.example"},
        {"PARKING_ACQUIRER_URL": "ftp://pay.example"},
        {"PARKING_ACQUIRER_URL": "https://pay.example:0"},
        {"PARKING_ACQUIRER": "Ac Q"},
        {"PARKING_ACQUIRER": "a" * 33},
    ],
)
def test_settings_that_cannot_be_used_are_named(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(environ))):
        AcquirerSettings.from_environ(environ)
