"""How many documents a caller may have this worker read for the first time.

Reading a document takes a thousand times longer than finding it, and it happens before the guard has looked
at the key: who sends it is not known yet. So the counter is the address's. The key id that a request shows
cannot be trusted with one: ids are no secrets, and the checksum of a key proves nothing. Counted by what is
shown, an attacker would have an allowance for each id that he makes up, and would use up that of any key
whose id he knows.

Once the guard has admitted the operation, the key is proved. What the address paid is given back and the key
pays instead, from an allowance of its own that is larger. So a crowd of keys behind one address does not use
up the address, and a flood from another address touches none of them. That a key has used up its allowance
may be said before it is proved: only its holder has taken from it.

Every worker has documents and a processor of its own, so these allowances are not shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api_factory.credentials import Credentials, counted_address
from api_factory.errors import TooManyNewDocuments
from api_factory.guard import rate_limit_headers
from api_factory.keys import parse
from api_factory.limits import Allowances

if TYPE_CHECKING:
    from api_factory.wiring import Engine

ADDRESS_POLICY: Final = "new-documents"
KEY_POLICY: Final = "new-documents-key"


class UnseenDocuments:
    """Counts, by address until a key is proved, the documents that have to be read."""

    def __init__(self, engine: Engine) -> None:
        """Take the rates from the settings; nobody has taken anything."""
        settings, monotonic = engine.settings, engine.clock.monotonic
        self._engine = engine
        self._of_addresses = Allowances(settings.address_document_rate, ADDRESS_POLICY, monotonic)
        self._of_keys = Allowances(settings.key_document_rate, KEY_POLICY, monotonic)

    def count(self, credentials: Credentials) -> None:
        """Count one before it is read.

        Raises:
            TooManyNewDocuments: The address, or the key that is shown, has used up its allowance; nothing
                is taken.
        """
        address = counted_address(credentials.address)
        key_id = _shown_key(credentials)
        if key_id is not None:
            self._refuse_without(self._of_keys, key_id)
        self._refuse_without(self._of_addresses, address)
        self._of_addresses.take(address)

    def admitted(self, credentials: Credentials) -> None:
        """Let the key pay for one, now that the guard has proved it, and not the address."""
        key_id = _shown_key(credentials)
        if key_id is not None:
            self._of_addresses.give_back(counted_address(credentials.address))
            self._of_keys.take(key_id)

    def _refuse_without(self, allowances: Allowances, caller: str) -> None:
        delay_seconds = allowances.delay_seconds(caller)
        if not delay_seconds:
            return
        status = allowances.status(caller)
        self._engine.metrics.rate_limited(status.policy)
        error = TooManyNewDocuments(
            policy=status.policy,
            limit=status.limit,
            window_seconds=status.window_seconds,
            remaining=status.remaining,
            retry_after_seconds=delay_seconds,
            statuses=(status,),
        )
        error.headers.update(rate_limit_headers((status,), None))
        raise error


def _shown_key(credentials: Credentials) -> str | None:
    presented = parse(credentials.text) if credentials.text is not None else None
    return None if presented is None else presented.key_id.hex
