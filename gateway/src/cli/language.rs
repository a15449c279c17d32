//! The language people are spoken to in. Programs read `--json`, whose words are English and stable.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    #[default]
    It,
    En,
}

impl Language {
    /// The text of the language chosen.
    pub const fn choose(self, italian: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::It => italian,
            Self::En => english,
        }
    }
}
