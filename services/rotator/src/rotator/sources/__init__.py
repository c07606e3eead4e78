"""Where changes in backends are heard of. Each source is off until it is configured; see docs/change-events.md."""

from rotator.sources.opened import open_sources, run_sources
from rotator.sources.source import Emit, Source

__all__ = ["Emit", "Source", "open_sources", "run_sources"]
