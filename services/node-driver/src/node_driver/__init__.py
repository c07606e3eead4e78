"""The CSI node plugin: what kubelet asks becomes a request on the bus, and the answer files on a tmpfs."""
