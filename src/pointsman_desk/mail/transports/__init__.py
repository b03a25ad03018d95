"""How a reply leaves the desk."""
