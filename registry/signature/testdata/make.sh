#!/bin/sh
# Makes what lies beside it, with openssl and the Python package model_signing (1.1.1):
#
#	PYTHON=… sh make.sh
#
# The keys sign nothing but tests.
set -eu
cd "$(dirname "$0")"
rm -rf keys model signatures
mkdir -p keys model/sub signatures

for curve in P-256 P-384 P-521; do
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:$curve -out keys/$curve.pem
	openssl pkey -in keys/$curve.pem -pubout -out keys/$curve.pub
done
openssl ec -in keys/P-256.pem -out keys/P-256.sec1.pem # the same key, in SEC 1
{ openssl ecparam -name prime256v1; cat keys/P-256.sec1.pem; } >keys/P-256.params.pem
openssl pkcs8 -topk8 -in keys/P-256.pem -passout pass:secret -out keys/encrypted.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out keys/secp256k1.pem
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out keys/rsa.pem
openssl pkey -in keys/rsa.pem -pubout -out keys/rsa.pub

# A root, an authority below it, and certificates of two signers: one may sign, the other is for servers.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=root \
	-addext keyUsage=critical,keyCertSign -keyout root.key -out keys/root.crt
issue() { # NAME ISSUER EXTENSIONS
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "keys/$1.pem" -out request
	printf '%s\n' "$3" >extensions
	openssl x509 -req -in request -days 30 -CA "keys/$2.crt" -CAkey "$4" -CAcreateserial -extfile extensions -out "keys/$1.crt"
}
issue authority root "basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign" root.key
issue signer authority "keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning" keys/authority.pem
issue server authority "keyUsage=critical,keyAgreement
extendedKeyUsage=serverAuth" keys/authority.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=root -keyout other.key -out keys/other-root.crt
rm -f root.key other.key request extensions keys/*.srl

printf 'not really a model\n' >model/model.joblib
printf 'a scaler\n' >model/scaler.joblib
printf 'b\n' >model/sub/b.txt
printf 'after the folder for strings, before it for paths\n' >model/sub.txt

sign() { "${PYTHON:-python3}" -m model_signing sign "$@" >/dev/null; }
for curve in P-256 P-384 P-521; do
	sign key model --private_key keys/$curve.pem --signature signatures/$curve.sig
done
sign certificate model --private_key keys/signer.pem --signing_certificate keys/signer.crt \
	--certificate_chain keys/authority.crt --signature signatures/certificate.sig
sign certificate model --private_key keys/server.pem --signing_certificate keys/server.crt \
	--certificate_chain keys/authority.crt --signature signatures/server.sig
