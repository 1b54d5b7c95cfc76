"""Packages alone, without a machine: `racs check` and `racs inspect`."""
