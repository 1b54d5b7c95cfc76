"""What the tests of the harness share."""

from dispositions import usual_signals

__all__ = ["usual_signals"]
