"""What is shown and asked from outside: read-only HTTP, and a control socket for what changes state."""
