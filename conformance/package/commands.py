"""The commands that mend a package, as findings give them: NAME stands for its base name, IMAGE.qcow2 for its image
(`checks.remedies` fills them in), signer.key and signer.crt for what `./racs ca` made or the platform's owner issued.
"""

WITHOUT_ACL = " (without auth/acl.xml where the app does not use the bus)"
BUILD = (  # writes manifest, signature and archive in one go
    "./racs build-ova --ovf NAME.ovf --image IMAGE.qcow2 --privatekey signer.key --certificate signer.crt -o NAME.ova"
)
_LIST = (
    "for f in NAME.ovf IMAGE.qcow2 auth/acl.xml; do "
    'printf "SHA256(%s)= %s\\n" "$f" "$(sha256sum < "$f" | cut -c1-64)"; done > NAME.mf'
)
_SIGN = (
    "{ printf 'SHA256(NAME.mf)= '; openssl dgst -sha256 -sign signer.key NAME.mf | od -An -v -tx1 | tr -d ' \\n'; "
    "echo; cat signer.crt; } > NAME.cert"
)
# -h: files in place of symbolic links; owners of the builder's machine may not fit into USTAR's fields
TAR = "tar --format=ustar -h --owner=0 --group=0 -cf NAME.ova NAME.ovf NAME.mf NAME.cert IMAGE.qcow2 auth/acl.xml"
PACK = f"pack it again with `{BUILD}`, or: {TAR}{WITHOUT_ACL}"
"""What is in the files is right, the archive is not."""
SIGN = f"sign and pack it again with `{BUILD}`, or: {_SIGN} && {TAR}{WITHOUT_ACL}"
"""The manifest is right, the .cert is not."""
LIST = f"list, sign and pack it again with `{BUILD}`, or: {_LIST} && {_SIGN} && {TAR}{WITHOUT_ACL}"
"""A member has changed, so that all that speaks of it has to."""
