"""What is measured beside this server: each peer does the same job behind the same guard."""
