//! How a FHIR server lets us in: by our certificate alone, by a token that it gave us once, or by one that we fetch as SMART
//! backend services do (client credentials with a signed assertion, RFC 7523).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::{Value, json};
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::{Jtis, Signer, TokenType};

use super::plan::encoded;
use super::text;
use crate::http::{Address, Https, Question};
use crate::{Context, FetchError};

/// RFC 7523 section 3 and SMART: at most five minutes. One is enough for a slow network.
const ASSERTION: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds: it could end on the way.
const MARGIN: Duration = Duration::from_secs(30);
/// Longer than this no token is kept, whatever the server says.
const LONGEST: Duration = Duration::from_secs(3600);
/// Tokens are some KB.
const TOKEN_MAX: usize = 64 * 1024;

/// A text that nobody may see: no `Display`, and a `Debug` that hides it.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub enum Door {
    Backend(Box<Backend>),
    Bearer(Secret),
    Certificate,
}

/// Where tokens are fetched, and as whom.
pub struct Backend {
    endpoint: Address,
    client: String,
    /// Which of our keys, as we told the server's people.
    key: String,
    scope: String,
    signer: Arc<dyn Signer>,
    token: Mutex<Option<(Secret, Timestamp)>>,
}

impl Backend {
    pub fn new(endpoint: Address, client: &str, key: &str, scope: &str, signer: Arc<dyn Signer>) -> Self {
        let (client, key, scope) = (client.to_owned(), key.to_owned(), scope.to_owned());
        Self { endpoint, client, key, scope, signer, token: Mutex::new(None) }
    }

    fn kept(&self, now: Timestamp) -> Option<Secret> {
        let kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(_, until)| now < *until).map(|(token, _)| token.clone())
    }

    async fn fetch(&self, https: &Https, jtis: &Jtis, now: Timestamp) -> Result<Secret, FetchError> {
        let assertion = self.assertion(jtis, now)?;
        let pairs = [
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        let form: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let headers = vec![
            ("accept".to_owned(), "application/json".to_owned()),
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ];
        let body = form.join("&").into_bytes();
        let question = Question { method: Method::POST, address: self.endpoint.as_str(), headers, body };
        let reply = https.ask(question, TOKEN_MAX).await?;
        if !reply.status.is_success() {
            return Err(FetchError::Refused { status: reply.status.as_u16() });
        }
        let answer = json::parse(&reply.body).map_err(FetchError::Json)?;
        let bearer = text(&answer, "token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        let token = text(&answer, "access_token").filter(|token| bearer && is_token(token));
        let token = Secret::new(token.ok_or(FetchError::NotRecord)?);
        let lives = answer.get("expires_in").and_then(Value::as_u64).map_or(MARGIN, Duration::from_secs);
        let until = now.plus(lives.min(LONGEST).saturating_sub(MARGIN));
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), until));
        Ok(token)
    }

    fn assertion(&self, jtis: &Jtis, now: Timestamp) -> Result<String, FetchError> {
        let header = json!({ "alg": algorithm(&*self.signer), "kid": self.key, "typ": "JWT" });
        let claims = json!({
            "aud": self.endpoint.as_str(),
            "exp": now.plus(ASSERTION).seconds(),
            "iat": now.seconds(),
            "iss": self.client,
            "jti": jtis.authorization.as_str(),
            "sub": self.client,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(json::canonical(value));
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.signer.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Door {
    /// The value of `Authorization`, where there is one.
    pub(super) async fn authorization(
        &self,
        https: &Https,
        jtis: &Jtis,
        context: &Context<'_>,
    ) -> Result<Option<String>, FetchError> {
        let token = match self {
            Self::Certificate => return Ok(None),
            Self::Bearer(token) => token.clone(),
            Self::Backend(backend) => {
                let now = (context.clock)();
                match backend.kept(now) {
                    Some(token) => token,
                    None => backend.fetch(https, jtis, now).await?,
                }
            }
        };
        Ok(Some(format!("Bearer {}", token.0)))
    }

    /// A token that the server refuses is not used again.
    pub(super) fn forget(&self) {
        if let Self::Backend(backend) = self {
            *backend.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// The `alg` of a key's signatures, which its own headers say.
fn algorithm(signer: &dyn Signer) -> String {
    let header = URL_SAFE_NO_PAD.decode(signer.headers().of_type(TokenType::Message)).ok();
    let header = header.and_then(|header| json::parse(&header).ok());
    header.as_ref().and_then(|header| text(header, "alg")).unwrap_or_default().to_owned()
}

/// RFC 6750 section 2.1: the characters of a bearer token.
fn is_token(text: &str) -> bool {
    let sign = |b: u8| matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || sign(b))
}
