"""ExaBGP, the small pipe between it and the agent, and the agent's side of that pipe."""
