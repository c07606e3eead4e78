"""The only place that speaks NATS.

Traces cross the bus in a ``traceparent`` header; spans follow OpenTelemetry's messaging conventions, with the subject's
template as destination (the subject itself names a node and a volume: too many values for a label).
"""

from keyferry.bus.connection import Bus, connect
from keyferry.bus.deliver import Delivery, Handler
from keyferry.bus.pull import Consumer
from keyferry.bus.replay import Stored

__all__ = ["Bus", "Consumer", "Delivery", "Handler", "Stored", "connect"]
