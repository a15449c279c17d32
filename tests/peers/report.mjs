// Checks a person's report with code that is not ours: Node's own cryptography checks the seal (RFC 7515, ES256) and that its
// certificate is the gateway's and was issued by the authority of seals.
//
// node report.mjs <authority.pem> <gateway's seal.pem> <report.jws>   prints the claims; exits 1 when the seal is not good.

import { X509Certificate, createHash, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const [authority, seal, file] = process.argv.slice(2);
const issuer = new X509Certificate(readFileSync(authority));
const certificate = new X509Certificate(readFileSync(seal));
const [head, payload, signature] = readFileSync(file, "utf8").trim().split(".");
const header = JSON.parse(Buffer.from(head, "base64url").toString());

const named = header.x5c
  ? Buffer.from(header.x5c[0], "base64").equals(certificate.raw)
  : header["x5t#S256"] === createHash("sha256").update(certificate.raw).digest("base64url");
const key = { key: certificate.publicKey, dsaEncoding: "ieee-p1363" };
const good =
  header.alg === "ES256" &&
  named &&
  certificate.verify(issuer.publicKey) &&
  verify("sha256", Buffer.from(`${head}.${payload}`), key, Buffer.from(signature, "base64url"));
if (!good) {
  console.error(`${file}: the seal is not good`);
  process.exit(1);
}
console.log(Buffer.from(payload, "base64url").toString());
