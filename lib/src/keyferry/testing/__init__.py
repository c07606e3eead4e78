"""Real and faithful servers that tests and the demo start for themselves."""
