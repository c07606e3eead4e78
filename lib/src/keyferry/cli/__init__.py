"""The ``keyferry`` command line, for people who run a cluster; no service imports it."""
