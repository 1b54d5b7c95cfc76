"""Makes this folder's own modules (command_line) importable by all tests below it."""
