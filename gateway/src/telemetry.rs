//! What the gateway tells its operator: structured logs and metrics.

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    pub level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least grave events that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Error,
    Info,
    Warn,
}

impl Level {
    pub const EXPECTED: &str = "expected one of `error`, `warn`, `info`, `debug`";

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" => Some(Self::Debug),
            "error" => Some(Self::Error),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            _ => None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::Info }
    }
}
