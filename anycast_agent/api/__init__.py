"""The surfaces: read-only HTTP, and a control socket for requests that change state."""
