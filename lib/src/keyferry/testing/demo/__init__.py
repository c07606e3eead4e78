"""`make demo`: two manifests of the guide, mounted through all of Keyferry on one machine."""
