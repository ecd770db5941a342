"""Exact rewrites: a network's modules made to compute the same with less work, each switched on by itself."""
