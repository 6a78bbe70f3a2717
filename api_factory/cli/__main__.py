"""`python -m api_factory.cli` is `api-factory`."""

from __future__ import annotations

from api_factory.cli import main

if __name__ == "__main__":
    main()
