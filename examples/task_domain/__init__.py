"""Tasks that people create, assign, complete and forget: the tutorial's domain, see README.md."""
