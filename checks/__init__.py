"""What is checked besides the tests: ``python3 dev.py check``."""
