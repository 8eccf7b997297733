"""One file a protocol: its parameters, and its probe."""
