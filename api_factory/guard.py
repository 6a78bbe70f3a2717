"""The one door: key, scope, limits, quota; then the action runs; then the charge commits; then the reply.

A face says what an operation would do (`Ask`), enters with `admit`, runs the actions on the `Admission`
it gets, and leaves with `settle`. Nothing that costs units is answered before `settle` has returned.
An admission that holds a `replay` is a retry: the face answers with it, and runs and settles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from typing import Final, Protocol
from uuid import UUID

from api_factory.actions import Action, ActionError, Caller
from api_factory.clock import Clock
from api_factory.credentials import Credentials, counted_address
from api_factory.errors import (
    AccountSuspended,
    AccountUnpaid,
    ActionNotAllowed,
    AddressNotAllowed,
    ApiFactoryError,
    BadUserInput,
    DocumentNotTrusted,
    InternalError,
    InvalidKey,
    KeyExpired,
    KeySuspended,
    QuotaExceeded,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
    Unavailable,
)
from api_factory.keys import Keys, KeySnapshot, Presented, SecretDigest, parse
from api_factory.limits import Demand, Limits, QuotaStatus, WindowStatus, render_limits, render_policies
from api_factory.metrics import Metrics
from api_factory.rates import Rate
from api_factory.usage import (
    Entry,
    Finish,
    Idempotency,
    IdempotencyRequest,
    Ledger,
    Line,
    Outcome,
    Payer,
    QuotaStanding,
    Reservation,
    Stale,
)

LOGGER = logging.getLogger("api_factory.guard")

ATTEMPTS: Final = 4
REMEMBERED_DEMANDS: Final = 10_000
SECOND_LOOKS_A_SECOND: Final = 20
ANONYMOUS: Final = frozenset[str]()


@dataclass(frozen=True)
class Ask:
    """What one operation would do if it were admitted.

    Faces keep it with the document, so what follows from it is worked out once for all its requests.
    """

    calls: tuple[Action, ...] = ()
    """The actions it would run, one entry for each call that a client would see answered."""
    scopes: frozenset[str] = ANONYMOUS
    """Every scope that anything in it needs."""
    key_required: bool = True
    coordinate: str | None = None
    """Where the first need of a key stands, such as `Query.usage`."""
    field_rates: tuple[tuple[str, Rate], ...] = ()
    """Limits of fields that are no actions: the field's coordinate and its rate, once a use."""
    weight: int = 1
    """What it counts against the account's rate limits: one for each thing it asks for at the top."""
    is_mutation: bool = False
    """It changes something, whether or not it costs anything."""
    shows_secret: bool = False
    """Its reply holds a secret, which is shown once and kept nowhere."""
    is_trusted: bool = False
    """It is an operation of the manifest of documents that the operator trusts."""

    @property
    def has_effect(self) -> bool:
        """Tell whether running it twice differs from running it once."""
        return self.is_mutation or any(is_billable(action) for action in self.calls)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its actions, one for each call."""
        return tuple(action.name for action in self.calls)

    @cached_property
    def billable_units(self) -> int:
        """What it costs when every call succeeds."""
        return sum(action.units for action in self.calls if is_billable(action))

    @cached_property
    def is_held(self) -> bool:
        """Whether units are reserved before it runs."""
        return any(action.charge == "reserve" and is_billable(action) for action in self.calls)


class Snapshots(Protocol):
    """Where keys are read: a cache that is never older than a second."""

    async def get(self, key_id: UUID) -> KeySnapshot | None:
        """Return the key as it stands, or None."""

    def invalidate(self, key_id: UUID) -> None:
        """Forget a key, because what is remembered of it has been proved old."""

    def database_now(self) -> datetime:
        """Return the time by the database's clock."""


@dataclass(slots=True)
class Admission:
    """One operation that was let in: runs its actions, knows its numbers."""

    ask: Ask
    request_id: str
    caller: Caller
    credentials: Credentials
    metrics: Metrics
    snapshot: KeySnapshot | None = None
    secret: SecretDigest | None = None
    windows: tuple[WindowStatus, ...] = ()
    reservation: Reservation | None = None
    standing: QuotaStanding | None = None
    entry: Entry | None = None
    """Set when a retry of this request may come: `settle` wants the outcome then."""
    replay: Outcome | None = None
    """What this request was answered before; nothing is run."""
    succeeded: list[bool] = field(default_factory=list)
    units_charged: int = 0
    _ran: dict[int, tuple[str, float]] = field(default_factory=dict)
    _payer: Payer | None = None

    @property
    def is_anonymous(self) -> bool:
        """Tell whether it came without a key."""
        return self.snapshot is None

    @property
    def payer(self) -> Payer:
        """Return who pays. Raises `Unauthenticated` for an anonymous admission."""
        if self._payer is None:
            key = self.snapshot
            if key is None:
                raise Unauthenticated
            not_after = self.secret.not_after if self.secret is not None else None
            self._payer = Payer(
                key.account_id, key.key_id, key.livemode, key.key_epoch, key.account_epoch, not_after
            )
        return self._payer

    def decide_on(self, snapshot: KeySnapshot, secret: SecretDigest) -> None:
        """Go by what holds now: the key was read again."""
        self.snapshot, self.secret, self._payer = snapshot, secret, None

    async def run(self, index: int, arguments: Mapping[str, object]) -> object:
        """Run the call at `index` of the ask and remember whether it succeeded.

        Raises the author's `ActionError`, or `InternalError` for whatever else went wrong, which is logged.
        """
        action = self.ask.calls[index]
        outcome, started = "error", time.perf_counter()
        try:
            result = await action.invoke(arguments, self.caller)
        except (ActionError, ApiFactoryError):
            outcome = "refused"
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The author's own: nobody has cancelled this request.
            raise self._unexpected(action) from error
        except (Exception, SystemExit, GeneratorExit, KeyboardInterrupt) as error:
            raise self._unexpected(action) from error
        else:
            outcome = "ok"
            self.succeeded[index] = True
            return result
        finally:
            self._ran[index] = (outcome, time.perf_counter() - started)

    def fail(self, index: int) -> None:
        """Take a success back: the result could not be delivered, so it is not charged."""
        self.succeeded[index] = False
        _, seconds = self._ran.get(index, ("error", 0.0))
        self._ran[index] = ("error", seconds)

    def observe(self) -> None:
        """Count the calls that ran by how they ended for the client; once."""
        for index, (outcome, seconds) in self._ran.items():
            self.metrics.action_call(self.ask.calls[index].name, outcome, seconds)
        self._ran.clear()

    def _unexpected(self, action: Action) -> InternalError:
        LOGGER.exception("action %s failed", action.name)
        return InternalError(extensions={"requestId": self.request_id})

    def lines(self) -> list[Line]:
        """Return what a settlement writes: each billable call, at no units when it failed."""
        return [
            Line(action.name, action.units if succeeded else 0, not succeeded)
            for action, succeeded in zip(self.ask.calls, self.succeeded, strict=True)
            if is_billable(action)
        ]

    @property
    def units(self) -> int:
        """Return what a settlement would charge as things stand."""
        return sum(line.units for line in self.lines())

    def headers(self) -> dict[str, str]:
        """Return RateLimit-Policy and RateLimit as they stand, if any; a replay says that it is one."""
        headers = rate_limit_headers(self.windows, self.standing)
        if self.replay is not None:
            headers["Idempotency-Replayed"] = "true"
            headers["X-Original-Request-Id"] = self.replay.request_id
        return headers

    def show_limits(self, error: ApiFactoryError) -> None:
        """Put the same headers on a refusal that comes after the admission; those it has already stay."""
        error.headers = {**self.headers(), **error.headers}


class Guard:
    """Lets an operation in and settles it; every face enters here and nowhere else."""

    def __init__(  # noqa: PLR0913 - one argument a part
        self,
        *,
        snapshots: Snapshots,
        keys: Keys,
        limits: Limits,
        ledger: Ledger,
        idempotency: Idempotency,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Take the parts; `wiring` builds it."""
        self._snapshots = snapshots
        self._keys = keys
        self._limits = limits
        self._ledger = ledger
        self._idempotency = idempotency
        self._metrics = metrics
        self._clock = clock
        self._exhausted: dict[tuple[UUID, bool], tuple[int, float, QuotaStanding]] = {}
        self._demands: dict[object, tuple[Demand, ...]] = {}
        self._used: dict[UUID, datetime] = {}
        self._looks = (0, 0)

    async def admit(
        self,
        credentials: Credentials,
        ask: Ask,
        request_id: str,
        idempotency: IdempotencyRequest | None = None,
    ) -> Admission:
        """Check everything that can be checked before anything runs; hold units where an action asks for it.

        With `idempotency`, an operation that has an effect is run by one attempt at a time, and one that has
        been settled is admitted with its `replay`. Raises the refusal, which then carries the RateLimit
        headers. A refused operation has charged nothing; one that a rate limit refused has taken nothing
        from any limit either.
        """
        if credentials.text is None:
            if idempotency is not None:
                _check_belongs(ask)
            return await self._admit_anonymous(credentials, ask, request_id)
        snapshot, secret = await self._identify(credentials)
        _check_permission(snapshot, ask)
        admission = Admission(
            ask=ask,
            request_id=request_id,
            caller=_caller(snapshot, request_id),
            credentials=credentials,
            metrics=self._metrics,
            snapshot=snapshot,
            secret=secret,
            succeeded=[False] * len(ask.calls),
        )
        if idempotency is not None and ask.has_effect:
            return await self._admit_once(admission, idempotency)
        self._refuse_exhausted(admission)
        admission.windows = await self._take(self._demands_of(snapshot, ask))
        self._used[snapshot.key_id] = self._snapshots.database_now()
        if ask.is_held:
            await self._reserve(admission)
        return admission

    async def settle(self, admission: Admission, outcome: Outcome | None = None) -> None:
        """Charge what succeeded, durably; only after this returns may the reply leave.

        An admission that holds an entry is settled with the whole reply, which is stored in the transaction
        of the charge; without one, or when it is a passing failure that costs nothing, a retry runs anew.
        Raises the refusal that must then be the whole reply: the quota ran out meanwhile or the key was
        revoked, and nothing is charged; or the database went away, and whether it was is not known.
        """
        admission.observe()
        lines = admission.lines()
        if admission.entry is not None:
            await self._settle_once(admission, admission.entry, lines, outcome)
        elif lines:
            await self._charge(admission, lines, None)

    async def _settle_once(
        self, admission: Admission, entry: Entry, lines: Sequence[Line], outcome: Outcome | None
    ) -> None:
        finish = None
        if outcome is not None and not (outcome.is_passing and admission.units == 0):
            finish = self._idempotency.finish(entry, outcome)
        try:
            if lines:
                await self._charge(admission, lines, finish)
            elif finish is not None:
                await self._idempotency.keep(finish)
        except BaseException:
            await self.abandon(admission)
            raise
        admission.entry = None
        if finish is None:
            await self._idempotency.forget(entry)

    async def _charge(self, admission: Admission, lines: Sequence[Line], finish: Finish | None) -> None:
        try:
            admission.standing = await self._commit(admission, lines, finish)
        except QuotaExceeded as error:
            self._remember_exhausted(admission, error)
            raise self._with_headers(error, admission) from None
        except ApiFactoryError:
            await self.abandon(admission)
            raise
        admission.reservation = None
        admission.units_charged = sum(line.units for line in lines)
        for line in lines:
            if line.units:
                self._metrics.units_charged(line.action, line.units)

    async def abandon(self, admission: Admission) -> None:
        """Give back what was held: the operation ended without an answer. Never raises."""
        admission.observe()
        reservation, admission.reservation = admission.reservation, None
        entry, admission.entry = admission.entry, None
        if entry is not None:
            await self._idempotency.forget(entry)
        if reservation is None:
            return
        try:
            await self._ledger.release(reservation, admission.payer)
        except ApiFactoryError:
            # The ledger keeps it and releases it when the database is back.
            LOGGER.warning("a reservation could not be released yet", exc_info=True)

    async def peek(self, admission: Admission) -> tuple[WindowStatus, ...]:
        """Return every window of the caller's own limits as it stands; nothing is taken."""
        if admission.snapshot is None:
            return ()
        return await self._limits.peek(self._demands_of(admission.snapshot, Ask()))

    def take_used(self) -> dict[UUID, datetime]:
        """Return which keys were used when since the last call, for the batched last-used times."""
        used, self._used = self._used, {}
        return used

    async def _admit_anonymous(self, credentials: Credentials, ask: Ask, request_id: str) -> Admission:
        if ask.key_required:
            error = Unauthenticated()
            if ask.coordinate is not None:
                error.extensions["coordinate"] = ask.coordinate
            raise error
        admission = Admission(
            ask=ask,
            request_id=request_id,
            caller=Caller("", None, "", ANONYMOUS, True, request_id, {}),
            credentials=credentials,
            metrics=self._metrics,
            succeeded=[False] * len(ask.calls),
        )
        # Without a key it is the address that an action's own limit counts.
        address = f"address:{counted_address(credentials.address)}"
        demands = _own_demands(address, address, ask)
        admission.windows = await self._take(demands)
        return admission

    async def _admit_once(self, admission: Admission, request: IdempotencyRequest) -> Admission:
        """Admit one attempt of a request that may come again.

        A retry passes the limits like any call; the quota is not asked, for the first attempt may have used
        the last of it.
        """
        if admission.ask.shows_secret:
            raise BadUserInput(
                "A reply with a secret in it is never stored, so Idempotency-Key is not possible here; leave "
                "the header out, or do not select the secret."
            )
        if admission.snapshot is not None:
            admission.windows = await self._take(self._demands_of(admission.snapshot, admission.ask))
            self._used[admission.snapshot.key_id] = self._snapshots.database_now()
        begun = await self._begin(admission, request)
        if isinstance(begun, Outcome):
            self._metrics.idempotent_replay()
            admission.replay = begun
            return admission
        admission.entry = begun
        admission.caller = replace(admission.caller, idempotency_key=request.name)
        try:
            self._refuse_exhausted(admission)
            if admission.ask.is_held:
                await self._reserve(admission)
        except BaseException:
            await self.abandon(admission)
            raise
        return admission

    async def _begin(self, admission: Admission, request: IdempotencyRequest) -> Entry | Outcome:
        for _ in range(ATTEMPTS):
            try:
                return await self._idempotency.begin(request, admission.payer, admission.request_id)
            except Stale:
                await self._read_again(admission)
        raise Unavailable("The key is being changed; retry.")

    async def _identify(self, credentials: Credentials) -> tuple[KeySnapshot, SecretDigest]:
        """Find the key behind the text; unknown, malformed, revoked and wrong answer alike."""
        presented = parse(credentials.text or "")
        if presented is None:
            raise InvalidKey
        snapshot = await self._snapshots.get(presented.key_id)
        try:
            return self._judge(presented, snapshot, credentials.address)
        except ApiFactoryError:
            if snapshot is None or not self._may_look_again():
                raise
        # What is remembered may be a moment old: a key that was just resumed or rotated must work at once.
        self._snapshots.invalidate(presented.key_id)
        return self._judge(presented, await self._snapshots.get(presented.key_id), credentials.address)

    def _judge(
        self, presented: Presented, snapshot: KeySnapshot | None, address: str
    ) -> tuple[KeySnapshot, SecretDigest]:
        now = self._snapshots.database_now()
        # A key that does not exist costs the same comparison as one that does.
        secret = self._keys.verify(presented, snapshot, now=now)
        if snapshot is None or secret is None or snapshot.status == "REVOKED":
            raise InvalidKey
        if snapshot.expires_at is not None and snapshot.expires_at <= now:
            raise KeyExpired
        if snapshot.status == "SUSPENDED":
            raise KeySuspended
        if snapshot.account_status == "UNPAID":
            raise AccountUnpaid(snapshot.pay_url)
        if snapshot.account_status != "ACTIVE":
            raise AccountSuspended
        _check_address(snapshot, address)
        return snapshot, secret

    def _may_look_again(self) -> bool:
        """Allow so many second looks a second: a crowd of refused callers must not become one of reads."""
        second = int(self._clock.monotonic())
        if second != self._looks[0]:
            self._looks = (second, 0)
        self._looks = (second, self._looks[1] + 1)
        return self._looks[1] <= SECOND_LOOKS_A_SECOND

    async def _take(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        if not demands:
            return ()
        try:
            return await self._limits.take(demands)
        except RateLimited as error:
            self._metrics.rate_limited(str(error.extensions["policy"]))
            statuses = tuple(status for status in error.statuses if isinstance(status, WindowStatus))
            error.headers.update(rate_limit_headers(statuses, None))
            raise

    def _demands_of(self, snapshot: KeySnapshot, ask: Ask) -> tuple[Demand, ...]:
        """Return the limits an operation must pass; built once for a key and a shape of operation."""
        remembered = (snapshot.key_id, snapshot.account_epoch, ask.names, ask.field_rates, ask.weight)
        demands = self._demands.get(remembered)
        if demands is None:
            if len(self._demands) >= REMEMBERED_DEMANDS:
                self._demands.clear()
            demands = self._demands[remembered] = _build_demands(snapshot, ask)
        return demands

    async def _reserve(self, admission: Admission) -> None:
        units = admission.ask.billable_units
        for _ in range(ATTEMPTS):
            try:
                reservation = await self._ledger.reserve(admission.payer, units, admission.request_id)
            except Stale:
                await self._read_again(admission)
            except QuotaExceeded as error:
                self._remember_exhausted(admission, error)
                raise self._with_headers(error, admission) from None
            else:
                admission.reservation, admission.standing = reservation, reservation.standing
                return
        raise Unavailable("The key is being changed; retry.")

    async def _commit(
        self, admission: Admission, lines: Sequence[Line], finish: Finish | None
    ) -> QuotaStanding:
        for _ in range(ATTEMPTS):
            try:
                if admission.reservation is not None:
                    return await self._ledger.settle(admission.reservation, admission.payer, lines, finish)
                return await self._ledger.charge(admission.payer, lines, admission.request_id, finish)
            except Stale:
                await self._read_again(admission)
        raise Unavailable("The key is being changed; retry.")

    async def _read_again(self, admission: Admission) -> None:
        """Decide anew on what holds now."""
        self._snapshots.invalidate(admission.payer.key_id)
        snapshot, secret = await self._identify(admission.credentials)
        _check_permission(snapshot, admission.ask)
        admission.decide_on(snapshot, secret)
        admission.caller = replace(
            _caller(snapshot, admission.request_id), idempotency_key=admission.caller.idempotency_key
        )

    def _refuse_exhausted(self, admission: Admission) -> None:
        """Refuse without input or output what the ledger is known to refuse for the rest of the period."""
        snapshot = admission.snapshot
        units = admission.ask.billable_units
        if snapshot is None or units == 0:
            return
        known = self._exhausted.get((snapshot.account_id, snapshot.livemode))
        if known is None:
            return
        epoch, until, standing = known
        left_seconds = until - self._clock.monotonic()
        if epoch != snapshot.account_epoch or left_seconds <= 0:
            del self._exhausted[snapshot.account_id, snapshot.livemode]
            return
        self._metrics.quota_refused()
        admission.standing = standing
        error = QuotaExceeded(
            units=units,
            limit=standing.included or 0,
            used=standing.used,
            reset_seconds=max(1, round(left_seconds)),
        )
        error.headers.update(admission.headers())
        raise error

    def _remember_exhausted(self, admission: Admission, error: QuotaExceeded) -> None:
        self._metrics.quota_refused()
        standing = error.standing
        if not isinstance(standing, QuotaStanding):
            return
        admission.standing = standing
        snapshot = admission.snapshot
        # Held units may come back, so only what is used for good closes the door until the period ends.
        # A key's cap says nothing of the account's other keys.
        by_account = error.extensions["quota"] == "account"
        if snapshot is not None and by_account and standing.is_exhausted:
            if len(self._exhausted) >= REMEMBERED_DEMANDS:
                self._exhausted.clear()
            until = self._clock.monotonic() + standing.reset_seconds
            self._exhausted[snapshot.account_id, snapshot.livemode] = (
                snapshot.account_epoch,
                until,
                standing,
            )

    @staticmethod
    def _with_headers(error: QuotaExceeded, admission: Admission) -> QuotaExceeded:
        error.headers.update(admission.headers())
        return error


def is_billable(action: Action) -> bool:
    """Tell whether calls of an action go through the ledger."""
    return action.charge != "free" and action.units > 0


def rate_limit_headers(windows: Sequence[WindowStatus], standing: QuotaStanding | None) -> dict[str, str]:
    """Return RateLimit-Policy and RateLimit; the quota is shown as a policy of its own once it is known."""
    quota = None
    remaining = standing.remaining if standing is not None else None
    if standing is not None and standing.is_hard and standing.included is not None and remaining is not None:
        period = standing.period_end - standing.period_start
        quota = QuotaStatus(
            limit=standing.included,
            remaining=remaining,
            reset_seconds=standing.reset_seconds,
            period_seconds=period // timedelta(seconds=1),
        )
    if not windows and quota is None:
        return {}
    return {"RateLimit-Policy": render_policies(windows, quota), "RateLimit": render_limits(windows, quota)}


def _check_belongs(ask: Ask) -> None:
    if ask.has_effect and not ask.key_required:
        raise BadUserInput("Idempotency-Key belongs to an API key; send one, or leave the header out.")


def _check_address(snapshot: KeySnapshot, address: str) -> None:
    if not snapshot.networks:
        return
    try:
        client = ip_address(address)
    except ValueError:
        raise AddressNotAllowed from None
    mapped = getattr(client, "ipv4_mapped", None)
    if not any((mapped or client) in network for network in snapshot.networks):
        raise AddressNotAllowed


def _check_permission(snapshot: KeySnapshot, ask: Ask) -> None:
    if snapshot.trusted_documents_only and not ask.is_trusted:
        raise DocumentNotTrusted
    held = snapshot.held_scopes
    if not ask.scopes <= held:
        raise ScopeMissing(ask.scopes - held, ask.coordinate)
    if snapshot.allowed_actions is not None:
        for action in ask.calls:
            if action.name not in snapshot.allowed_actions and not action.public:
                raise ActionNotAllowed(f"This API key may not call {action.name}; use a key that may.")


def _caller(snapshot: KeySnapshot, request_id: str) -> Caller:
    return Caller(
        account_id=snapshot.public_account_id,
        key_id=snapshot.public_id,
        key_name=snapshot.name,
        scopes=snapshot.held_scopes,
        livemode=snapshot.livemode,
        request_id=request_id,
        metadata=snapshot.metadata,
    )


def _build_demands(snapshot: KeySnapshot, ask: Ask) -> tuple[Demand, ...]:
    """The account's own limits count what is asked for; an action's count its calls by this key."""
    mode = "live" if snapshot.livemode else "test"
    owner = f"account:{snapshot.account_id.hex}"
    cost = max(ask.weight, len(ask.calls))
    demands = [Demand(rate, rate.name, f"{owner}:{mode}", cost, owner) for rate in snapshot.rates]
    return (*demands, *_own_demands(owner, f"key:{snapshot.key_id.hex}", ask))


def _own_demands(owner: str, subject: str, ask: Ask) -> list[Demand]:
    """Return the limits that the actions and fields of an operation bring themselves."""
    rates = {action.name: action.rates for action in ask.calls}
    demands = [
        Demand(rate, f"{name}-{rate.name}", f"{subject}:{name}", times, owner)
        for name, times in Counter(action.name for action in ask.calls).items()
        for rate in rates[name]
    ]
    demands += [
        Demand(rate, f"{coordinate}-{rate.name}", f"{subject}:{coordinate}", times, owner)
        for (coordinate, rate), times in Counter(ask.field_rates).items()
    ]
    return demands
