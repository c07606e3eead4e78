"""The chart, installed by Helm's own library on a cluster of the tests."""
