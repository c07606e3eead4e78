"""Decides when contents are fetched again."""
