//! The stable codes of everything that can go wrong, `area.condition`, in one table.
//!
//! `http/problem.rs` turns a code into `application/problem+json` (RFC 9457); `docs/errors.md` lists the same table.
//! A code never changes its meaning; a code that is no longer used stays reserved.

use serde_json::{Map, Value, json};

macro_rules! codes {
    ($($variant:ident $text:literal $status:literal $title:literal $remedy:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code itself: `wire.signature-invalid`.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// What happened, in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// What the reader can do next.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

codes! {
    AdapterBusy "adapter.busy" 503 "as many requests as the provider's system may get are already waiting for it" "try again after the time in Retry-After";
    AdapterCertificate "adapter.certificate" 502 "the provider's system has a TLS certificate that is not acceptable" "the provider's officers are told; try again later";
    AdapterCircuitOpen "adapter.circuit-open" 503 "the provider's system has failed repeatedly and is being left alone" "try again after the time in Retry-After";
    AdapterGone "adapter.gone" 502 "what the provider's system had offered is no longer there" "ask again; the provider's officers are told";
    AdapterMismatch "adapter.mismatch" 502 "the provider's system answered with something that is not the record type" "the provider's officers are told which field; try again later";
    AdapterNoCounts "adapter.no-counts" 501 "the provider's system gives no counts, or none of this period yet" "ask the provider when it counts; the other areas do not wait for it";
    AdapterRefused "adapter.refused" 502 "the provider's system refused the request" "the provider's officers are told; try again later";
    AdapterSignature "adapter.signature" 502 "the provider's answer is not signed as it must be" "the provider's officers are told; try again later";
    AdapterTimeout "adapter.timeout" 504 "the provider's system did not answer in time" "try again later";
    AdapterTooLarge "adapter.too-large" 502 "the provider's answer is larger than the limit" "the provider's officers are told; ask for fewer fields";
    AdapterTruncated "adapter.truncated" 502 "the provider's answer ended before it was complete" "try again later";
    AdapterUnreachable "adapter.unreachable" 502 "the provider's system could not be reached" "try again later";
    AgentAnswer "agent.answer" 502 "the agent does not hand on what the gateway answered" "the detail says what is wrong with its seal or receipt; tell the operator of the gateway";
    AgentGateway "agent.gateway" 502 "the agent got no answer from the gateway" "try again later; a call that was lost may be made again";
    AgentLocal "agent.local" 502 "the agency's own software gave the agent no answer it can use" "see the agent's log on the agency's side";
    AgentOperator "agent.operator" 400 "the call does not say who asks" "send Varco-Operator, and Varco-Location where the agent's configuration has none";
    AgentToken "agent.token" 401 "the call does not show the agent's token" "send Authorization: Bearer with the token that the agent's configuration names";
    AppealBarred "appeal.barred" 422 "the owner alone cannot open this" "the detail says what stands in the way";
    AppealConflict "appeal.conflict" 409 "the appeal is not in a state that allows this" "read the appeal again";
    AppealFourEyes "appeal.four-eyes" 403 "the second approval is another person's" "let a colleague of the same agency approve";
    AppealNoReader "appeal.no-reader" 422 "the other agency has no officer who could read a sealed text" "its officers must have a key on the curve P-256 in the registry";
    AppealUnknown "appeal.unknown" 404 "there is no such appeal, or no such decision, among those you may know" "check the identifier";
    CaseClosed "case.closed" 409 "the case is closed" "open a new case";
    CaseConflict "case.conflict" 409 "the case changed since it was read" "read the case again, then repeat the change";
    CaseUnknown "case.unknown" 404 "there is no such case among those you may know" "check the case identifier";
    ChannelCertificate "channel.certificate" 403 "the client certificate of the connection is no longer acceptable" "connect again with a valid certificate that is not revoked";
    ConsentConflict "consent.conflict" 409 "the consent is not in a state that allows this event" "read the consent again; a new choice is a new record";
    ConsentUnknown "consent.unknown" 404 "there is no such consent among those you may know" "check the consent identifier";
    EmergencyNoOfficer "emergency.no-officer" 409 "the owner has no officer to whom the reason of an emergency can be sealed" "ask the owner to register its data protection officer's reading key";
    EmergencyUndeclared "emergency.undeclared" 422 "the purpose is for emergencies, and the request declares none, or the other way round" "declare danger, why the person cannot consent, and a reason of at least 30 characters";
    ExchangeDenied "exchange.denied" 403 "nothing may be released" "the fields tell which layer refused and why";
    ExchangeNotAllowed "exchange.not-allowed" 403 "your agency may not ask this" "check purpose, case and record type with your privacy officer";
    ExchangeSubjectUnknown "exchange.subject-unknown" 404 "the provider holds no such record" "check the subject with the person; do not try other identifiers";
    HttpBadRequest "http.bad-request" 400 "the HTTP request is malformed" "correct the request as the detail says";
    HttpMethod "http.method" 405 "this resource does not have that method" "see Allow and the OpenAPI document";
    HttpNotFound "http.not-found" 404 "there is no such resource" "see the OpenAPI document";
    HttpTimeout "http.timeout" 408 "the request took too long to arrive" "send it again";
    HttpTooLarge "http.too-large" 413 "the request body is larger than the limit" "send less; the limit is in the OpenAPI document";
    HttpUnsupportedMedia "http.unsupported-media" 415 "the request body must be `application/json`" "set Content-Type: application/json";
    Internal "internal" 500 "an unexpected fault" "report the instance to the operator of the gateway";
    LimitExceeded "limit.exceeded" 429 "too many requests" "wait as long as Retry-After says";
    LogHeld "log.held" 409 "a legal hold covers some of the entries" "leave them out, or have the hold lifted by officers of two agencies";
    LogOrderInvalid "log.order-invalid" 422 "the order about the log is not valid or not signed by those who must" "the detail says what is missing";
    LogPruned "log.pruned" 410 "the time for which these entries are served is over" "their hashes are still served, and every proof that was given stays valid";
    LogUnavailable "log.unavailable" 503 "the access log cannot be written, so nothing is disclosed" "try again after the time in Retry-After";
    NoticeUnknown "notice.unknown" 404 "there is no such notice among those your agency must acknowledge" "list the notices that are waiting";
    PolicyInvalid "policy.invalid" 422 "the policy bundle does not compile or is not approved" "the detail lists every fault";
    PushConflict "push.conflict" 409 "the push or delivery is not in a state that allows this, or its key stands for another" "read the push again; give a new push a new key";
    PushExpired "push.expired" 410 "nobody took the delivery over in time" "agree with the recipient, then send it again";
    PushUnknown "push.unknown" 404 "there is no such push or delivery among those your agency may know" "check the identifier";
    RegistryInvalid "registry.invalid" 422 "the registry version is not valid or not approved" "the detail lists every fault";
    RequestInvalid "request.invalid" 422 "the request is well formed but says something impossible" "correct the members the detail names";
    RestrictionUnknown "restriction.unknown" 404 "there is no such restriction among those your agency recorded" "only the agency that recorded it for the person lifts it";
    ServerBusy "server.busy" 503 "the gateway has as much work as it can bound" "try again after the time in Retry-After";
    SignalConflict "signal.conflict" 409 "this sequence number stands for another signal of yours" "count on: give each signal a number of its own";
    StatisticsConflict "statistics.conflict" 409 "the same people were being counted for another request" "ask again: what was released then is told to you as well";
    StatisticsIncomplete "statistics.incomplete" 503 "no area has counts from all of its bodies" "the detail says which area lacks what; try again later, or ask in the form that was released";
    StatisticsOverlap "statistics.overlap" 409 "an earlier release counts some of the same people in another form" "ask in the form of that release, or for a later period";
    SubjectWrongWorld "subject.wrong-world" 422 "the person does not belong in this deployment" "a test deployment takes synthetic people only, a production deployment none of them";
    SubscriptionConflict "subscription.conflict" 409 "the subscription changed while this request was under way" "list your subscriptions, then repeat what is still needed";
    SubscriptionTooMany "subscription.too-many" 409 "your agency has as many subscriptions as it may" "end those that are no longer needed, then subscribe again";
    SubscriptionUnknown "subscription.unknown" 404 "there is no such subscription of your agency" "list your subscriptions";
    WireAudience "wire.audience" 400 "a token is for another audience" "set aud to the audience in the OpenAPI document";
    WireAlgorithm "wire.algorithm" 400 "a token is signed with an algorithm that its key does not use here" "sign with the algorithm registered for the key";
    WireCertificate "wire.certificate" 400 "the seal certificate is not acceptable" "check chain, validity, key usage and revocation";
    WireChannel "wire.channel" 403 "the certificate of the channel may not speak for the seal of the message" "use your own client certificate, or have the delegation registered";
    WireClaims "wire.claims" 400 "a claim is missing or has the wrong type" "correct the claim the detail names";
    WireDigest "wire.digest" 400 "the Digest header does not match the body received" "hash the bytes as sent: SHA-256= and padded base64";
    WireExpired "wire.expired" 400 "a token is expired or older than the window allows" "check your clock and make a fresh token";
    WireHeader "wire.header" 400 "a security header is missing, repeated or malformed" "correct the header the detail names";
    WireIssuer "wire.issuer" 400 "iss does not belong to the certificate" "set iss to your agency's registered identifier";
    WireNotYetValid "wire.not-yet-valid" 400 "a token is from the future" "check your clock";
    WireReplayed "wire.replayed" 409 "this token was used before" "make a new token with a new jti for each request";
    WireSignature "wire.signature" 400 "a signature does not verify" "sign the exact header and payload bytes that you send";
    WireSignedHeaders "wire.signed-headers" 400 "signed_headers does not match the HTTP headers" "list digest and content-type with the values you send";
    WireToken "wire.token" 400 "a token is not a well-formed compact JWS" "see RFC 7515 section 3.1 and the detail";
    WireUnknownSender "wire.unknown-sender" 403 "the sender is not in the registry, or is suspended" "ask the agreement's officers for onboarding";
}

impl Code {
    /// The members of `application/problem+json` (RFC 9457) for this code. `instance` names the exchange, so that
    /// the sender can find it in the log and the operator in the gateway's own records.
    pub fn problem(self, detail: &str, instance: Option<&str>) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("type".into(), json!(format!("urn:varco:error:{}", self.text())));
        members.insert("title".into(), json!(self.title()));
        members.insert("status".into(), json!(self.status()));
        members.insert("code".into(), json!(self.text()));
        members.insert("detail".into(), json!(detail));
        members.insert("remedy".into(), json!(self.remedy()));
        if let Some(instance) = instance {
            members.insert("instance".into(), json!(format!("urn:uuid:{instance}")));
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_of_one_form() {
        for code in Code::ALL {
            let text = code.text();
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-'), "{text}");
            assert!((400..600).contains(&code.status()), "{text}");
            assert_eq!(Code::ALL.iter().filter(|other| other.text() == text).count(), 1, "{text}");
        }
    }
}
