"""The file of Mosquitto's dynamic security: who may connect, and to whom its control topic belongs.

The plugin decides who connects; which topics a client may use is said by name in the broker's access list (`%u` is the name of the
client), because the plugin knows no such placeholder. So a client needs no role, and a district of devices no role each.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parking_core.device_credentials import Verifier

CONTROL_TOPIC: Final = "$CONTROL/dynamic-security/v1"
ANSWER_TOPIC: Final = f"{CONTROL_TOPIC}/response"
# Users of the platform itself: who hears and commands, who stands for any device, who admits, and the network servers.
OWN_USERS: Final = frozenset({"gateway", "devices", "keeper", "chirpstack", "things_stack", "loriot"})
_KEEPER_ROLE: Final = "keeper"
_KEEPER_ACLS: Final = (
    ("publishClientSend", CONTROL_TOPIC),
    ("publishClientReceive", ANSWER_TOPIC),
    ("subscribeLiteral", ANSWER_TOPIC),
)


def document(clients: Mapping[str, Verifier], keeper: str, disabled: frozenset[str] = frozenset()) -> bytes:
    """The file.

    Args:
        clients: by user name.
        keeper: the one of them that may change the others.
        disabled: those that may not connect at present.
    """
    return json.dumps(
        {
            # Nothing is allowed or forbidden here: the access list decides.
            "defaultACLAccess": {
                "publishClientSend": False,
                "publishClientReceive": False,
                "subscribe": False,
                "unsubscribe": True,
            },
            "clients": [_client(name, verifier, keeper, disabled) for name, verifier in sorted(clients.items())],
            "groups": [],
            "roles": [
                {
                    "rolename": _KEEPER_ROLE,
                    "acls": [{"acltype": kind, "topic": topic, "allow": True} for kind, topic in _KEEPER_ACLS],
                }
            ],
        },
        separators=(",", ":"),
    ).encode()


def _client(name: str, verifier: Verifier, keeper: str, disabled: frozenset[str]) -> dict[str, Any]:
    return {
        "username": name,
        "password": base64.b64encode(verifier.hash).decode(),
        "salt": base64.b64encode(verifier.salt).decode(),
        "iterations": verifier.iterations,
        "roles": [{"rolename": _KEEPER_ROLE}] if name == keeper else [],
        **({"disabled": True} if name in disabled else {}),
    }


def names_of(content: bytes) -> frozenset[str]:
    """The user names in a file.

    Raises:
        InvalidInputError: it is no such file.
    """
    try:
        return frozenset(client["username"] for client in json.loads(content)["clients"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            "The broker's file of clients cannot be read; write it anew with `parking devices rebuild`."
        ) from error
