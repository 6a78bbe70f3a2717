"""Operations compiled to Python; README.md says how."""

from __future__ import annotations

from schema.compiler.program import MAX_PROGRAMS, Compiler, Program, Programs
from schema.compiler.variables import VariableReader

__all__ = ["MAX_PROGRAMS", "Compiler", "Program", "Programs", "VariableReader"]
