"""The lab: containerlab's topology file in plain network namespaces, drills against it, and what they showed."""
