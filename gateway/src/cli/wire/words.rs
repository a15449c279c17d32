//! What each step is and what each fault means, for people, in both languages.

use varco_core::wire::{Fault, Part, SealFault, Step};

use crate::cli::language::Language;

pub fn part(part: Part, language: Language) -> &'static str {
    let (italian, english) = match part {
        Part::Authorization => {
            ("Authorization: chi invia (ID_AUTH_REST_02)", "Authorization: who sends (ID_AUTH_REST_02)")
        }
        Part::Signature => (
            "Agid-JWT-Signature: integrità del messaggio (INTEGRITY_REST_01)",
            "Agid-JWT-Signature: integrity of the message (INTEGRITY_REST_01)",
        ),
        Part::Evidence => (
            "Agid-JWT-TrackingEvidence: quale operatore (AUDIT_REST_01)",
            "Agid-JWT-TrackingEvidence: which operator (AUDIT_REST_01)",
        ),
    };
    language.choose(italian, english)
}

pub fn step(step: Step, language: Language) -> &'static str {
    let (italian, english) = match step {
        Step::Header => ("intestazione HTTP presente, una volta sola", "the HTTP header is there, once"),
        Step::Form => ("JWS compatto, tre parti base64url", "compact JWS, three base64url parts"),
        Step::JoseHeader => {
            ("intestazione del token: typ, alg, certificato", "token header: typ, alg, certificate")
        }
        Step::Claims => {
            ("claim richiesti presenti e del tipo giusto", "required claims are there, with their types")
        }
        Step::Time => ("iat, exp e nbf rispetto all'orologio", "iat, exp and nbf against the clock"),
        Step::Audience => ("aud indica questo servizio", "aud names this service"),
        Step::Identifier => ("jti presente e utilizzabile", "jti is there and usable"),
        Step::Certificate => (
            "certificato: catena, validità, revoca, uso, robustezza",
            "certificate: chain, validity, revocation, usage, strength",
        ),
        Step::Algorithm => ("alg è quello della chiave ed è ammesso", "alg is the key's own, and allowed"),
        Step::Signature => ("la firma torna", "the signature verifies"),
        Step::SameSender => ("stesso mittente degli altri token", "same sender as the other tokens"),
        Step::SignedHeaders => {
            ("signed_headers corrisponde alle intestazioni HTTP", "signed_headers matches the HTTP headers")
        }
        Step::Digest => ("Digest ben formato e firmato", "Digest is well formed and signed"),
        Step::Body => ("il corpo ricevuto ha quel digest", "the body received has that digest"),
        Step::RequestDigest => ("la risposta è di quella richiesta", "the answer belongs to that request"),
        Step::Evidence => ("userID, userLocation e LoA", "userID, userLocation and LoA"),
    };
    language.choose(italian, english)
}

/// The fault and, where the text does not say it already, what to do.
pub fn fault(fault: &Fault, language: Language) -> String {
    match language {
        Language::It => italian(fault),
        Language::En => format!("{fault}; {}", fault.code().remedy()),
    }
}

fn italian(fault: &Fault) -> String {
    let text = match fault {
        Fault::AlgorithmUnknown => "alg non è tra ES256, RS256, EdDSA, PS256",
        Fault::AlgorithmNotOfKey => {
            "alg non è quello di questa chiave o non è ammesso qui: EC P-256 firma ES256, RSA firma RS256"
        }
        Fault::AudienceOther => {
            "aud non indica questo servizio: usare l'audience della documentazione dell'e-service"
        }
        Fault::BodyDiffers => {
            "il corpo ricevuto non ha il digest firmato: calcolarlo sui byte inviati, senza serializzare di nuovo il JSON"
        }
        Fault::Certificate(seal) => return format!("certificato non accettabile: {}", italian_seal(*seal)),
        Fault::ClaimMissing(claim) => return format!("manca il claim `{claim}`"),
        Fault::ClaimMalformed { claim, expected } => {
            return format!("il claim `{claim}` deve essere: {}", italian_form(expected));
        }
        Fault::ClaimsUnreadable => "i claim non sono un oggetto JSON con membri scritti una volta sola",
        Fault::Critical => "l'intestazione del token ha `crit`: nessuna estensione è accettata",
        Fault::DigestMalformed => {
            "Digest deve essere `SHA-256=` seguito dai 32 byte in base64 standard con padding, non esadecimale"
        }
        Fault::DigestNotSigned => "signed_headers contiene un digest diverso dall'intestazione HTTP Digest",
        Fault::DigestMissing => "c'è un corpo, ma manca l'intestazione Digest",
        Fault::DigestOfNothing => "c'è un Digest, ma nessun corpo",
        Fault::Expired => "il token è scaduto: crearne uno nuovo per ogni richiesta",
        Fault::HeaderMissing(name) => return format!("manca l'intestazione HTTP `{name}`"),
        Fault::HeaderRepeated(name) => {
            return format!("l'intestazione HTTP `{name}` compare più di una volta");
        }
        Fault::HeaderMember(name) => {
            return format!("il membro `{name}` dell'intestazione del token non è come deve");
        }
        Fault::HeaderUnreadable => {
            "l'intestazione del token non è un oggetto JSON con membri scritti una volta sola"
        }
        Fault::IssuedLongAgo => {
            "iat è più vecchio di quanto ammesso (5 minuti): crearne uno nuovo per ogni richiesta"
        }
        Fault::IssuedInFuture => "iat è nel futuro: controllare l'orologio (tolleranza 5 secondi)",
        Fault::KeyIdOnly => {
            "il token indica la chiave solo con `kid`, che vale con PDND: usare x5c o x5t#S256"
        }
        Fault::KeyMissing => "l'intestazione del token non ha né x5c né x5t#S256",
        Fault::KeysDisagree => "x5c e x5t#S256 non indicano lo stesso certificato",
        Fault::NotCompact => "il token non è fatto di tre parti base64url (senza padding) unite da punti",
        Fault::NotYetValid => "nbf è nel futuro: controllare l'orologio",
        Fault::OtherCertificate => "questo token usa un certificato diverso da quello di Authorization",
        Fault::OtherIssuer => "questo token ha un iss diverso da quello di Authorization",
        Fault::RemoteKey(name) => {
            return format!("l'intestazione del token ha `{name}`, che qui non è mai accettato");
        }
        Fault::RequestDigestDiffers => "request_digest non è il digest della richiesta inviata",
        Fault::SchemeOther => "Authorization deve essere `Bearer` seguito dal token",
        Fault::SignatureInvalid => {
            "la firma non torna: firmare i byte esatti di intestazione e contenuto che si inviano"
        }
        Fault::SignedHeadersForm => {
            "signed_headers deve essere un array di oggetti, uno per intestazione, nomi in minuscolo"
        }
        Fault::HeaderNotSigned(name) => {
            return format!("l'intestazione HTTP `{name}` c'è ma non è in signed_headers");
        }
        Fault::SignedHeaderAbsent => "un'intestazione elencata in signed_headers non è nel messaggio HTTP",
        Fault::SignedHeaderDiffers => {
            "un'intestazione elencata in signed_headers ha un altro valore nel messaggio HTTP"
        }
        Fault::TooLarge => "il token è più grande del limite di 12 KiB",
        Fault::TypeOther => "typ deve essere `JWT`",
    };
    text.to_owned()
}

fn italian_seal(fault: SealFault) -> &'static str {
    match fault {
        SealFault::ChainTooLarge => "la catena è più lunga o più grande del limite",
        SealFault::CrlExpired => "la lista di revoca della sua CA è scaduta",
        SealFault::Expired => "è scaduto",
        SealFault::KeyWeak => "la chiave è di un tipo o di una lunghezza non accettati",
        SealFault::KeyUsage => "keyUsage non comprende digitalSignature",
        SealFault::Malformed => "non si legge come certificato",
        SealFault::NotYetValid => "non è ancora valido",
        SealFault::Revoked => "è stato revocato",
        SealFault::RevocationUnknown => "nessuna lista di revoca dice se è stato revocato",
        SealFault::TlsOnly => "è riservato a TLS e non può sigillare",
        SealFault::Unknown => "nessun certificato noto ha questa impronta: mandare x5c",
        SealFault::UnknownIssuer => "non porta a una radice fidata: mandare anche i certificati intermedi",
    }
}

/// The forms a claim must have, which the core names in English.
fn italian_form(expected: &str) -> &str {
    match expected {
        "a string" => "un testo",
        "a string or an array of strings" => "un testo o un array di testi",
        "a string of 1 to 256 bytes" => "un testo da 1 a 256 byte",
        "an integer number of seconds since 1970" => "un numero intero di secondi dal 1970",
        "1 to 128 printable ASCII characters" => "da 1 a 128 caratteri ASCII stampabili",
        "1 to 128 characters" => "da 1 a 128 caratteri",
        "1 to 64 letters, digits, `.`, `_`, `-` or `:`" => "da 1 a 64 tra lettere, cifre, `.`, `_`, `-`, `:`",
        "`low`, `substantial` or `high`" => "`low`, `substantial` o `high`",
        "written once" => "scritto una volta sola",
        other => other,
    }
}
