"""Who operates the server. See README.md."""
