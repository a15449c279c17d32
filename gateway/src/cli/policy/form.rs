//! How an answer is printed: as text, or for a program, a spreadsheet or a meeting.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::Value;

use super::table;

/// One of `--json`, `--csv`, `--html`, or a table of text. Parsed by hand because the choices exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Csv,
    Html,
    Json,
    Text,
}

const FLAGS: [(&str, &str, Form); 3] = [
    ("json", "JSON instead of text", Form::Json),
    ("csv", "CSV instead of text, as Italian spreadsheets open it: semicolons, UTF-8 with a mark", Form::Csv),
    ("html", "One HTML page instead of text, complete in itself", Form::Html),
];

impl Form {
    /// Prints an answer: `value` for programs, or the caption, head and rows of a table.
    pub fn print(self, value: &Value, caption: &str, head: &[String], rows: &[Vec<String>]) {
        match self {
            Self::Csv => print!("{}", table::csv(head, rows)),
            Self::Html => print!("{}", table::html(caption, head, rows)),
            Self::Json => println!("{value}"),
            Self::Text if rows.is_empty() => println!("Nessuno."),
            Self::Text => print!("{}", table::text(head, rows)),
        }
    }
}

impl clap::Args for Form {
    fn augment_args(command: Command) -> Command {
        let flag = |(name, help, _): (&'static str, &'static str, Self)| {
            Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
        };
        command.args(FLAGS.map(flag)).group(ArgGroup::new("form").args(FLAGS.map(|(name, ..)| name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Form {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = FLAGS.into_iter().find(|(name, ..)| matches.get_flag(name));
        Ok(chosen.map_or(Self::Text, |(.., form)| form))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
