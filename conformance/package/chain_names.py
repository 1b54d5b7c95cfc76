"""Distinguished names of a certificate chain: compared as RFC 5280 7.1 says, and held against name constraints."""

import unicodedata
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

_SHOWN_MAX = 1024  # X.520's bounds allow a name half of it; a hostile one fills its certificate

_FORMS: tuple[tuple[type[x509.GeneralName], str], ...] = (
    (x509.DNSName, "DNS names"),
    (x509.RFC822Name, "mail addresses"),
    (x509.IPAddress, "IP addresses"),
    (x509.UniformResourceIdentifier, "URIs"),
    (x509.RegisteredID, "registered identifiers"),
    (x509.OtherName, "names of other forms"),
)


def describe(certificate: x509.Certificate) -> str:
    """A certificate's subject for people, whole."""
    return show(certificate.subject) or "a certificate without subject"


def show(name: x509.Name) -> str:
    """A name as RFC 4514 writes it, whole: CN=leaf,O=Acme. What a terminal would not print is escaped, which 2.4 allows
    for any character."""
    try:
        text = name.rfc4514_string()
    except ValueError:
        return "an unreadable name"
    plain = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return plain if len(plain) <= _SHOWN_MAX else plain[:_SHOWN_MAX] + "…"


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def same(name: x509.Name, other: x509.Name) -> bool:
    """Whether two names are one: upper or lower case, blanks and string types do not count (RFC 5280 7.1)."""
    return _prepared(name) == _prepared(other)


_Part = frozenset[tuple[x509.ObjectIdentifier, str | bytes]]


def _prepared(name: x509.Name) -> list[_Part]:
    """A set for each relative distinguished name: the order of the attributes within one does not count."""
    return [frozenset((attribute.oid, _fold(attribute.value)) for attribute in rdn) for rdn in name.rdns]


def _fold(value: str | bytes) -> str | bytes:
    """RFC 4518: compatible forms, case and runs of blanks are folded."""
    return value if isinstance(value, bytes) else " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def outside(constraints: x509.NameConstraints, certificate: x509.Certificate) -> Iterator[str]:
    """What about a certificate's names the constraints of an authority above it refuse, a phrase each.

    Directory names are processed. Another form that both constrain and name is refused, as RFC 5280 4.2.1.10 wants it
    of who does not process it. Raises ValueError for names that cannot be read.
    """
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for name in _directory_names(certificate):
        within = [_is_below(name, base.value) for base in permitted if isinstance(base, x509.DirectoryName)]
        if within and not any(within):
            yield f"the name {show(name)}, which is in no permitted subtree"
        if any(_is_below(name, base.value) for base in excluded if isinstance(base, x509.DirectoryName)):
            yield f"the name {show(name)}, which is in an excluded subtree"
    constrained = (*permitted, *excluded)
    for form, words in _FORMS:
        if any(isinstance(base, form) for base in constrained) and _has_form(certificate, form):
            yield f"{words}, whose constraints this suite does not process and must not pass over"


def _is_below(name: x509.Name, base: x509.Name) -> bool:
    parts = _prepared(base)
    return _prepared(name)[: len(parts)] == parts


def _directory_names(certificate: x509.Certificate) -> list[x509.Name]:
    """The subject, where there is one, and the directory names among the alternative names."""
    subjects = [certificate.subject] if certificate.subject.rdns else []
    return subjects + [name.value for name in _alternatives(certificate) if isinstance(name, x509.DirectoryName)]


def _has_form(certificate: x509.Certificate, form: type[x509.GeneralName]) -> bool:
    """RFC 5280 4.2.1.10: a mail address may stand in the subject, too."""
    in_subject = form is x509.RFC822Name and certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    return bool(in_subject) or any(isinstance(name, form) for name in _alternatives(certificate))


def _alternatives(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()
