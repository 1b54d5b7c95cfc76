"""certification.json: the machine-readable report, schema conformance/data/schemas/racs-certification-1.json."""

from conformance.certification import Certification


def render(certification: Certification) -> bytes:
    return certification.to_json().encode()
