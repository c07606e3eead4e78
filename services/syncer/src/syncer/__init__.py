"""Keeps Kubernetes Secrets and status in step with the volumes."""
