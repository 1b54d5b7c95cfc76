"""Something a fault does beside the app's own work."""

import threading
from collections.abc import Callable


def later(seconds: float, work: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
