// A counterparty in Node: the `jose` package and node:crypto, nothing of ours.
//
// Reads one JSON object a line and answers with one. `sign` makes the headers of a request or an answer, `verify`
// checks a message as an agency's own software would. The clock is the caller's `now`, in seconds.

import { createHash, X509Certificate } from "node:crypto";
import { createInterface } from "node:readline";
import * as jose from "jose";

const digest = (body) => "SHA-256=" + createHash("sha256").update(body).digest("base64");

const demand = (condition, what) => {
  if (!condition) throw new Error(what);
};

async function sign(order) {
  const key = await jose.importPKCS8(order.key, order.alg);
  const x5c = [new X509Certificate(order.chain).raw.toString("base64")];
  const token = (jti, more) =>
    new jose.SignJWT({ jti, ...more })
      .setProtectedHeader({ alg: order.alg, typ: "JWT", x5c })
      .setIssuer(order.iss)
      .setAudience(order.aud)
      .setIssuedAt(order.now)
      .setNotBefore(order.now)
      .setExpirationTime(order.now + 120)
      .sign(key);

  const sent = digest(order.body);
  const signed_headers = [{ digest: sent }, { "content-type": "application/json" }];
  const headers = [["Digest", sent], ["Content-Type", "application/json"]];
  if (order.request_digest) {
    const integrity = await token("js-4", { signed_headers, request_digest: order.request_digest });
    return { headers: [...headers, ["Agid-JWT-Signature", integrity]] };
  }
  const operator = { userID: "op-7", userLocation: "sportello", LoA: "substantial" };
  return {
    headers: [
      ...headers,
      ["Authorization", "Bearer " + (await token("js-1", {}))],
      ["Agid-JWT-Signature", await token("js-2", { signed_headers })],
      ["Agid-JWT-TrackingEvidence", await token("js-3", operator)],
    ],
  };
}

async function opened(token, order, root) {
  const { x5c } = jose.decodeProtectedHeader(token);
  const leaf = new X509Certificate(Buffer.from(x5c[0], "base64"));
  demand(leaf.checkIssued(root) && leaf.verify(root.publicKey), "chain");
  const key = await jose.importX509(leaf.toString(), order.alg);
  const { payload } = await jose.jwtVerify(token, key, {
    algorithms: [order.alg],
    audience: order.aud,
    currentDate: new Date(order.now * 1000),
    requiredClaims: ["iat", "exp", "jti"],
    typ: "JWT",
  });
  return payload;
}

async function verify(order) {
  const root = new X509Certificate(order.root);
  const headers = Object.fromEntries(order.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const integrity = await opened(headers["agid-jwt-signature"], order, root);
  const listed = Object.assign({}, ...integrity.signed_headers);
  for (const [name, value] of Object.entries(listed)) demand(headers[name] === value, "signed header " + name);
  demand(listed.digest === digest(order.body), "digest");
  if (order.request_digest) {
    demand(integrity.request_digest === order.request_digest, "request_digest");
    return { ok: true, iss: integrity.iss };
  }
  const [scheme, bearer] = headers.authorization.split(" ");
  demand(scheme === "Bearer", "scheme");
  const evidence = await opened(headers["agid-jwt-trackingevidence"], order, root);
  return { ok: true, iss: (await opened(bearer, order, root)).iss, operator: evidence.userID };
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = order.do === "sign" ? await sign(order) : await verify(order);
  } catch (error) {
    answer = { ok: false, why: `${error.name}: ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
