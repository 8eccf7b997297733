"""The parts: each owns one subject, and none imports another. ``part`` says how they work together."""
