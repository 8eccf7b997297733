"""The lab: it runs containerlab's topology file in plain network namespaces, plays drills against it, and reports."""
