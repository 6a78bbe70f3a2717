"""Documents and bodies made to cost a GraphQL server much: how each is answered over HTTP, and how fast.

`python -m bench.attacks [--url http://127.0.0.1:8000 --key af_…] [--rounds 3]`

Without `--url` a demo server is started beside it, in a directory of its own, and ended after; it lets one
address bring as many new documents as there are attacks, so that each is read, and the flood at the end is
not. Only a server of this machine is attacked; one that runs already answers 429 once its own limit is
reached. Every attack is sent so many times, each time as a document that the server has not seen; the median
time is shown, from the first byte sent to the last one received. It ends with 1 when an answer is not the
expected one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

GRAPHQL: Final = "application/graphql-response+json"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
FLOOD: Final = 1_000

TOO_COMPLEX: Final = (400, "QUERY_TOO_COMPLEX")
INVALID: Final = (400, "GRAPHQL_VALIDATION_FAILED")
UNPARSABLE: Final = (400, "GRAPHQL_PARSE_FAILED")
BAD_INPUT: Final = (400, "BAD_USER_INPUT")
TOO_LARGE: Final = (413, "BAD_USER_INPUT")


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: a body that differs with its number, and how it must be answered."""

    name: str
    body: Callable[[int], bytes]
    expected: tuple[int, str]
    is_chunked: bool = False


def document(text: str, variables: object = None) -> Callable[[int], bytes]:
    """Return a body for this document; its number stands in a comment, so that each is new."""
    return lambda number: json.dumps({"query": f"#{number}\n{text}", "variables": variables}).encode()


def raw(body: bytes) -> Callable[[int], bytes]:
    """Return a body that is no document."""
    return lambda _: body


def fragments(length: int, spreads: int) -> str:
    """Return a chain of fragments, each spreading the next so often: `spreads ** length` fields unfolded."""
    chain = "".join(
        f" fragment F{each} on Query {{ {f'...F{each + 1} ' * spreads}}}" for each in range(length)
    )
    return f"{{ ...F0 }}{chain} fragment F{length} on Query {{ ping }}"


def nested(levels: int, field: str = "a") -> str:
    """Return fields in fields."""
    return f"{{{field}" * levels + "}" * levels


def repeated(count: int, part: str) -> str:
    """Return a selection of parts that know their number."""
    return "{ " + " ".join(part.replace("N", str(each)) for each in range(count)) + " }"


def _introspection(levels: int) -> str:
    return "{ __schema { types " + "{ fields { type " * levels + "{ name }" + " } }" * levels + " } }"


def _merging(levels: int) -> str:
    inner = "{ totalCount }"
    for _ in range(levels):
        inner = f"{{ nodes {{ id }} ... {inner} ... {inner} }}"
    return f"{{ actions {inner} actions {inner} }}"


_JSON_DEEP: Final = b'{"query":"{ ping }","variables":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"

ATTACKS: Final = (
    Attack("nested fragments, 2^25 fields in 1,000 bytes", document(fragments(25, 2)), TOO_COMPLEX),
    Attack("nested fragments, 2^150 fields", document(fragments(150, 2)), TOO_COMPLEX),
    Attack("nested fragments, 20 spreads each", document(fragments(15, 20)), TOO_COMPLEX),
    Attack("fragments in a circle of 2", document(fragments(1, 1).replace("ping", "...F0")), INVALID),
    Attack("fragments in a circle of 100", document(fragments(100, 1).replace("ping", "...F0")), INVALID),
    Attack("10,000 aliases", document(repeated(10_000, "aN: ping")), TOO_COMPLEX),
    Attack("500 aliases", document(repeated(500, "aN: ping")), TOO_COMPLEX),
    Attack("a field 10,000 times", document(repeated(10_000, "ping")), TOO_COMPLEX),
    Attack("a field 399 times in one place", document(repeated(399, "ping")), TOO_COMPLEX),
    Attack("merging, selections in pairs", document(_merging(6)), TOO_COMPLEX),
    Attack(
        "merging, 20 x 10 equal fields",
        document("{ " + "actions { nodes { id } nodes { name } } " * 20 + "}"),
        TOO_COMPLEX,
    ),
    Attack(
        "merging, 60 operations over one fragment",
        document(
            "".join(f"query Q{each} {{ ...F }} " for each in range(60))
            + "fragment F on Query {"
            + " ping" * 20
            + " }"
        ),
        TOO_COMPLEX,
    ),
    Attack(
        "1,000 operations", document("".join(f"query Q{n} {{ ping }} " for n in range(1_000))), TOO_COMPLEX
    ),
    Attack("fields 10,000 levels deep", document(nested(10_000)), TOO_COMPLEX),
    Attack("fields 16 levels deep", document(nested(16)), TOO_COMPLEX),
    Attack(
        "interface in interface, 100 levels",
        document('{ node(id: "a") { ' + "... on Node { " * 100 + "id" + " }" * 100 + " } }"),
        (401, "UNAUTHENTICATED"),
    ),
    Attack(
        "interface in interface, 4 types a level",
        document(
            '{ node(id: "a") { '
            + "... on Node { ... on Plan { id } ... on Action { id } ... on Viewer { id } } " * 60
            + "} }"
        ),
        TOO_COMPLEX,
    ),
    Attack("introspection in a circle", document(_introspection(5)), INVALID),
    Attack(
        "introspection without a key", document("{ __schema { types { name } } }"), (401, "UNAUTHENTICATED")
    ),
    Attack(
        "1,000 directives on a field", document("{ ping " + "@skip(if: false) " * 1_000 + "}"), TOO_COMPLEX
    ),
    Attack("30 unknown directives", document("{ ping " + "@a " * 30 + "}"), INVALID),
    Attack(
        "a list 10,000 deep", document("{ echo(text: " + "[" * 10_000 + "]" * 10_000 + ") }"), TOO_COMPLEX
    ),
    Attack(
        "a number of 90,000 digits",
        document("{ actions(first: " + "9" * 90_000 + ") { totalCount } }"),
        INVALID,
    ),
    Attack(
        "a string of 200,000 characters", document('{ echo(text: "' + "x" * 200_000 + '") }'), TOO_COMPLEX
    ),
    Attack("50,000 comments", document("#\n" * 49_000 + "{ ping }"), TOO_COMPLEX),
    Attack("49,000 tokens", document("{ echo(text: [" + "1 " * 49_000 + "]) }"), TOO_COMPLEX),
    Attack(
        "600 variables",
        document("query (" + " ".join(f"$v{n}: Int" for n in range(600)) + ") { ping }"),
        TOO_COMPLEX,
    ),
    Attack(
        "300 variables that are missing",
        document("query (" + " ".join(f"$v{n}: Int!" for n in range(300)) + ") { ping }"),
        INVALID,
    ),
    Attack(
        "a list of 200,000 where a string is due",
        document("query ($t: String!) { echo(text: $t) }", {"t": [1] * 200_000}),
        BAD_INPUT,
    ),
    Attack(
        "60,000 variables that nobody asked for",
        document("{ nothing }", {f"v{n}": 1 for n in range(60_000)}),
        INVALID,
    ),
    Attack("unicode: half a surrogate pair", document('{ echo(text: "\\ud800") }'), UNPARSABLE),
    Attack("unicode: outside of Unicode", document('{ echo(text: "\\u{110000}") }'), UNPARSABLE),
    Attack("unicode: names that look alike", document("{ p\u0456ng \u202e}"), UNPARSABLE),
    Attack("variables 100,000 deep", raw(_JSON_DEEP), BAD_INPUT),
    Attack("JSON 900,000 deep", raw(b"[" * 900_000), BAD_INPUT),
    Attack("a batch of 10,000", raw(b"[" + b",".join([b'{"query":"{ ping }"}'] * 10_000) + b"]"), BAD_INPUT),
    Attack("10 MB, declared", raw(b" " * 10_000_000), TOO_LARGE),
    Attack("10 MB, in chunks", raw(b" " * 10_000_000), TOO_LARGE, is_chunked=True),
)


def main() -> int:
    """Attack, print a table, and return 1 when an answer is not the expected one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of a running server of this machine; unset: a demo is started")
    parser.add_argument("--key", help="a key of that server, for a call to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.url and urlsplit(options.url).hostname not in LOOPBACK:
        parser.error("--url must be of this machine")
    if options.url:
        return _attack(options.url, options.key, options.rounds)
    with _demo(new_documents=options.rounds * len(ATTACKS)) as (url, key):
        return _attack(url, key, options.rounds)


def _attack(url: str, key: str | None, rounds: int) -> int:
    wrong = 0
    print("| Attack | Bytes | Status | Code | ms |\n|---|---|---|---|---|")
    with httpx.Client(base_url=url, headers={"accept": GRAPHQL}, timeout=60) as client:
        for name, body, headers in _comparisons(key):
            _row(name, len(body), *_timed(client, [body] * rounds, headers))
        for attack in ATTACKS:
            bodies = [attack.body(number) for number in range(rounds)]
            answer, milliseconds = _timed(client, bodies, {}, is_chunked=attack.is_chunked)
            is_wrong = answer != attack.expected
            wrong += is_wrong
            _row(attack.name + (" **unexpected**" if is_wrong else ""), len(bodies[0]), answer, milliseconds)
        _flood(client)
    return 1 if wrong else 0


def _comparisons(key: str | None) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    yield "(for comparison: `{ ping }`, read before)", b'{"query":"{ ping }"}', {}
    if key is not None:
        call = b'{"query":"{ echo(text: \\"x\\") }"}'
        yield "(for comparison: `echo`, charged)", call, {"authorization": f"Bearer {key}"}


def _timed(
    client: httpx.Client, bodies: list[bytes], headers: dict[str, str], *, is_chunked: bool = False
) -> tuple[tuple[int, str], float]:
    seconds = []
    answers: Counter[tuple[int, str]] = Counter()
    for body in bodies:
        content: Any = iter([body[start : start + 65_536] for start in range(0, len(body), 65_536)])
        started = time.perf_counter()
        reply = client.post(
            "/graphql",
            content=content if is_chunked else body,
            headers={"content-type": "application/json", **headers},
        )
        seconds.append(time.perf_counter() - started)
        answers[reply.status_code, code_of(reply.json())] += 1
    return answers.most_common(1)[0][0], statistics.median(seconds) * 1_000


def code_of(reply: Any) -> str:
    """Return the code of a reply's first error, `OK` when it has none."""
    errors = reply.get("errors") or [reply] if "data" not in reply else []
    return str(errors[0].get("extensions", errors[0]).get("code")) if errors else "OK"


def _flood(client: httpx.Client) -> None:
    seconds, answers = [], Counter[tuple[int, str]]()
    for number in range(FLOOD):
        started = time.perf_counter()
        reply = client.post("/graphql", json={"query": f"{{ flood{number}: ping }}"})
        seconds.append(time.perf_counter() - started)
        answers[reply.status_code, code_of(reply.json())] += 1
    (answer, count), milliseconds = answers.most_common(1)[0], statistics.median(seconds) * 1_000
    _row(f"{FLOOD:,} new documents from one address: {count} alike", 33, answer, milliseconds)


def _row(name: str, size_bytes: int, answer: tuple[int, str], milliseconds: float) -> None:
    status, code = answer
    print(f"| {name} | {size_bytes:,} | {status} | `{code}` | {milliseconds:.1f} |", flush=True)


@contextmanager
def _demo(new_documents: int) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="af-") as directory:
        command = [sys.executable, "-m", "api_factory.cli", "demo", "--port", "0", "--json"]
        child = subprocess.Popen(
            command,
            env={
                **os.environ,
                "API_FACTORY_DATA_DIR": directory,
                "API_FACTORY_LOG_LEVEL": "error",
                "API_FACTORY_ADDRESS_DOCUMENT_RATE": f"{new_documents}/minute",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            opened = json.loads(child.stdout.readline() if child.stdout else "")
            yield opened["url"], opened["key"]
        finally:
            child.terminate()
            child.wait(30)


if __name__ == "__main__":
    sys.exit(main())
