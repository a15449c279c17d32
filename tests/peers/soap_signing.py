"""An agency's SOAP service that signs, in Python: zeep and libxmlsec, nothing of ours, behind mutual TLS on a loopback port.

Checks the signature of each request with the certificate it was told, reads it as zeep reads it by the WSDL, and signs
what it answers. Prints one JSON object a line: first its port, then each request as it understood it.
  soap_signing.py CERTIFICATE KEY AUTHORITY WSDL SEAL-KEY SEAL-CERTIFICATE GATEWAY-SEAL SIGNATURE PLAY
"""

import datetime
import http.server
import json
import ssl
import sys

import xmlsec
from lxml import etree
from zeep import Client
from zeep.exceptions import SignatureVerificationFailed
from zeep.wsse.signature import BinarySignature, verify_envelope
from zeep.wsse.utils import WSU, get_security_header

certificate, key, authority, wsdl, seal_key, seal_certificate, gateway, method, play = sys.argv[1:10]
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
WSA = "http://www.w3.org/2005/08/addressing"
client = Client(wsdl)
methods = {"RS256": xmlsec.Transform.RSA_SHA256, "ES256": xmlsec.Transform.ECDSA_SHA256}


def say(**what):
    print(json.dumps(what), flush=True)


def answer(envelope):
    body = envelope.find(f"{{{SOAP}}}Body")
    try:
        verify_envelope(envelope, gateway)
        signed = True
    except SignatureVerificationFailed:
        signed = False
    references = envelope.xpath("//*[local-name()='Reference' and namespace-uri()='http://www.w3.org/2000/09/xmldsig#']")
    element = body[0]
    arguments = {etree.QName(child).localname: child.text for child in element}
    # zeep writes the same call from its own reading of the WSDL; both must be the same element.
    theirs = client.create_message(client.service, etree.QName(element).localname, **arguments)
    theirs = theirs.find(f"{{{SOAP}}}Body")[0]
    same = [(c.tag, c.text) for c in theirs] == [(c.tag, c.text) for c in element] and theirs.tag == element.tag
    say(signed=signed, references=len(references), same=same, arguments=arguments)
    cf = arguments["codiceFiscale"]
    record = f"<lavoratore><datiAnagrafici><codiceFiscale>{cf}</codiceFiscale></datiAnagrafici><titoloStudio>40</titoloStudio></lavoratore>"
    made = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soapenv": SOAP, "unused": "urn:unused"})
    header = etree.SubElement(made, f"{{{SOAP}}}Header")
    related = etree.SubElement(header, f"{{{WSA}}}RelatesTo", nsmap={"wsa": WSA})
    related.text = envelope.find(f".//{{{WSA}}}MessageID").text if play != "another-message" else "urn:another"
    out = etree.SubElement(made, f"{{{SOAP}}}Body")
    response = etree.SubElement(out, "{urn:lavoro}richiestaSAPResponse", nsmap={None: "urn:lavoro"})
    etree.SubElement(response, "{urn:lavoro}esito").text = "OK"
    etree.SubElement(response, "{urn:lavoro}SAP").text = record
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp = WSU.Timestamp()
    for name, at in (("Created", now), ("Expires", now + datetime.timedelta(minutes=2))):
        stamp.append(getattr(WSU, name)(at.strftime("%Y-%m-%dT%H:%M:%SZ")))
    get_security_header(made).append(stamp)
    signer = BinarySignature(seal_key, seal_certificate, None, methods[method], xmlsec.Transform.SHA256)
    signer.apply(made, {})
    if play == "changed":
        out[0][1].text = record.replace("40", "70")
    return etree.tostring(made, xml_declaration=True, encoding="UTF-8")


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"]))
        try:
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            said, status = answer(etree.fromstring(raw, parser)), 200
        except Exception as error:  # whatever the libraries raise is a fault
            say(failed=f"{type(error).__name__}: {error}")
            said, status = b"", 500
        self.send_response(status)
        self.send_header("content-type", "text/xml; charset=utf-8")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
say(port=server.server_address[1])
server.serve_forever()
