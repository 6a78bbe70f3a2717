"""What a subscription grants. See README.md."""
