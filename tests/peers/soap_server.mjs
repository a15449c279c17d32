// An agency's SOAP service in Node: the `soap` package reads its WSDL and does the rest, behind mutual TLS on a loopback
// port. Prints one JSON object a line: first its port, then each call as it understood it.
//   node soap_server.mjs CERTIFICATE KEY AUTHORITY WSDL 1.1|1.2

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import soap from "soap";

const [certificate, key, authority, wsdlFile, version] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));

// What the labour node answers: the record as XML text within a text.
const record = (cf) =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<lavoratore><datiAnagrafici><codiceFiscale>${cf}</codiceFiscale>` +
  `<cognome>Xxquercia</cognome></datiAnagrafici><identificativo>SAP-0001</identificativo>` +
  `<titoloStudio>40</titoloStudio><lingue><lingua><codice>en</codice><livello>B1</livello></lingua>` +
  `<lingua><codice>fr</codice><livello>A2</livello></lingua></lingue>` +
  `<disponibilitaTirocinio>S</disponibilitaTirocinio><note>è &amp; <![CDATA[<resta>]]></note></lavoratore>`;

const taken = new Set();
const service = {
  NodoLavoro: {
    NodoLavoroPort: {
      richiestaSAP(args, _reply, headers) {
        say({ operation: "richiestaSAP", args, headers: Object.keys(headers ?? {}) });
        const cf = args.codiceFiscale;
        if (cf.startsWith("XXN")) return { esito: "NT", SAP: "" };
        if (cf.startsWith("XXG")) {
          throw version === "1.2"
            ? { Fault: { Code: { Value: "soap:Receiver" }, Reason: { Text: `guasto per ${cf}` } } }
            : { Fault: { faultcode: "soap:Server", faultstring: `guasto per ${cf}` } };
        }
        return { esito: "OK", SAP: record(cf) };
      },
      invioSAP(args) {
        const again = taken.has(args.idMessaggio);
        taken.add(args.idMessaggio);
        say({ operation: "invioSAP", args, again });
        return { esito: again ? "GIA" : "OK" };
      },
    },
  },
};

const tls = { cert: readFileSync(certificate), key: readFileSync(key), ca: readFileSync(authority) };
const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (_request, response) => {
  response.statusCode = 404;
  response.end();
});
server.listen(0, "127.0.0.1", () => {
  const wsdl = readFileSync(wsdlFile, "utf8");
  const options = { path: "/ws", services: service, xml: wsdl, forceSoap12Headers: version === "1.2" };
  soap.listen(server, options);
  say({ port: server.address().port });
});
