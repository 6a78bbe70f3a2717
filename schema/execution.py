"""Running an operation: its variables are coerced, it is surveyed, and graphql-core executes it.

Preparing touches nothing; the guard stands between `prepare` and `execute`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from graphql import ExecutionResult, OperationDefinitionNode, OperationType
from graphql.execution import Executor

from api_factory.errors import BadUserInput
from schema.build import GuardedSchema
from schema.context import Context
from schema.documents import Document
from schema.limits import MAX_ERRORS
from schema.operation import Survey, survey
from schema.refusals import DocumentRefused


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that only waits for its context."""

    document: Document
    executor: Executor[Any]
    survey: Survey
    is_mutation: bool


def prepare(
    schema: GuardedSchema,
    document: Document,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
) -> Prepared:
    """Coerce the variables and survey the operation; from memory when no variable decides.

    Raises:
        DocumentRefused: A variable is missing or of the wrong type.
        QueryTooComplex: The survey would take too long.
    """
    name = operation.name.value if operation.name else None
    executor = schema.executor_class.build(
        schema.core,
        document.node,
        raw_variable_values=dict(variables),
        operation_name=name,
        max_coercion_errors=MAX_ERRORS,
        hide_suggestions=True,
        operation_extensions=None,
    )
    if isinstance(executor, list):
        raise DocumentRefused(BadUserInput, executor)
    found = document.surveys.get(name)
    if found is None:
        found = survey(
            schema.rules,
            operation,
            document.fragments,
            executor.variable_values,
            is_trusted=document.is_trusted,
        )
        if found.is_constant:
            document.surveys[name] = found
    return Prepared(document, executor, found, operation.operation is OperationType.MUTATION)


async def execute(prepared: Prepared, context: Context) -> ExecutionResult:
    """Run the operation; errors of fields are in the result. A prepared operation runs once."""
    prepared.executor.context_value = context
    # An ExecutionResult, or what it is awaited from: the schema delivers nothing incrementally.
    result: Any = prepared.executor.execute_operation()
    finished: ExecutionResult = await result if isawaitable(result) else result
    return finished


def failed_calls(result: ExecutionResult, prepared: Prepared) -> list[int]:
    """Return which calls have nothing to show: an error stands where the client expects their value.

    When one field takes the whole data with it, the other calls of a query have nothing to show either;
    those of a mutation have had their effect, and an effect is never free.
    """
    data, errors = result.data, result.errors or []
    survey = prepared.survey
    if data is None:
        return [] if prepared.is_mutation else list(survey.calls.values())
    failed = {error.path[0] for error in errors if error.path and data.get(str(error.path[0])) is None}
    return [index for key, index in survey.calls.items() if key in failed]
