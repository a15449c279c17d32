// Checks receipts with code that is not ours: Sigstore's verifier, from npm, checks Merkle inclusion and the checkpoint's
// signature. It knows of Varco only where a receipt keeps its entry (the line `extra`).
//
// node receipt.mjs <verifier key> <file>...   exits 0 when every file proves its entry, 1 otherwise.

import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import merkle from "./node_modules/@sigstore/verify/dist/tlog/merkle.js";
import checkpoint from "./node_modules/@sigstore/verify/dist/tlog/checkpoint.js";

const [text, ...files] = process.argv.slice(2);
const [name, hint, encoded] = [text.split("+")[0], text.split("+")[1], text.split("+").slice(2).join("+")];
const raw = Buffer.from(encoded, "base64").subarray(1);
const publicKey = createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
  format: "jwk",
});
const logs = [{ baseURL: name, logID: Buffer.from(hint, "hex"), publicKey }];

for (const file of files) {
  const receipt = readFileSync(file, "utf8");
  const end = receipt.indexOf("\n\n");
  const [magic, extra, index, ...hashes] = receipt.slice(0, end).split("\n");
  if (magic !== "c2sp.org/tlog-proof@v1") throw new Error(`${file}: not a proof`);
  const entry = {
    canonicalizedBody: Buffer.from(extra.replace("extra ", ""), "base64"),
    inclusionProof: {
      logIndex: index.replace("index ", ""),
      hashes: hashes.map((hash) => Buffer.from(hash, "base64")),
      checkpoint: { envelope: receipt.slice(end + 2) },
    },
  };
  try {
    merkle.verifyMerkleInclusion(entry, checkpoint.verifyCheckpoint(entry, logs));
  } catch (error) {
    console.error(`${file}: ${error.message}`);
    process.exit(1);
  }
}
console.log("ok", files.length);
