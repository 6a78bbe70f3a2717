"""Runs one operation twice, compiled and by graphql-core, and tells what differs."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from dataclasses import dataclass
from typing import Any

from graphql import DocumentNode, ExecutionResult, FragmentDefinitionNode, GraphQLError
from graphql.execution import Executor
from graphql.execution.values import get_variable_values

from schema.compiler import Compiler, Programs
from tests.schema.compiler.worlds import RUN, Run, World

_ADDRESS = re.compile(r" at 0x[0-9a-f]+|_\d+_executor")


@dataclass(frozen=True)
class Observed:
    """All that can be seen of one run."""

    data: Any
    errors: list[Any]
    raised: str
    log: list[Any]
    late: list[Any]
    """What happened after the result was there."""
    left: int
    """Tasks that never came to their end."""
    complaints: list[str]
    """Warnings and errors that Python or the loop gave."""


def programs_of(
    schema: Any, document: DocumentNode, *, is_on: bool, compiler: type[Compiler] = Compiler
) -> Programs:
    """Return the programs of a document's first operation, compiled at once."""
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    made = compiler(schema, Executor, 5, is_on=is_on, runs_before=0)
    return made.programs(document.definitions[0], fragments)  # type: ignore[arg-type]


class Judge:
    """Has a loop of its own, which knows no other test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.complaints: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context["message"]))

    def close(self) -> None:
        """End the loop."""
        self.loop.close()

    def observe(self, programs: Programs, variables: Any, run: Run) -> Observed:
        """Run once and wait until nothing is left to wait for."""
        self.complaints = []
        # What a run leaves behind is thrown away here, where its complaints are heard: all of it, and
        # nothing of what was there before, which would take long to look through.
        gc.disable()
        gc.freeze()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result, raised, count, left = self.loop.run_until_complete(_ran(programs, variables, run))
            observed_data, errors = plain(result.data), [told(each) for each in result.errors or ()]
            del result
            # The loop holds on to what it did last until it does something else.
            self.loop.run_until_complete(asyncio.sleep(0))
            gc.collect()
        gc.unfreeze()
        gc.enable()
        complaints = [*self.complaints, *sorted({_complaint(str(each.message)) for each in warned})]
        return Observed(observed_data, errors, raised, run.log[:count], run.log[count:], left, complaints)


async def _ran(programs: Programs, variables: Any, run: Run) -> tuple[ExecutionResult, str, int, int]:
    token, raised = RUN.set(run), ""
    try:
        result = await programs.run(run, variables)
    except Exception as error:
        # What cannot be told is no error of a field, and goes through both executors.
        result, raised = ExecutionResult(None), f"{type(error).__name__}: {error.args}"
    count = len(run.log)
    for _ in range(50):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0)
    left = len(asyncio.all_tasks()) - 1
    RUN.reset(token)
    return result, raised, count, left


def told(error: GraphQLError) -> Any:
    """Return all of an error that anybody can see."""
    return (
        _named(error.message),
        error.path,
        error.locations,
        [id(node) for node in error.nodes or ()],
        error.extensions,
        type(error.original_error),
        _named(repr(getattr(error.original_error, "args", None))),
    )


def plain(value: Any) -> Any:
    """Return data with the order of its keys, and with types and values that compare to themselves."""
    if isinstance(value, dict):
        return [(key, plain(each)) for key, each in value.items()]
    if isinstance(value, list):
        return ["list", *(plain(each) for each in value)]
    return (type(value), _named(repr(value)))


def _named(text: str) -> str:
    return _ADDRESS.sub("", text)


def _complaint(text: str) -> str:
    # The executors' own coroutines have names of their own.
    is_ours = any(f"'{name}" in text for name in ("waiting", "type_", "coroutine.", "_scalars"))
    return text if is_ours else re.sub(r"'.*'", "'…'", text)


def assert_same_variables(schema: Any, programs: Programs, given: dict[str, Any]) -> Any:
    """Compare the reading of variables; return them, or None where they are refused."""
    expected = get_variable_values(
        schema, programs.node.variable_definitions or (), dict(given), 5, hide_suggestions=True
    )
    found = programs.reader.read(given)
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert [told(each)[:5] for each in found] == [told(each)[:5] for each in expected]
        return None
    assert not isinstance(found, list), found
    assert plain(found.coerced) == plain(expected.coerced)
    assert list(found.sources) == list(expected.sources)
    for name, source in expected.sources.items():
        assert found.sources[name].signature.name == source.signature.name
        assert str(found.sources[name].signature.type) == str(source.signature.type)
        assert found.sources[name].value is source.value
    return found


def differences(
    judge: Judge, world: World, compiled: Programs, core: Programs, variables: Any, run: tuple[int, float]
) -> tuple[Observed, Observed]:
    """Return what was observed of both executors."""
    expected = judge.observe(core, variables, Run(*run))
    return judge.observe(compiled, variables, Run(*run)), expected
