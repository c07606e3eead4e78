"""The live page: an optional small web page that shows volumes, contents, lag and failures to who may see them.

It is off by default, and imported only where it is on: a rotator without it carries no Kubernetes client and has no
access to Kubernetes.
"""
