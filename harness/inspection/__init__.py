"""The look into a package's image, by a process of its own."""
