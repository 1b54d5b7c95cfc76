#!/bin/sh
# pack_by_hand.sh DESCRIPTOR IMAGE ACL: out of a descriptor, an image and an ACL a signed package, app.ova, in this folder,
# by openssl and GNU tar alone: a root, an intermediate and a leaf, the manifest, its signature, the archive.
set -eu
cp "$1" app.ovf
cp "$2" disk.qcow2
mkdir -p auth
cp "$3" auth/acl.xml

issue() { # NAME ISSUER EXTENSIONS
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "/CN=$1" -out "$1.csr" 2>openssl.log
    printf '%b' "$3" >"$1.ext"
    if [ "$2" = "$1" ]; then signed="-signkey $1.key"; else signed="-CA $2.pem -CAkey $2.key -CAcreateserial"; fi
    openssl x509 -req -in "$1.csr" $signed -days 3650 -extfile "$1.ext" -out "$1.pem" 2>openssl.log
}

issue root root 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n'
issue middle root 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n'
issue leaf middle 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n'

for file in app.ovf disk.qcow2 auth/acl.xml; do
    digest=$(openssl dgst -sha256 -r "$file")
    printf 'SHA256(%s)= %s\n' "$file" "${digest%% *}"
done >app.mf
openssl dgst -sha256 -sign leaf.key -out app.sig app.mf
printf 'SHA256(app.mf)= %s\n' "$(od -An -v -tx1 app.sig | tr -d ' \n')" | cat - leaf.pem middle.pem >app.cert
tar --format=ustar --owner=0 --group=0 --numeric-owner -cf app.ova app.ovf app.mf app.cert disk.qcow2 auth/acl.xml
