"""Takes requests from the bus, reads the backends with the pod's own identity, answers sealed."""
