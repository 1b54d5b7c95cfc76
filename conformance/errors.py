"""Errors are named by whose fault they are; anything else that is raised is a bug of ours and stays loud."""


class SubjectError(Exception):
    """What was delivered to us is broken: becomes a finding of a failed requirement, never a traceback.

    expected, seen, where and remedy are sentences for the app developer; requirement is the id that owns the defect
    (``""`` where the caller knows it).
    """

    def __init__(self, expected: str, seen: str, where: str = "", remedy: str = "", requirement: str = "") -> None:
        super().__init__(f"{where + ': ' if where else ''}expected {expected}, saw {seen}")
        self.expected = expected
        self.seen = seen
        self.where = where
        self.remedy = remedy
        self.requirement = requirement


class EnvironmentFault(Exception):
    """The lab could not tell: what hangs on it is inconclusive."""


class BrokenLab(Exception):
    """The lab does not keep the platform's side of the contract: an error in the suite (exit status 3)."""


class UsageError(Exception):
    """The call or the machine lacks something (exit status 4); the message says what and how to mend it."""
