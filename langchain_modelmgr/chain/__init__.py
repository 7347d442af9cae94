"""The chain: one call goes down its candidates until one of them answers."""
