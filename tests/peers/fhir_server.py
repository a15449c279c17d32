"""An agency's FHIR server in Python: fhirstarter on fhir.resources (R4B), behind mutual TLS on a loopback port.

Validates with its own models whatever it is given. Prints one JSON object a line: first its port, then each search and
each transaction as it understood them. Resources to hold are read from the files named on the command line.
"""

import asyncio
import collections
import json
import os
import socket
import ssl
import sys
import urllib.parse
import uuid

os.environ["FHIR_SEQUENCE"] = "R4B"

import uvicorn
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from fhirstarter import FHIRProvider, FHIRStarter, InteractionContext, Request, Response
from fhirstarter.exceptions import FHIRGeneralError

certificate, key, authority, holdings = sys.argv[1:5]
PAGE = 2

app = FHIRStarter(title="ASL")
provider = FHIRProvider()
held = collections.defaultdict(dict)
# Keys of conditional creations that were carried out.
created = {}
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind(("127.0.0.1", 0))
port = listener.getsockname()[1]


def say(**what):
    print(json.dumps(what), flush=True)


def keep(resource):
    id_ = resource.setdefault("id", str(uuid.uuid4()))
    held[resource["resourceType"]][id_] = resource


def page(context, kind, matches, model):
    """One page of what matches, and where the next is."""
    query = context.request.query_params
    say(search=kind, parameters=dict(query))
    start = int(query.get("_offset", 0))
    found = [r for r in held[kind].values() if matches(r)]
    entries = [
        {"fullUrl": f"https://localhost:{port}/{kind}/{r['id']}", "resource": r, "search": {"mode": "match"}}
        for r in found[start : start + PAGE]
    ]
    links = []
    if start + PAGE < len(found):
        # What finds the rest is the server's to choose; it need not name anybody.
        rest = "&".join(f"{n}={v}" for n, v in query.items() if n != "_offset")
        links.append({"relation": "next", "url": f"https://localhost:{port}/{kind}?{rest}&_offset={start + PAGE}"})
    if any(r["id"] == "troppo-lento" for r in found):
        raise FHIRGeneralError(
            status_code=503, severity="error", code="too-costly", details_text="Xxquercia Anna: cercata troppo"
        )
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}
    return Bundle.model_validate(bundle)


@provider.search_type(Patient)
async def patients(context: InteractionContext, identifier: str | None) -> Bundle:
    # With a comma between: either of them.
    wanted = [one.split("|") for one in (identifier or "|").split(",")]

    def matches(r):
        return any([i.get("system"), i.get("value")] in wanted for i in r.get("identifier", []))

    return page(context, "Patient", matches, Patient)


@provider.search_type(Observation)
async def observations(context: InteractionContext, patient: str | None) -> Bundle:
    return page(context, "Observation", lambda r: r["subject"]["reference"] == patient, Observation)


@provider.search_type(Condition)
async def conditions(context: InteractionContext, patient: str | None) -> Bundle:
    return page(context, "Condition", lambda r: r["subject"]["reference"] == patient, Condition)


app.add_providers(provider)


@app.middleware("http")
async def transaction(request: Request, call_next):
    if request.method != "POST" or request.url.path != "/":
        return await call_next(request)
    given = json.loads(await request.body())
    try:
        bundle = Bundle.model_validate(given)
        assert bundle.type == "transaction"
        answers = [enter(entry) for entry in given["entry"]]
    except Exception as error:  # whatever the models raise is a refusal
        say(refused=str(error)[:2000])
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]}
        return Response(json.dumps(outcome), 422, media_type="application/fhir+json")
    say(
        transaction=[e["request"]["url"] for e in given["entry"]],
        statuses=[a["response"]["status"] for a in answers],
        resources=[e["resource"] for e in given["entry"]],
    )
    answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}
    return Response(json.dumps(answer), 200, media_type="application/fhir+json")


def enter(entry):
    kind, unless = entry["request"]["url"], entry["request"]["ifNoneExist"]
    resource = entry["resource"]
    assert entry["request"]["method"] == "POST" and resource["resourceType"] == kind
    name, condition = unless.split("=", 1)
    assert name == "identifier"
    system, value = urllib.parse.unquote(condition).split("|")
    if (kind, system, value) in created:
        return {"response": {"status": "200 OK", "location": f"{kind}/{created[kind, system, value]}"}}
    keep(resource)
    created.update({(kind, i.get("system"), i["value"]): resource["id"] for i in resource["identifier"]})
    return {"response": {"status": "201 Created", "location": f"{kind}/{resource['id']}"}}


for resource in json.load(open(holdings)):
    keep(resource)
    for i in resource.get("identifier", []):
        created[(resource["resourceType"], i.get("system"), i["value"])] = resource["id"]

config = uvicorn.Config(
    app,
    log_level="error",
    ssl_certfile=certificate,
    ssl_keyfile=key,
    ssl_ca_certs=authority,
    ssl_cert_reqs=ssl.CERT_REQUIRED,
)
listener.listen(64)
say(port=port)
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
