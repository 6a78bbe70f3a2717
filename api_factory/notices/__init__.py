"""What the owner hears of: signed webhooks and mail, out of an outbox. See README.md."""

from __future__ import annotations

from api_factory.notices.channels import Channels, channels_of
from api_factory.notices.model import Channel, Delivery, NewNotice, NotDelivered, Notice
from api_factory.notices.service import Notices
from api_factory.notices.signing import signature_of, signing_keys

__all__ = [
    "Channel",
    "Channels",
    "Delivery",
    "NewNotice",
    "NotDelivered",
    "Notice",
    "Notices",
    "channels_of",
    "signature_of",
    "signing_keys",
]
