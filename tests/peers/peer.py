"""A counterparty in Python: PyJWT and cryptography, nothing of ours.

Reads one JSON object a line and answers with one. `sign` makes the headers of a request or an answer, `verify` checks
a message as an agency's own software would. The clock is the caller's `now`, in seconds.
"""

import base64
import hashlib
import json
import sys

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def digest(body: str) -> str:
    return "SHA-256=" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()


def sign(order):
    chain = x509.load_pem_x509_certificates(order["chain"].encode())
    x5c = [base64.b64encode(c.public_bytes(Encoding.DER)).decode() for c in chain]
    now = order["now"]

    def token(jti, **more):
        claims = {"iss": order["iss"], "aud": order["aud"], "iat": now, "nbf": now, "exp": now + 120, "jti": jti}
        return jwt.encode(claims | more, order["key"], algorithm=order["alg"], headers={"x5c": x5c})

    sent = digest(order["body"])
    signed = [{"digest": sent}, {"content-type": "application/json"}]
    headers = [["Digest", sent], ["Content-Type", "application/json"]]
    if "request_digest" in order:
        integrity = token("py-4", signed_headers=signed, request_digest=order["request_digest"])
        return {"headers": headers + [["Agid-JWT-Signature", integrity]]}
    evidence = token("py-3", userID="op-7", userLocation="sportello", LoA="substantial")
    return {
        "headers": headers
        + [
            ["Authorization", "Bearer " + token("py-1")],
            ["Agid-JWT-Signature", token("py-2", signed_headers=signed)],
            ["Agid-JWT-TrackingEvidence", evidence],
        ]
    }


def opened(token, order, root):
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "JWT", "typ"
    leaf = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
    leaf.verify_directly_issued_by(root)
    key = leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # The library reads the machine's clock; the caller's is compared below.
    options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["iat", "exp", "jti"]}
    claims = jwt.decode(token, key, algorithms=[order["alg"]], audience=order["aud"], options=options)
    assert claims["iat"] <= order["now"] < claims["exp"], "time"
    return claims


def verify(order):
    root = x509.load_pem_x509_certificate(order["root"].encode())
    headers = {name.lower(): value for name, value in order["headers"]}
    integrity = opened(headers["agid-jwt-signature"], order, root)
    listed = {name: value for entry in integrity["signed_headers"] for name, value in entry.items()}
    for name, value in listed.items():
        assert headers[name] == value, "signed header " + name
    assert listed["digest"] == digest(order["body"]), "digest"
    if "request_digest" in order:
        assert integrity["request_digest"] == order["request_digest"], "request_digest"
        return {"ok": True, "iss": integrity["iss"]}
    scheme, bearer = headers["authorization"].split(" ")
    assert scheme == "Bearer", "scheme"
    evidence = opened(headers["agid-jwt-trackingevidence"], order, root)
    return {"ok": True, "iss": opened(bearer, order, root)["iss"], "operator": evidence["userID"]}


for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = sign(order) if order["do"] == "sign" else verify(order)
    except Exception as error:  # whatever the libraries raise is a "no"
        answer = {"ok": False, "why": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
