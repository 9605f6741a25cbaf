"""A model answers on this machine: pinned weights, converted, served, always stopped."""
