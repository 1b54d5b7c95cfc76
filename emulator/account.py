"""Whom the bus admits (contract 5): user name and password of the application. Pure."""

import hmac
from dataclasses import dataclass, field

from conformance.application import Permission
from emulator.mqtt import Reason
from emulator.mqttpackets import V5, V311, Connect


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connect is refused, as a return code of MQTT 3.1.1 (3.2.2.3 there) and as a reason code of MQTT 5."""

    reason: str
    return_code: int
    code: Reason


@dataclass(frozen=True, slots=True)
class Account:
    """user name is the application's id; permissions are its ACL's, None for an app off the bus."""

    username: str
    password: str = field(repr=False)
    permissions: tuple[Permission, ...] | None

    def refusal(self, connect: Connect) -> Refusal | None:
        """Why this connect is refused, the first reason of several; None: it is allowed."""
        right = hmac.compare_digest(connect.password or b"", self.password.encode())
        unnamed = connect.level == V311 and not connect.client_id and not connect.clean_start
        reasons = (
            (
                connect.level not in (V311, V5),
                Refusal(f"protocol level {connect.level} is not MQTT 3.1.1 or 5", 1, Reason.UNSUPPORTED_VERSION),
            ),
            (
                bool(connect.authentication_method),
                Refusal("the bus knows no authentication method", 5, Reason.BAD_AUTHENTICATION_METHOD),
            ),
            (
                connect.username != self.username,
                Refusal(f"the user name is not {self.username}", 5, Reason.BAD_USER_NAME_OR_PASSWORD),
            ),
            (not right, Refusal("wrong password", 5, Reason.BAD_USER_NAME_OR_PASSWORD)),
            (
                self.permissions is None,
                Refusal("the app is not on the bus: no auth/acl.xml", 5, Reason.NOT_AUTHORIZED),
            ),
            (  # MQTT 3.1.1 3.1.3.1
                unnamed,
                Refusal("an empty client identifier without a clean session", 2, Reason.PROTOCOL_ERROR),
            ),
        )
        return next((refusal for holds, refusal in reasons if holds), None)
