"""Entering the lab's private namespaces, before any thread, socket or libvirt exists."""

import sys
from collections.abc import Callable

from conformance.errors import UsageError
from conformance.profile import Profile
from harness import init


def require_lab(profile: Profile, before: Callable[[], None], *more: str) -> None:
    """Be inside the lab's private namespaces: returns when we are, else replaces this process by itself inside them.

    before is called at the last moment; more are arguments that it is called with there besides its own. Raises
    UsageError where the machine lacks what a run by this profile needs.
    """
    if init.inside():
        return
    from harness import host

    lacking = host.missing() or host.unknown(profile)
    if lacking:
        lines = "\n  ".join(f"{lack.what}: {lack.remedy}" for lack in lacking)
        raise UsageError(f"this machine lacks what a run needs:\n  {lines}")
    before()
    init.enter([sys.executable, *sys.orig_argv[1:], *more])
