"""The same work in openbell and in what a user would pick instead: `python -m benchmarks.peers`."""
