"""The authors' side: `@action`, what it accepts, and the catalogue that the faces serve.

- `declaration`: the decorator and its options.
- `definition`: a function, its declaration and its signature make an `Action`.
- `annotations`, `defaults`, `docstrings`, `names`: the rules for types, values, help texts and names.
- `catalogue`: the actions of the named modules and of the installed packages.
- `calls`: `Caller`, `ActionError`, `ID`.

Guarantee: what is in a `Catalogue` can be shown, priced and called by every face; anything else stopped the
start with a sentence that names the function and the fix.
"""

from __future__ import annotations

from dataclasses import MISSING

from api_factory.actions.annotations import Parameter, fields_of, readable, types_in
from api_factory.actions.calls import ID, SERVER_CODES, ActionError, Caller
from api_factory.actions.catalogue import ENTRY_POINT_GROUP, Catalogue
from api_factory.actions.declaration import Charge, Kind, action
from api_factory.actions.definition import Action, define
from api_factory.actions.docstrings import docstring_of
from api_factory.actions.names import ACTION_SCOPE, BUILT_IN_SCOPES, DEFAULT_SCOPES, camel_case
from api_factory.actions.refusals import ActionDefinitionError

__all__ = [
    "ACTION_SCOPE",
    "BUILT_IN_SCOPES",
    "DEFAULT_SCOPES",
    "ENTRY_POINT_GROUP",
    "ID",
    "MISSING",
    "SERVER_CODES",
    "Action",
    "ActionDefinitionError",
    "ActionError",
    "Caller",
    "Catalogue",
    "Charge",
    "Kind",
    "Parameter",
    "action",
    "camel_case",
    "define",
    "docstring_of",
    "fields_of",
    "readable",
    "types_in",
]
