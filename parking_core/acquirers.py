"""Talk with acquirers: what is signed, how, and what their messages say (rules). Nothing here opens a connection.

Both sides sign with RSA (PKCS#1 v1.5, SHA-256) in the manner of the large Chinese acquirers' third generation of
interfaces: we sign requests with our merchant key, the acquirer signs answers and notices with his. Signed is a text of
lines, each ended by a line feed:

    request   METHOD, path with query, timestamp, nonce, body         by us
    answer    timestamp, nonce, body                                  by the acquirer
    notice    timestamp, nonce, body                                  by the acquirer

Headers carry what the text is made of: Acquirer-Timestamp (whole seconds since 1970), Acquirer-Nonce (16 to 64 letters,
digits, - or _), Acquirer-Signature (Base64). A signature older or newer than 5 minutes is refused. Within these 5 minutes
a copy of a notice can be sent again by whoever has it: it says nothing new, because a notice counts once by its number.

Order, answer of a query, notice, refund: JSON; amounts in fen; times RFC 3339. The bill of a day: CSV, one row a
transaction. An adapter of a real acquirer maps his words to these.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, TypeVar
from uuid import UUID  # noqa: TC003  # msgspec reads the annotations of the messages

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import Meta

from parking_core.errors import InvalidInputError, ParkingError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REPLAY_WINDOW: Final = timedelta(
    minutes=5
)  # how far the clocks of both sides may be apart, and how long a copy is worth
SMALLEST_KEY_BITS: Final = 2048
CURRENCY: Final = "CNY"
TIMESTAMP, NONCE, SIGNATURE = "acquirer-timestamp", "acquirer-nonce", "acquirer-signature"

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_LATEST_TIMESTAMP = 253_402_300_800  # the year 10000: no datetime beyond
_END_OF_KEY = b"-----END PUBLIC KEY-----"

Message = TypeVar("Message", bound=msgspec.Struct)
Amount = Annotated[int, Meta(gt=0, le=100_000_000)]  # fen: a million yuan is no parking fee
Reference = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Instant = Annotated[datetime, Meta(tz=True)]


class SignatureError(ParkingError):
    """A message is not signed by whom it claims to be from, or not lately."""

    code = "bad_signature"


class AcquirerState(StrEnum):
    """Where an order stands at the acquirer."""

    OPEN = "open"  # nobody has paid
    PAID = "paid"
    CLOSED = "closed"  # by us, or because its time is over
    REFUNDED = "refunded"  # paid, and given back in part or whole


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/orders`. The same order id asks for the same order again."""

    order_id: UUID
    amount_fen: Amount
    currency: str
    description: str  # what the wallet shows; never a plate
    expires_at: Instant


class OrderAnswer(msgspec.Struct, frozen=True):
    """Answer to a new order, to `GET /v1/orders/{order_id}` and to `POST /v1/orders/{order_id}/close`."""

    order_id: UUID
    state: AcquirerState
    amount_fen: Amount  # ordered; where paid: paid
    currency: str
    code_url: str | None = None  # what the driver's wallet opens, while the order is open
    transaction_ref: Reference | None = None
    paid_at: Instant | None = None


class Notice(msgspec.Struct, frozen=True):
    """What the acquirer calls us with: an order was paid."""

    notice_id: Reference
    order_id: Annotated[str, Meta(min_length=1, max_length=64)]  # a text: he may name one that we never gave
    transaction_ref: Reference
    amount_fen: Amount
    currency: str
    state: AcquirerState
    paid_at: Instant


class RefundRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/refunds`. The same refund id asks for the same refund again."""

    refund_id: UUID
    order_id: UUID
    transaction_ref: Reference
    amount_fen: Amount
    currency: str


class RefundAnswer(msgspec.Struct, frozen=True):
    """What became of a refund."""

    refund_id: UUID
    refund_ref: Reference
    amount_fen: Amount
    refunded_at: Instant


class BillKind(StrEnum):
    """What a row of a bill is about."""

    PAYMENT = "payment"
    REFUND = "refund"


class BillLine(msgspec.Struct, frozen=True):
    """One transaction on the bill of a day; `transaction_ref` of a refund is the refund's own."""

    transaction_ref: Reference
    order_id: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: BillKind
    amount_fen: Amount
    fee_fen: int
    at: Instant


def decode(kind: type[Message], body: bytes) -> Message:
    """A message of its JSON.

    Raises:
        InvalidInputError: it is something else; the sentence names the field, never the content.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"The message of the acquirer cannot be read: {error}.") from error


def read_notice(body: bytes) -> Notice:
    """A notice of a payment.

    Raises:
        InvalidInputError: it is no notice, of another currency, or not of a payment.
    """
    notice = decode(Notice, body)
    if notice.currency != CURRENCY or notice.state is not AcquirerState.PAID:
        raise InvalidInputError(f"The notice must be of state paid in {CURRENCY}.")
    return notice


def read_bill(text: str) -> list[BillLine]:
    """The lines of a day's bill (CSV with a header).

    Raises:
        InvalidInputError: a row cannot be read; the sentence says which.
    """
    lines = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            lines.append(msgspec.convert(row, BillLine, strict=False))
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"Line {number} of the acquirer's bill cannot be read: {error}.") from error
    return lines


def write_bill(lines: list[BillLine]) -> str:
    """The bill as text, the other way round."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(BillLine.__struct_fields__)
    for line in lines:
        writer.writerow(
            (line.transaction_ref, line.order_id, line.kind.value, line.amount_fen, line.fee_fen, line.at.isoformat())
        )
    return file.getvalue()


def request_text(method: str, target: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """What is signed of a request; `target` is path and query as sent."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_text(timestamp: int, nonce: str, body: bytes) -> bytes:
    """What is signed of an answer or a notice."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


@dataclass(frozen=True, slots=True)
class Stamp:
    """The signature of a message with what belongs to it."""

    timestamp: int  # seconds since 1970
    nonce: str
    signature: bytes

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> Stamp:
        """The stamp in a message's headers (names in small letters).

        Raises:
            SignatureError: a header is missing or is not what it must be.
        """
        texts = [headers.get(name, "") for name in (TIMESTAMP, NONCE, SIGNATURE)]
        timestamp, nonce, signature = texts
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12 and _NONCE.fullmatch(nonce)):
            raise SignatureError(
                f"The message is not signed: {TIMESTAMP}, {NONCE} and {SIGNATURE} say by whom and when."
            )
        try:
            decoded = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError) as error:
            raise SignatureError(f"{SIGNATURE} is no Base64.") from error
        return cls(int(timestamp), nonce, decoded)

    def headers(self) -> dict[str, str]:
        """The headers that carry it."""
        return {
            TIMESTAMP: str(self.timestamp),
            NONCE: self.nonce,
            SIGNATURE: base64.b64encode(self.signature).decode(),
        }

    def require_recent(self, now: datetime) -> None:
        """Refuses what was signed too long ago, or in the future.

        Raises:
            SignatureError: `now` is more than REPLAY_WINDOW away.
        """
        if self.timestamp >= _LATEST_TIMESTAMP or abs(self.timestamp - now.timestamp()) > REPLAY_WINDOW.total_seconds():
            minutes = int(REPLAY_WINDOW.total_seconds() // 60)
            raise SignatureError(f"The message was not signed within {minutes} minutes of our clock; set the clocks.")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key."""

    key: rsa.RSAPrivateKey

    def sign(self, text: bytes) -> bytes:
        """Signature of a text."""
        return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def stamp_request(self, method: str, target: str, body: bytes, *, nonce: str, now: datetime) -> Stamp:
        """Signs a request of ours."""
        timestamp = int(now.timestamp())
        return Stamp(timestamp, nonce, self.sign(request_text(method, target, timestamp, nonce, body)))

    def stamp_answer(self, body: bytes, *, nonce: str, now: datetime) -> Stamp:
        """Signs an answer or a notice."""
        timestamp = int(now.timestamp())
        return Stamp(timestamp, nonce, self.sign(answer_text(timestamp, nonce, body)))


@dataclass(frozen=True, slots=True)
class VerifyingKeys:
    """Public keys of the other side: more than one while he changes to a new one."""

    keys: tuple[rsa.RSAPublicKey, ...]

    def verify_request(self, method: str, target: str, body: bytes, *, stamp: Stamp, now: datetime) -> None:
        """Whether a request is the other side's, signed lately.

        Raises:
            SignatureError: it is not.
        """
        self._verify(request_text(method, target, stamp.timestamp, stamp.nonce, body), stamp, now)

    def verify_answer(self, body: bytes, *, stamp: Stamp, now: datetime) -> None:
        """Whether an answer or notice is the other side's, signed lately.

        Raises:
            SignatureError: it is not.
        """
        self._verify(answer_text(stamp.timestamp, stamp.nonce, body), stamp, now)

    def _verify(self, text: bytes, stamp: Stamp, now: datetime) -> None:
        stamp.require_recent(now)
        for key in self.keys:
            try:
                key.verify(stamp.signature, text, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            return
        raise SignatureError(
            "The signature is not of a key that is known here; the message was changed, or is a stranger's."
        )


def load_signing_key(path: Path, variable: str) -> SigningKey:
    """Our private key from its PEM file, which has no passphrase.

    Raises:
        SettingsError: there is no RSA key of 2048 bits or more; names `variable`, never the content.
    """
    try:
        key = serialization.load_pem_private_key(_content(path, variable), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"{variable} names {path}, which holds no private key in PEM without passphrase."
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < SMALLEST_KEY_BITS:
        raise SettingsError(f"{variable} names {path}; its key must be RSA of {SMALLEST_KEY_BITS} bits or more.")
    return SigningKey(key)


def load_verifying_keys(path: Path, variable: str) -> VerifyingKeys:
    """The other side's public keys from a PEM file that holds one or several.

    Raises:
        SettingsError: as with `load_signing_key`.
    """
    content = _content(path, variable)
    parts = [part + _END_OF_KEY + b"\n" for part in content.split(_END_OF_KEY)[:-1]]
    try:
        keys = [serialization.load_pem_public_key(part.lstrip()) for part in parts]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{variable} names {path}, which holds something else than public keys in PEM.") from error
    found = tuple(key for key in keys if isinstance(key, rsa.RSAPublicKey) and key.key_size >= SMALLEST_KEY_BITS)
    if not found or len(found) < len(keys):
        raise SettingsError(
            f"{variable} names {path}; it must hold RSA public keys of {SMALLEST_KEY_BITS} bits or more."
        )
    return VerifyingKeys(found)


def _content(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{variable} names {path}, which cannot be read ({error.strerror}).") from error


def new_key_pair() -> tuple[bytes, bytes]:
    """A new private key and its public one, both PEM; for a home's own simulated acquirer, and for tests."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=SMALLEST_KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public
