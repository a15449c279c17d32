//! One message going through its checks: what stops it, what is told of each step, and which key was seen.

use std::sync::Arc;

use super::{Checked, Diagnosis, Expectation, Outcome, Sender, Token};
use crate::wire::token::{JoseHeader, TokenType};
use crate::wire::{
    Algorithm, Fault, KeyReference, Message, Part, Seal, SealFault, Step, Verifier, WireError, header,
};

/// What a protected header says; the reference is absent when it is the header already seen.
pub(super) struct TokenKey {
    pub algorithm: Algorithm,
    reference: Option<KeyReference>,
}

pub(super) struct Seen {
    header: Vec<u8>,
    algorithm: Algorithm,
    seal: Arc<dyn Seal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    GoOn,
    StopAtFirst,
}

/// One message going through its checks.
pub(super) struct Run<'a> {
    pub message: &'a Message,
    pub expectation: &'a Expectation<'a>,
    verifier: &'a dyn Verifier,
    patience: Patience,
    part: Part,
    /// The first token whose certificate was good.
    seen: Option<Seen>,
    first: Option<WireError>,
    steps: Vec<Checked>,
}

impl<'a> Run<'a> {
    pub fn new(
        patience: Patience,
        message: &'a Message,
        expectation: &'a Expectation<'a>,
        verifier: &'a dyn Verifier,
    ) -> Self {
        Self {
            message,
            expectation,
            verifier,
            patience,
            part: Part::Authorization,
            seen: None,
            first: None,
            steps: Vec::new(),
        }
    }

    /// One token. The outer error ends the run, the inner one only this token.
    pub fn attempt<T>(
        &mut self,
        part: Part,
        checks: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Result<T, WireError>, WireError> {
        self.part = part;
        match (checks(self), self.patience) {
            (Err(error), Patience::StopAtFirst) => Err(error),
            (outcome, _) => Ok(outcome),
        }
    }

    /// A check whose result later checks of this token need.
    pub fn need<T>(&mut self, step: Step, result: Result<T, Fault>) -> Result<T, WireError> {
        result.map_err(|fault| self.fail(step, fault)).inspect(|_| self.pass(step))
    }

    /// A check after which the others still make sense.
    pub fn check(&mut self, step: Step, result: Result<(), Fault>) -> Result<(), WireError> {
        match (self.need(step, result), self.patience) {
            (Err(error), Patience::StopAtFirst) => Err(error),
            (Err(_), Patience::GoOn) | (Ok(()), _) => Ok(()),
        }
    }

    fn pass(&mut self, step: Step) {
        let known = self.steps.last().is_some_and(|last| last.part == self.part && last.step == step);
        if self.patience == Patience::GoOn && !known {
            self.steps.push(Checked { part: self.part, step, outcome: Outcome::Passed });
        }
    }

    pub fn fail(&mut self, step: Step, fault: Fault) -> WireError {
        let error = WireError { part: self.part, step, fault: fault.clone() };
        self.first.get_or_insert_with(|| error.clone());
        if self.patience == Patience::GoOn {
            // A step made of two checks is told once, by its failure.
            self.steps.pop_if(|last| last.part == self.part && last.step == step);
            self.steps.push(Checked { part: self.part, step, outcome: Outcome::Failed(fault) });
        }
        error
    }

    pub fn optional_header(&mut self) -> Result<Option<&'a str>, WireError> {
        header::one(self.message, self.part.header()).map_err(|fault| self.fail(Step::Header, fault))
    }

    pub fn required_header(&mut self) -> Result<&'a str, WireError> {
        let missing = Fault::HeaderMissing(self.part.header());
        let value = self.optional_header()?;
        value.ok_or(missing).map_err(|fault| self.fail(Step::Header, fault))
    }

    /// The algorithm and key reference of a protected header. A sender's tokens have the same header, certificate and
    /// all, so it is usually taken apart once a message.
    pub fn key(&self, header: &[u8]) -> Result<TokenKey, Fault> {
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.header == header) {
            return Ok(TokenKey { algorithm: seen.algorithm, reference: None });
        }
        let (algorithm, reference) = JoseHeader::parse(header, TokenType::Message)?.certificate()?;
        Ok(TokenKey { algorithm, reference: Some(reference) })
    }

    pub fn seal(&mut self, key: TokenKey, header: &[u8]) -> Result<Arc<dyn Seal>, SealFault> {
        let reference = match (key.reference, &self.seen) {
            (None, Some(seen)) => return Ok(Arc::clone(&seen.seal)),
            // A later token may name the first one's certificate by thumbprint alone.
            (Some(KeyReference::Thumbprint(hash)), Some(seen))
                if seen.seal.identity().certificate == hash =>
            {
                return Ok(Arc::clone(&seen.seal));
            }
            (Some(reference), _) => reference,
            (None, None) => return Err(SealFault::Unknown),
        };
        let seal = self.verifier.seal(&reference, self.expectation.now)?;
        self.seen.get_or_insert_with(|| Seen {
            header: header.to_vec(),
            algorithm: key.algorithm,
            seal: Arc::clone(&seal),
        });
        Ok(seal)
    }

    /// The first token decides who sends; when it could not be read there is nothing to compare with.
    pub fn same_sender(&mut self, first: Option<&Sender>, token: &Token) -> Result<(), WireError> {
        let Some(first) = first else {
            return Ok(());
        };
        let result = if token.seal.identity() != first.seal.identity() {
            Err(Fault::OtherCertificate)
        } else if token.claims.issuer.as_ref().is_some_and(|issuer| *issuer != first.issuer) {
            Err(Fault::OtherIssuer)
        } else {
            Ok(())
        };
        self.check(Step::SameSender, result)
    }

    // INVARIANT: no verified value passes here when any check failed.
    pub fn finish<T>(self, verified: Result<T, WireError>) -> Diagnosis<T> {
        let verdict = match self.first {
            Some(error) => Err(error),
            None => verified,
        };
        Diagnosis { steps: self.steps, verdict }
    }
}
