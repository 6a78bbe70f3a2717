"""Settings: environment, `.env`, and files in a secrets directory, checked once at the start.

Every field's description is the sentence of the reference. A setting that would make production unsafe
stops the start with a sentence that names it and the fix.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api_factory.dsn import check_dsn
from api_factory.embedded import EmbeddedPostgres
from api_factory.errors import ConfigurationError
from api_factory.rates import Rate, parse_rates

MINIMUM_PEPPER_BYTES = 32
MINIMUM_PEPPER_CHARACTERS = 10
FILES_VARIABLE = "API_FACTORY_SECRETS_DIR"

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def _one_rate(value: object) -> object:
    if not isinstance(value, str):
        return value
    rates = parse_rates(value)
    if len(rates) != 1:
        raise ValueError(f"{value!r} is more than one rate; keep one")
    return rates[0]


NewDocumentRate = Annotated[Rate, NoDecode, BeforeValidator(_one_rate)]


class Settings(BaseSettings):
    """All that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix="API_FACTORY_",
        env_file=".env",
        secrets_dir=os.environ.get(FILES_VARIABLE),
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or newer, `postgresql://user:password@host:5432/name`; with standbys, "
        "`…@one:5432,two:5432/name?target_session_attrs=read-write`. "
        "Unset: an embedded server under the data directory.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        description="Redis or Valkey for limits that several workers share: `redis://`, `rediss://`, "
        "`unix://`, `redis+cluster://host:6379` or `redis+sentinel://host:26379/service`. "
        "Unset: `serve --workers` starts an embedded Valkey, which the workers of one machine share.",
    )
    env: Literal["development", "production"] = Field(
        default="development",
        description="`production` refuses weak secrets, hides GraphiQL and logs JSON.",
    )
    data_dir: Path = Field(
        default=Path("./.api-factory"),
        description="Where the embedded servers and the generated development pepper live.",
    )
    actions: CommaSeparated = Field(
        default=(), description="Modules whose actions are served, comma-separated."
    )
    plans_file: Path | None = Field(
        default=None, description="TOML file of plans, applied at every start. Unset: free, pro and scale."
    )
    key_pepper: SecretStr | None = Field(
        default=None,
        description="Secret under which keys are hashed, `1:SECRET` or `1:OLD,2:NEW`; the highest version "
        "hashes new keys. At least 32 characters each, in production 10 different ones. "
        "Unset in development: generated in the data directory.",
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="Bearer token that /metrics asks for. Required in production."
    )
    trusted_proxies: CommaSeparated = Field(
        default=(), description="Addresses or networks whose X-Forwarded-For is believed, comma-separated."
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Where this server is reached from outside, such as `https://api.example.com`; "
        "`billing setup` has Stripe send its events there.",
    )
    billing_return_origins: CommaSeparated = Field(
        default=(),
        description="Origins that a buyer may be sent back to, such as `https://app.example.com`, "
        "comma-separated. Unset: this machine in development, none in production.",
    )
    notice_url: SecretStr | None = Field(
        default=None,
        description="Where notices are posted, signed as Standard Webhooks says; https, or in development "
        "this machine. Unset: nowhere.",
    )
    notice_secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs notices, `whsec_` and base64; several, comma-separated, while it is "
        "rolled.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server, `smtp://user:password@host:587` (STARTTLS) or `smtps://`. Unset: no mail.",
    )
    mail_from: str | None = Field(
        default=None,
        max_length=320,
        description="Address that mail comes from, such as `billing@example.com`.",
    )
    notice_mail_to: CommaSeparated = Field(
        default=(), description="Addresses that are mailed each notice, comma-separated."
    )
    notice_mail_customers: bool = Field(
        default=False, description="Mail a notice to the account that it is about, too."
    )
    log_format: Literal["text", "json"] | None = Field(
        default=None, description="Unset: `json` in production, `text` in development."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is logged."
    )
    allow_embedded_database: bool = Field(
        default=False, description="Consent to run production on the embedded database of one machine."
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="Processes that share the rate limits; while no Redis is there, each enforces its part. "
        "`serve --workers` sets it.",
    )
    database_pool_size: int = Field(default=8, ge=1, le=100, description="Connections of each worker's pool.")
    worker_lease_seconds: float = Field(
        default=15.0,
        ge=1,
        le=600,
        description="How long a worker may be silent before what it holds goes back to the accounts; it "
        "speaks five times as often. The same for every worker of a database.",
    )
    ledger_queue_limit: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Charges that may wait for the database in one worker; beyond it calls get 503.",
    )
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Largest request body that is read."
    )
    body_timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="Longest time in which a request body must have arrived."
    )
    max_operation_cost: int = Field(
        default=10_000, ge=1, description="Most units that one GraphQL operation may cost."
    )
    operation_timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="Longest time one operation may run before it is given up."
    )
    executor: Literal["compiled", "graphql-core"] = Field(
        default="compiled",
        description="What runs GraphQL operations: programs compiled from them, or graphql-core alone.",
    )
    cors_origins: CommaSeparated = Field(
        default=(),
        description="Origins whose pages may call GraphQL and REST from a browser, comma-separated, such as "
        "`https://app.example.com`; `*` is all. Unset: none but its own.",
    )
    compress_from_bytes: int = Field(
        default=4_000,
        ge=0,
        description="Size from which a reply of GraphQL or REST is sent as gzip to a client that accepts it; "
        "0: never.",
    )
    introspection: Literal["keyed", "open", "off"] = Field(
        default="keyed",
        description="Who may introspect the GraphQL schema: those with a key, everybody, or nobody. "
        "`__type { kind name }` is always answered, and `/schema.graphql` is always there.",
    )
    address_document_rate: NewDocumentRate = Field(
        default=Rate(120, 60, "minute"),
        description="How many GraphQL documents that are new to a worker it reads for one address, such as "
        "`120/minute`: so many at once, and then at that pace.",
    )
    key_document_rate: NewDocumentRate = Field(
        default=Rate(1_200, 60, "minute"),
        description="The same for one API key, once it is proved; its address does not pay then.",
    )
    trusted_documents: Path | None = Field(
        default=None,
        description="JSON file of trusted GraphQL documents by id, as Relay, graphql-codegen or Apollo write "
        "it; each is checked at the start. Unset: there are none.",
    )
    usage_retention_months: int | None = Field(
        default=None,
        ge=2,
        le=1_200,
        description="Whole months for which usage events are kept; earlier ones are dropped. "
        "Unset: kept for ever.",
    )
    idempotency_ttl_seconds: int = Field(
        default=86_400,
        ge=60,
        le=2_592_000,
        description="How long the outcome of a request with an Idempotency-Key is kept for its retries.",
    )
    stripe_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="STRIPE_API_KEY",
        description="Secret or restricted key of the Stripe account that bills. Unset: nothing is billed.",
    )
    stripe_webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="STRIPE_WEBHOOK_SECRET",
        description="Signing secret of the webhook endpoint, `whsec_…`; several, comma-separated, while it "
        "is rolled. Unset: /webhooks/stripe takes nothing.",
    )
    stripe_api_base: str | None = Field(
        default=None,
        validation_alias="STRIPE_API_BASE",
        pattern=r"^https?://[^/\s]+(/.*)?$",
        description="Where Stripe's API is, for a stand-in of it. Unset: Stripe itself. "
        "Refused in production.",
    )
    fallback_plan: str = Field(
        default="free",
        max_length=63,
        description="Plan of an account whose subscription has ended.",
    )
    grace_days: int | None = Field(
        default=7,
        ge=0,
        le=60,
        description="Days for which keys go on working after a payment failed; 0 stops them at once, `none` "
        "waits until Stripe has given up.",
    )
    payment_retry_days: CommaSeparated = Field(
        default=(),
        description="Days after the first failure on which this server asks Stripe for another attempt, such "
        "as `2,5,7`. Unset: none, as Stripe retries by itself.",
    )
    shutdown_grace_seconds: int = Field(
        default=20, ge=1, le=300, description="Time for requests under way to end at shutdown."
    )

    @field_validator("grace_days", mode="before")
    @classmethod
    def _none_as_word(cls, value: object) -> object:
        return None if value == "none" else value

    @field_validator("payment_retry_days")
    @classmethod
    def _days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(day.isascii() and day.isdecimal() and 0 < int(day) <= 60 for day in value):
            raise ValueError("write whole days from 1 to 60, comma-separated")
        return value

    @field_validator(
        "actions",
        "trusted_proxies",
        "cors_origins",
        "payment_retry_days",
        "billing_return_origins",
        "notice_mail_to",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def is_production(self) -> bool:
        """Tell whether unsafe settings are refused."""
        return self.env == "production"

    @property
    def uses_embedded_database(self) -> bool:
        """Tell whether the server is started as a child of this process."""
        return self.database_url is None

    @property
    def embedded_directory(self) -> Path:
        """Return the directory of the embedded PostgreSQL, absolute."""
        return self.data_dir.absolute() / "postgres"

    @property
    def embedded_valkey_directory(self) -> Path:
        """Return the directory of the embedded Valkey, absolute."""
        return self.data_dir.absolute() / "valkey"

    @property
    def database_dsn(self) -> str:
        """Return where PostgreSQL is or, when embedded, will be."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return EmbeddedPostgres(self.embedded_directory).dsn

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Return the signing secrets of the webhook endpoint, in their order; empty when none is set."""
        if self.stripe_webhook_secret is None:
            return ()
        parts = self.stripe_webhook_secret.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())

    @property
    def effective_log_format(self) -> Literal["text", "json"]:
        """Return the format that logs take."""
        return self.log_format or ("json" if self.is_production else "text")

    @cached_property
    def peppers(self) -> dict[int, bytes]:
        """Return version -> secret; in development one is generated and kept when none is set."""
        if self.key_pepper is not None:
            return parse_peppers(self.key_pepper.get_secret_value())
        return {1: _development_pepper(self.data_dir)}


def parse_peppers(text: str) -> dict[int, bytes]:
    """Return version -> secret of `1:SECRET,2:SECRET`; a bare secret is version 1.

    Raises `ConfigurationError` when a version is no number or there twice, or a secret is short.
    """
    peppers: dict[int, bytes] = {}
    for number, part in enumerate(text.split(",")):
        version, separator, secret = part.strip().partition(":")
        if not separator and number == 0:
            version, secret = "1", part.strip()
        if not _is_version(version):
            raise ConfigurationError(
                "API_FACTORY_KEY_PEPPER: write each secret as VERSION:SECRET, such as 1:…."
            )
        if len(secret) < MINIMUM_PEPPER_BYTES:
            raise ConfigurationError(
                f"API_FACTORY_KEY_PEPPER: secret {version} is shorter than {MINIMUM_PEPPER_BYTES} "
                "characters; "
                "make one with `openssl rand -base64 48`."
            )
        if int(version) in peppers:
            raise ConfigurationError(
                f"API_FACTORY_KEY_PEPPER: version {int(version)} is there twice; number them apart."
            )
        peppers[int(version)] = secret.encode()
    return peppers


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 2**15


def _development_pepper(data_dir: Path) -> bytes:
    path = data_dir / "pepper"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"pepper.{os.getpid()}")
        draft.touch(0o600)
        draft.write_bytes(base64.b64encode(secrets.token_bytes(48)))
        # A link appears whole or not at all: of several processes starting at once one wins.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return _read_pepper(path)


def _read_pepper(path: Path) -> bytes:
    secret = path.read_bytes().strip()
    if len(secret) < MINIMUM_PEPPER_BYTES:
        raise ConfigurationError(
            f"The file {path.name} in the data directory is damaged; restore or delete it."
        )
    return secret


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings. Raises `ConfigurationError` with one sentence that names the setting."""
    _check_secrets_dir(os.environ.get(FILES_VARIABLE))
    try:
        settings = Settings(**overrides)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or '.env'} cannot be read ({error.strerror}); let this user read it."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f".env or a file of {FILES_VARIABLE} is not UTF-8; save it as UTF-8."
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        known = name if name.isupper() else f"API_FACTORY_{name.upper()}"
        raise ConfigurationError(f"{known}: {first['msg']}.") from None
    if settings.database_url is not None:
        check_dsn(settings.database_url.get_secret_value())
    if settings.is_production:
        _check_production(settings)
    return settings


def _check_secrets_dir(name: str | None) -> None:
    # Left to itself a place that is not there is a warning, and the server starts without its secrets.
    if name and not (Path(name).is_dir() and os.access(name, os.R_OK | os.X_OK)):
        raise ConfigurationError(
            f"{FILES_VARIABLE}: {name} is no directory that this user can read; correct or unset it."
        )


def _check_production(settings: Settings) -> None:
    if settings.uses_embedded_database and not settings.allow_embedded_database:
        raise ConfigurationError(
            "DATABASE_URL is not set: production needs a PostgreSQL server; set it, or set "
            "API_FACTORY_ALLOW_EMBEDDED_DATABASE=true to run on this machine's embedded one."
        )
    if settings.key_pepper is None:
        raise ConfigurationError(
            "API_FACTORY_KEY_PEPPER is not set: production needs a secret that outlives the machine; "
            "make one with `openssl rand -base64 48`."
        )
    for version, pepper in parse_peppers(settings.key_pepper.get_secret_value()).items():
        if len(set(pepper)) < MINIMUM_PEPPER_CHARACTERS:
            raise ConfigurationError(
                f"API_FACTORY_KEY_PEPPER: secret {version} has fewer than {MINIMUM_PEPPER_CHARACTERS} "
                "different characters and can be guessed; make one with `openssl rand -base64 48`."
            )
    if settings.stripe_api_base is not None:
        raise ConfigurationError(
            "STRIPE_API_BASE is set: production speaks to Stripe itself and to no stand-in; unset it."
        )
    if settings.metrics_token is None or len(settings.metrics_token.get_secret_value()) < 16:
        raise ConfigurationError(
            "API_FACTORY_METRICS_TOKEN is not set or shorter than 16 characters: production does not show "
            "its metrics to everybody; make one with `openssl rand -hex 24`."
        )
