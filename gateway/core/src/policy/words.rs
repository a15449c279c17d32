//! What layers, reasons and refusals are called: codes for programs, Italian for people.

use super::{Layer, Reason, Refusal};
use crate::code::Code;

impl Reason {
    /// For people, in Italian.
    pub const fn italian(self) -> &'static str {
        match self {
            Self::ActMissing => "serve un atto del tutore o del giudice",
            Self::Category => "la categoria del dato non lo consente",
            Self::ConsentMissing => "manca il consenso della persona",
            Self::Implied => "rivelerebbe un dato non ostensibile",
            Self::Level => "il livello dell'équipe non è sufficiente",
            Self::NotGranted => "il protocollo non lo prevede per questa finalità",
            Self::NotRequested => "non richiesto",
            Self::Opposed => "la persona si è opposta",
            Self::Unfit => "il valore non può essere ridotto alla vista consentita",
            Self::Regulation => "il regolamento dell'ente non lo consente",
            Self::Scope => "l'ambito di partecipazione all'équipe non lo comprende",
        }
    }
}

impl Layer {
    /// For people, in Italian.
    pub const fn italian(self) -> &'static str {
        match self {
            Self::Law => "legge",
            Self::Agreement => "protocollo",
            Self::Owner => "regolamento del titolare",
            Self::Recipient => "regolamento del destinatario",
            Self::Case => "presa in carico",
            Self::Person => "persona",
            Self::Request => "richiesta",
        }
    }
}

impl Refusal {
    pub const fn code(&self) -> Code {
        match self {
            Self::AgreementNotInForce
            | Self::AggregatesOnly
            | Self::CaseForAnotherPurpose(_)
            | Self::CaseMissing(_)
            | Self::Level(_)
            | Self::NotAParty(_)
            | Self::OwnRecord
            | Self::ProviderDoesNotOwn(..)
            | Self::PurposeNotHeld(_)
            | Self::PurposeNotInForce(_)
            | Self::RecordNotInPurpose(..)
            | Self::RecordsOnly
            | Self::SameKind(_) => Code::ExchangeNotAllowed,
            Self::UnknownField(..) | Self::UnknownPurpose(_) | Self::UnknownRecordType(_) => {
                Code::RequestInvalid
            }
        }
    }

    /// The layer that refuses: the case where it is what lacks, otherwise the agreement.
    pub const fn layer(&self) -> Layer {
        match self {
            Self::CaseForAnotherPurpose(_) | Self::CaseMissing(_) | Self::Level(_) => Layer::Case,
            Self::AgreementNotInForce
            | Self::AggregatesOnly
            | Self::NotAParty(_)
            | Self::OwnRecord
            | Self::ProviderDoesNotOwn(..)
            | Self::PurposeNotHeld(_)
            | Self::PurposeNotInForce(_)
            | Self::RecordNotInPurpose(..)
            | Self::RecordsOnly
            | Self::SameKind(_) => Layer::Agreement,
            Self::UnknownField(..) | Self::UnknownPurpose(_) | Self::UnknownRecordType(_) => Layer::Request,
        }
    }
}
