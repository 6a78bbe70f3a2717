"""The statements of billing, a module a table."""
