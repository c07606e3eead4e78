"""The services' images, made from the Dockerfile without a container engine, for clusters that have containerd alone.

What differs from an engine's build is said in `keyferry.testing.images.build.DIFFERENCES`, and nowhere else.
"""
