"""The operator's pages. See README.md."""
