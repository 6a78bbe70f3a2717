"""The doctor's checks of billing: what Stripe has, what arrived here, and whether both fit together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from api_factory.accounts import Plan
from api_factory.billing.events import HANDLED
from api_factory.billing.setup import AtStripe, SetupWish, look
from api_factory.billing.stripe import API_VERSION
from api_factory.billing.wares import bills_units, wares_of
from api_factory.cli import store
from api_factory.cli.billing_setup import wish_of
from api_factory.cli.findings import Finding, fail, failed_by, ok, warn
from api_factory.errors import ApiFactoryError
from api_factory.wiring import Engine

LARGEST_SKEW: Final = timedelta(seconds=60)
LATE: Final = timedelta(minutes=10)
_SETUP: Final = "run `api-factory billing setup --apply`"


@dataclass(frozen=True, slots=True)
class _Patient:
    """What the checks look at; read from Stripe once."""

    engine: Engine
    wish: SetupWish
    found: AtStripe
    newest: dict[str, Any] | None
    stripe_now: datetime

    @property
    def plans(self) -> Sequence[Plan]:
        return self.wish.plans


_Check = Callable[[_Patient], Awaitable[Finding]]


async def examine_billing(engine: Engine) -> list[Finding]:
    """Run every check; without a key that Stripe takes, that is the one finding."""
    if not engine.billing.stripe.is_configured:
        return [fail("key", "STRIPE_API_KEY is not set", "set it to a secret or restricted key of Stripe's")]
    try:
        patient = await _meet(engine)
    except ApiFactoryError as error:
        return [failed_by("key", error)]
    findings = []
    for name, check in _CHECKS:
        try:
            findings.append(await check(patient))
        except ApiFactoryError as error:
            findings.append(failed_by(name, error))
    return findings


async def _meet(engine: Engine) -> _Patient:
    stripe = engine.billing.stripe
    wish = await wish_of(engine, webhook_url=None, return_url=None)
    found = await look(stripe, wish)
    wanted: Any = {"limit": 1, "types": list(HANDLED)}
    page = await stripe.call(lambda client: client.v1.events.list_async(wanted))
    date = page.last_response.headers.get("date") if page.last_response is not None else None
    newest = page.data[0].to_dict(for_json=True) if page.data else None
    return _Patient(engine, wish, found, newest, parsedate_to_datetime(date) if date else datetime.now(UTC))


async def _key(patient: _Patient) -> Finding:
    stripe, settings = patient.engine.billing.stripe, patient.engine.settings
    mode = "live" if stripe.livemode else "test"
    if settings.is_production and not stripe.livemode:
        fix = "set STRIPE_API_KEY to a live key when you want to be paid"
        return warn("key", "a test key in production: nobody pays", fix)
    if stripe.livemode and not settings.is_production:
        fix = "set STRIPE_API_KEY to a test key, or API_FACTORY_ENV=production"
        return fail("key", "a live key in development: real cards are charged", fix)
    where = "" if settings.stripe_api_base is None else f" at {settings.stripe_api_base}"
    return ok("key", f"Stripe takes it, {mode} mode{where}, API version {API_VERSION}")


async def _mode(patient: _Patient) -> Finding:
    stripe = patient.engine.billing.stripe
    others = await store.count_of_other_mode(patient.engine.db, stripe.livemode)
    if others:
        detail = f"{others} subscriptions here are of Stripe's other mode, and this key cannot see them"
        return fail("mode", detail, "use the key of the mode they were bought in, or another database")
    return ok("mode", "every subscription here is of the key's mode")


async def _clock(patient: _Patient) -> Finding:
    skew = await store.server_time(patient.engine.db) - patient.stripe_now
    if abs(skew) > LARGEST_SKEW:
        detail = f"the database's clock is {skew.total_seconds():+.0f} s off Stripe's"
        return fail("clock", detail, "let it follow NTP: events are refused when they look older than 300 s")
    return ok("clock", f"within {LARGEST_SKEW.total_seconds():.0f} s of Stripe's")


async def _secret(patient: _Patient) -> Finding:
    count = len(patient.engine.settings.webhook_secrets)
    if not count:
        fix = "set it to what `api-factory billing setup --apply` prints"
        return fail("webhook secret", "STRIPE_WEBHOOK_SECRET is not set: no event is taken", fix)
    return ok("webhook secret", "set" if count == 1 else f"{count} are set, as while one is rolled")


async def _endpoint(patient: _Patient) -> Finding:
    url, name = patient.wish.webhook_url, "webhook endpoint"
    if url is None:
        stand_in = patient.engine.settings.stripe_api_base is not None
        detail = "API_FACTORY_PUBLIC_URL is not set, so nobody knows where Stripe should send events"
        return (warn if stand_in else fail)(name, detail, f"set it, then {_SETUP}")
    here = [each for each in patient.found.endpoints if each["url"] == url]
    if not here:
        return fail(name, f"Stripe sends nothing to {url}", _SETUP)
    wrong = [_ailment(each) for each in here]
    if all(wrong):
        return fail(name, f"{url}: {'; '.join(filter(None, wrong))}", _SETUP)
    return ok(name, f"{url}, API version {API_VERSION}, all {len(HANDLED)} kinds of events")


def _ailment(endpoint: Any) -> str:
    if endpoint["status"] != "enabled":
        return "it is disabled"
    if endpoint["api_version"] != API_VERSION:
        return f"it speaks API version {endpoint['api_version']} and this server {API_VERSION}"
    missing = set(HANDLED) - set(endpoint["enabled_events"])
    if missing and "*" not in endpoint["enabled_events"]:
        return f"it does not send {', '.join(sorted(missing))}"
    return ""


async def _events(patient: _Patient) -> Finding:
    db, newest = patient.engine.db, patient.newest
    arrived_at = await store.newest_event_at(db)
    if newest is not None and not await store.has_event(db, newest["id"]):
        made_at = datetime.fromtimestamp(newest["created"], UTC)
        if patient.stripe_now - made_at > LATE:
            detail = f"{newest['type']} of {made_at:%Y-%m-%d %H:%M} UTC has not arrived"
            fix = "check endpoint and secret, then run `api-factory billing reconcile --apply`"
            return fail("last event", detail, fix)
    waiting, dead = await store.troubled_events(db)
    if waiting or dead:
        detail = f"{waiting} events wait for a person and {dead} failed for days"
        return warn("last event", detail, "mend what they name, then `api-factory billing replay EVENT`")
    if arrived_at is None:
        return ok("last event", "none yet, at Stripe neither")
    age = max(timedelta(0), patient.stripe_now - arrived_at)
    return ok("last event", f"{_words(age)} old; nothing at Stripe is newer")


def _words(age: timedelta) -> str:
    for unit, seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if age.total_seconds() >= 2 * seconds:
            return f"{age.total_seconds() // seconds:.0f} {unit}"
    return f"{age.total_seconds():.0f} seconds"


async def _prices(patient: _Patient) -> Finding:
    meter_id = None if patient.found.meter is None else patient.found.meter["id"]
    wrong = []
    for ware in wares_of(patient.plans):
        price = patient.found.prices.get(ware.lookup_key)
        differences = ["no price"] if price is None else ware.differences(price, meter_id)
        wrong += [f"{ware.lookup_key} ({', '.join(differences)})"] if differences else []
    if wrong:
        return fail("prices", f"Stripe differs from the plans: {'; '.join(wrong)}", _SETUP)
    unmapped = await store.unmapped_prices(patient.engine.db)
    if unmapped:
        fix = "give the price the lookup key of a plan, or its metadata api_factory_plan=SLUG, then reconcile"
        return fail("prices", f"somebody pays what no plan is known of: {', '.join(unmapped)}", fix)
    count = len(wares_of(patient.plans))
    if not count:
        fix = "give a plan its stripe_lookup_key in the plans file"
        return warn("prices", "no plan on offer can be bought", fix)
    return ok("prices", f"all {count} are at Stripe as the plans say")


async def _meter(patient: _Patient) -> Finding:
    pending, dead, oldest_seconds = await patient.engine.billing.meters.counts()
    if bills_units(patient.plans) and patient.found.meter is None:
        return fail("meter", "a plan bills units and Stripe has no meter for them", _SETUP)
    if dead:
        return fail(
            "meter", f"{dead} windows of used units were given up", "see `api-factory billing meters`"
        )
    if oldest_seconds > LATE.total_seconds():
        age = _words(timedelta(seconds=oldest_seconds))
        detail = f"{pending} windows of used units wait, the oldest for {age}"
        return warn("meter", detail, "run `api-factory worker` or a server; the log says what Stripe refuses")
    return ok("meter", "nothing waits" if bills_units(patient.plans) else "not needed: no plan bills units")


async def _portal(patient: _Patient) -> Finding:
    if patient.found.portal is None:
        return fail("portal", "Stripe has no configuration of the customer portal", _SETUP)
    return ok("portal", str(patient.found.portal["id"]))


async def _returns(patient: _Patient) -> Finding:
    settings = patient.engine.settings
    if settings.is_production and not settings.billing_return_origins:
        fix = "set API_FACTORY_BILLING_RETURN_ORIGINS to your own site, such as https://app.example.com"
        return fail("return addresses", "no buyer can be sent back anywhere", fix)
    origins = ", ".join(settings.billing_return_origins) or "this machine"
    return ok("return addresses", origins)


async def _notices(patient: _Patient) -> Finding:
    _, dead, _ = await patient.engine.notices.counts()
    if dead:
        fix = "mend the receiver, then `api-factory notice resend` what `api-factory notice list` shows"
        return warn("notices", f"{dead} were given up", fix)
    return ok("notices", "none was given up")


_CHECKS: Final[tuple[tuple[str, _Check], ...]] = (
    ("key", _key),
    ("mode", _mode),
    ("clock", _clock),
    ("webhook secret", _secret),
    ("webhook endpoint", _endpoint),
    ("last event", _events),
    ("prices", _prices),
    ("meter", _meter),
    ("portal", _portal),
    ("return addresses", _returns),
    ("notices", _notices),
)
