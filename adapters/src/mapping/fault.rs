//! What does not fit and what was repaired: row, field and reason. Never a value.

use std::fmt;

use varco_core::subject::CodiceFiscaleFault;

/// A value that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFault {
    /// The line of a file or the number of a row, from 1; 0 for the record as a whole.
    pub row: u64,
    /// The field, or the source's name for what is no field; empty for the whole row.
    pub field: String,
    pub reason: Reason,
}

/// A value that was taken after a stated repair, or as it is although it looks odd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub row: u64,
    pub field: String,
    pub repair: Repair,
}

/// Why a value cannot be taken. Lists are alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A control field without a value: not known is not "no".
    ControlEmpty,
    /// Several values, or several rows that differ, where there can be one.
    Ambiguous,
    BirthDate,
    /// The codice fiscale's check letter.
    CheckLetter,
    CodiceFiscale,
    CodeUnknown,
    /// The mapping reads a column that the file does not have.
    ColumnMissing,
    ColumnTwice,
    /// Bytes that are not of the encoding the source is said to have.
    Encoding,
    FlagUnknown,
    /// A date that no calendar has, `00/00/1950` among them.
    ImpossibleDate,
    /// What the field's kind demands.
    Kind(&'static str),
    NotDate,
    NotNumber,
    NotText,
    /// The record says that it is another person's.
    OtherPerson,
    /// A quotation mark that does not end, or that ends before the cell does.
    Quotes,
    RowLength,
    RowWidth,
    Sex,
    /// The record is of a real person where only synthetic ones may be, or the reverse.
    Synthetic,
    TooManyItems,
    /// Two digits of a year say no century.
    TwoDigitYear,
    /// Read as UTF-8 what was not, or the reverse: `Ã¨` for `è`.
    WrongEncoding,
    /// Not XML as it is read here: a document type, entities, nesting too deep, two elements that only namespaces tell apart.
    Xml,
}

/// How a value was repaired, or what is odd about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// The birthplace in the record is not the one in the codice fiscale: a Comune was suppressed or renamed.
    BirthplaceDiffers,
    /// Letters and their accents as one character (Unicode NFC).
    Composed,
    /// Line breaks and other control characters became a space.
    ControlCharacters,
    /// The value could not be read, and the mapping says to go without the field.
    LeftOut(Reason),
    /// Midnight was cut off a date.
    Midnight,
    /// Neither order of the names is the one in the codice fiscale.
    NamesDiffer,
    /// Surname and name stood in each other's place, as the codice fiscale shows.
    NamesSwapped,
    /// Letters stand for digits of the codice fiscale, because another person has the code without them.
    Omocode,
    /// Decimals beyond the field's, all zero, were cut off.
    TrailingZeros,
    /// Spaces around the value.
    Trimmed,
    /// A codice fiscale in small letters.
    UpperCase,
}

impl RowFault {
    pub fn new(row: u64, field: impl Into<String>, reason: Reason) -> Self {
        Self { row, field: field.into(), reason }
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, self.row, &self.field)?;
        f.write_str(self.reason.english())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, self.row, &self.field)?;
        f.write_str(self.repair.english())
    }
}

fn place(f: &mut fmt::Formatter<'_>, row: u64, field: &str) -> fmt::Result {
    match (row, field) {
        (0, "") => Ok(()),
        (0, field) => write!(f, "`{field}`: "),
        (row, "") => write!(f, "row {row}: "),
        (row, field) => write!(f, "row {row}, `{field}`: "),
    }
}

impl Reason {
    /// The stable word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::BirthDate => "birth-date-of-another",
            Self::CheckLetter => "check-letter",
            Self::CodeUnknown => "code-unknown",
            Self::CodiceFiscale => "codice-fiscale",
            Self::ColumnMissing => "column-missing",
            Self::ColumnTwice => "column-twice",
            Self::ControlEmpty => "control-empty",
            Self::Encoding => "encoding",
            Self::FlagUnknown => "flag-unknown",
            Self::ImpossibleDate => "impossible-date",
            Self::Kind(_) => "kind",
            Self::NotDate => "not-a-date",
            Self::NotNumber => "not-a-number",
            Self::NotText => "not-a-text",
            Self::OtherPerson => "other-person",
            Self::Quotes => "quotes",
            Self::RowLength => "row-length",
            Self::RowWidth => "row-width",
            Self::Sex => "sex-of-another",
            Self::Synthetic => "synthetic",
            Self::TooManyItems => "too-many-items",
            Self::TwoDigitYear => "two-digit-year",
            Self::WrongEncoding => "wrong-encoding",
            Self::Xml => "xml",
        }
    }

    pub const fn english(self) -> &'static str {
        match self {
            Self::Ambiguous => "there are several values where there can be one",
            Self::BirthDate => "the birth date is not the one in the codice fiscale",
            Self::CheckLetter => "the check letter of the codice fiscale is wrong",
            Self::CodeUnknown => "the code is not in the translation",
            Self::CodiceFiscale => "this is no codice fiscale",
            Self::ColumnMissing => "the mapping reads this column, and the file does not have it",
            Self::ColumnTwice => "two columns have the same name",
            Self::ControlEmpty => "this field decides whether others may be shown, and has no value",
            Self::Encoding => "the bytes are not of the encoding that the source is said to have",
            Self::FlagUnknown => "this is neither of the two values that stand for yes and no",
            Self::ImpossibleDate => "no calendar has this date",
            Self::Kind(expected) => expected,
            Self::NotDate => "this is not a date of the form that the mapping says",
            Self::NotNumber => "this is not a number of the form that the mapping says",
            Self::NotText => "there is a list or an object where there should be one value",
            Self::OtherPerson => "the record is another person's",
            Self::Quotes => "a quotation mark does not end, or ends before the cell does",
            Self::RowLength => "the row is longer than 64 KiB",
            Self::RowWidth => "the row has more or fewer columns than the first line names",
            Self::Sex => "the sex is not the one in the codice fiscale",
            Self::Synthetic => "the person is not of the kind that this deployment may hold",
            Self::TooManyItems => "there are more than 200 items",
            Self::TwoDigitYear => "a year of two digits says no century",
            Self::WrongEncoding => "the text was read in another encoding than it was written in",
            Self::Xml => "this is not XML as it is read here",
        }
    }

    pub const fn italian(self) -> &'static str {
        match self {
            Self::Ambiguous => "ci sono più valori dove può essercene uno solo",
            Self::BirthDate => "la data di nascita non è quella del codice fiscale",
            Self::CheckLetter => "il carattere di controllo del codice fiscale è sbagliato",
            Self::CodeUnknown => "il codice non è nella tabella di traduzione",
            Self::CodiceFiscale => "non è un codice fiscale",
            Self::ColumnMissing => "la mappatura legge questa colonna, ma il file non ce l'ha",
            Self::ColumnTwice => "due colonne hanno lo stesso nome",
            Self::ControlEmpty => "da questo campo dipende se mostrarne altri, e non ha valore",
            Self::Encoding => "i byte non sono della codifica dichiarata per la fonte",
            Self::FlagUnknown => "non è nessuno dei due valori che indicano sì e no",
            Self::ImpossibleDate => "la data non esiste in nessun calendario",
            Self::Kind(_) => "il valore non è del tipo previsto per il campo",
            Self::NotDate => "non è una data nella forma indicata dalla mappatura",
            Self::NotNumber => "non è un numero nella forma indicata dalla mappatura",
            Self::NotText => "c'è un elenco o una struttura dove ci dovrebbe essere un valore",
            Self::OtherPerson => "il record è di un'altra persona",
            Self::Quotes => "le virgolette non si chiudono, o si chiudono prima della fine della cella",
            Self::RowLength => "la riga è più lunga di 64 KiB",
            Self::RowWidth => "la riga ha più o meno colonne di quelle intestate",
            Self::Sex => "il sesso non è quello del codice fiscale",
            Self::Synthetic => "la persona non è del genere ammesso in questa installazione",
            Self::TooManyItems => "ci sono più di 200 elementi",
            Self::TwoDigitYear => "un anno di due cifre non dice il secolo",
            Self::Xml => "non è XML nella forma che si legge qui",
            Self::WrongEncoding => {
                "il testo è stato letto in una codifica diversa da quella in cui è scritto"
            }
        }
    }
}

impl From<CodiceFiscaleFault> for Reason {
    fn from(fault: CodiceFiscaleFault) -> Self {
        match fault {
            CodiceFiscaleFault::CheckLetter => Self::CheckLetter,
            CodiceFiscaleFault::BirthDate
            | CodiceFiscaleFault::Birthplace
            | CodiceFiscaleFault::Form
            | CodiceFiscaleFault::Name => Self::CodiceFiscale,
        }
    }
}

impl Repair {
    pub const fn code(self) -> &'static str {
        match self {
            Self::BirthplaceDiffers => "birthplace-differs",
            Self::Composed => "composed",
            Self::ControlCharacters => "control-characters",
            Self::LeftOut(_) => "left-out",
            Self::Midnight => "midnight",
            Self::NamesDiffer => "names-differ",
            Self::NamesSwapped => "names-swapped",
            Self::Omocode => "omocode",
            Self::TrailingZeros => "trailing-zeros",
            Self::Trimmed => "trimmed",
            Self::UpperCase => "upper-case",
        }
    }

    pub const fn english(self) -> &'static str {
        match self {
            Self::BirthplaceDiffers => {
                "taken as it is; the codice fiscale has another birthplace (a suppressed Comune?)"
            }
            Self::Composed => "letters and their accents were joined",
            Self::ControlCharacters => "line breaks and control characters became a space",
            Self::LeftOut(_) => "could not be read; the mapping says to go without it",
            Self::Midnight => "the time 00:00:00 was cut off",
            Self::NamesDiffer => "taken as it is; the codice fiscale has other names",
            Self::NamesSwapped => "surname and name stood in each other's place; the codice fiscale tells",
            Self::Omocode => "taken as it is; letters stand for digits (omocodia)",
            Self::TrailingZeros => "zeros at the end of the decimals were cut off",
            Self::Trimmed => "spaces around the value were cut off",
            Self::UpperCase => "small letters became capitals",
        }
    }

    pub const fn italian(self) -> &'static str {
        match self {
            Self::BirthplaceDiffers => {
                "preso com'è; il codice fiscale ha un altro luogo di nascita (Comune soppresso?)"
            }
            Self::Composed => "lettere e accenti separati sono stati uniti",
            Self::ControlCharacters => "a capo e caratteri di controllo sono diventati uno spazio",
            Self::LeftOut(_) => "illeggibile; la mappatura dice di farne a meno",
            Self::Midnight => "è stata tolta l'ora 00:00:00",
            Self::NamesDiffer => "preso com'è; il codice fiscale ha altri nomi",
            Self::NamesSwapped => "cognome e nome erano scambiati, come mostra il codice fiscale",
            Self::Omocode => "preso com'è; alcune cifre sono lettere (omocodia)",
            Self::TrailingZeros => "sono stati tolti gli zeri finali dei decimali",
            Self::Trimmed => "sono stati tolti gli spazi intorno al valore",
            Self::UpperCase => "le minuscole sono diventate maiuscole",
        }
    }
}
