//! `varco demo`: sets the stage, plays the story with real processes, and says what to try next.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::language::Language;
use super::{NO, USAGE};
use crate::app::{system_entropy, system_now};
use crate::demo::stage::{PEOPLE, Player, SEED, SYSTEMS, Stage, StageError};
use crate::demo::story::{Step, Story, verify_arguments};

mod agency;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    play: Play,
}

#[derive(clap::Args)]
struct Play {
    /// Where keys, genesis, database and configuration go; emptied first.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    data: PathBuf,
    /// The policy bundle.
    #[arg(long, value_name = "DIR", default_value = "policies/piana-di-lucca")]
    policies: PathBuf,
    /// End after the story, also on a terminal.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    telling: Telling,
}

#[derive(clap::Args)]
struct Telling {
    /// One JSON object a step.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(Subcommand)]
enum Part {
    /// Simulate an agency's own system.
    #[command(hide = true)]
    Agency(agency::Args),
}

/// Exits 0 when every step turned out as the story says, 1 when one did not, 2 when the stage could not be set.
pub fn run(args: Args) -> ExitCode {
    match args.part {
        Some(Part::Agency(args)) => agency::run(args),
        None => match play(&args.play) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("varco demo: {}", super::reasons(&*error));
                ExitCode::from(USAGE)
            }
        },
    }
}

fn play(args: &Play) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let teller = Teller { args };
    let stage = set(args)?;
    let company = Company::gather(&stage)?;
    let gateway = format!("https://localhost:{}", company.gateway.address("exchange")?.port());
    teller.begin(&gateway);
    let mut good = true;
    let mut number = 0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut story = Story::open(&stage, &gateway, &system_entropy(), args.telling.lang)?;
    while let Some(step) = runtime.block_on(story.next(system_now()))? {
        good &= step.went_well;
        number = step.number;
        teller.tell(&step);
    }
    let last = verify(&stage, number + 1, args.telling.lang)?;
    good &= last.went_well;
    teller.tell(&last);
    teller.end(&stage, &company, (good, started))?;
    if !args.once && !args.telling.json && std::io::stdout().is_terminal() {
        wait_for_interrupt(&runtime);
    }
    good &= company.dismiss();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Keys, genesis, folder; drawn on a terminal, quiet when piped.
fn set(args: &Play) -> Result<Stage, StageError> {
    let bar = ProgressBar::new(u64::try_from(crate::pki::dev::STEPS).unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let stage = Stage::set(&args.data, &args.policies, system_now(), |what| {
        bar.set_message(what.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    stage
}

/// The processes of the demonstration.
struct Company {
    systems: Vec<Player>,
    gateway: Player,
}

impl Company {
    fn gather(stage: &Stage) -> Result<Self, Box<dyn std::error::Error>> {
        let pki = stage.pki().display().to_string();
        let (mut systems, mut addresses) = (Vec::new(), Vec::new());
        for id in SYSTEMS {
            let (seed, people) = (SEED.to_string(), PEOPLE.to_string());
            let args = ["demo", "agency", "--id", id, "--pki", &pki, "--seed", &seed, "--people", &people];
            let player = Player::start(id, &args.map(str::to_owned))?;
            addresses.push((id.parse()?, player.address("exchange")?));
            systems.push(player);
        }
        stage.configure(&addresses)?;
        let config = stage.config().display().to_string();
        let gateway = Player::start(
            "the gateway",
            &["serve", "--config", &config, "--only", "while-attended"].map(str::to_owned),
        )?;
        Ok(Self { systems, gateway })
    }

    /// Stops everybody, the gateway first, and says whether the gateway ended in good order.
    fn dismiss(self) -> bool {
        let good = self.gateway.stop();
        drop(self.systems);
        good
    }
}

/// The last step: the whole log, checked by the command an auditor would use, while the gateway runs.
fn verify(stage: &Stage, number: usize, lang: Language) -> Result<Step, Box<dyn std::error::Error>> {
    let checked = Command::new(std::env::current_exe()?).args(verify_arguments(stage)).output()?;
    let facts: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap_or_default();
    let went_well = checked.status.success();
    let entries = facts.get("size").map(ToString::to_string).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&checked.stderr).trim().to_owned();
    let lines = if went_well {
        vec![format!("{entries} {}", lang.choose("voci", "entries"))]
    } else {
        vec![complaint]
    };
    let title = (
        "Il registro è verificato dalla prima voce all'ultima",
        "The log is verified from the first entry to the last",
    );
    Ok(Step { number, name: "verify-log", title, lines, facts, went_well })
}

fn wait_for_interrupt(runtime: &tokio::runtime::Runtime) {
    // Whatever ends the wait, the demonstration ends.
    let _ = runtime.block_on(tokio::signal::ctrl_c());
}

/// Tells the story on standard output, to people or to programs.
struct Teller<'a> {
    args: &'a Play,
}

impl Teller<'_> {
    fn say(&self, text: &str) {
        // A reader that closed the pipe has heard what it wanted.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn begin(&self, gateway: &str) {
        if !self.args.telling.json {
            let words = self.args.telling.lang.choose(
                "Varco, dimostrazione con persone inventate. Il gateway è",
                "Varco, a demonstration with invented people. The gateway is",
            );
            self.say(&format!("{words} {gateway}\n"));
        }
    }

    fn tell(&self, step: &Step) {
        if self.args.telling.json {
            let title = self.args.telling.lang.choose(step.title.0, step.title.1);
            let step = json!({
                "step": step.number, "name": step.name, "title": title, "ok": step.went_well, "facts": step.facts,
            });
            return self.say(&step.to_string());
        }
        let mark = if step.went_well { "✓" } else { "✗" };
        self.say(&format!(
            "{mark} {}. {}",
            step.number,
            self.args.telling.lang.choose(step.title.0, step.title.1)
        ));
        for line in &step.lines {
            self.say(&format!("     {line}"));
        }
    }

    fn end(
        &self,
        stage: &Stage,
        company: &Company,
        (good, started): (bool, Instant),
    ) -> Result<(), StageError> {
        if self.args.telling.json {
            return Ok(());
        }
        let lang = self.args.telling.lang;
        let verdict = if good {
            lang.choose("Tutto è andato come nella storia", "Everything went as the story says")
        } else {
            lang.choose("Qualcosa non è andato come nella storia", "Something did not go as the story says")
        };
        self.say(&format!("\n{verdict} ({:.1} s).", started.elapsed().as_secs_f32()));
        if self.args.once || !std::io::stdout().is_terminal() {
            return Ok(());
        }
        self.say(lang.choose("\nIn ascolto, fino a Ctrl-C:", "\nListening, until Ctrl-C:"));
        for (name, address) in &company.gateway.listening {
            self.say(&format!("  gateway, {name:<9} {address}"));
        }
        for (system, id) in company.systems.iter().zip(SYSTEMS) {
            self.say(&format!("  {id:<24} {}", system.address("exchange")?));
        }
        self.say(lang.choose("\nDa provare in un altro terminale:", "\nTo try in another terminal:"));
        self.suggest(stage, company)
    }

    /// Three commands that work as they stand.
    fn suggest(&self, stage: &Stage, company: &Company) -> Result<(), StageError> {
        let program = std::env::args().next().unwrap_or_else(|| "varco".to_owned());
        let verify: Vec<_> = verify_arguments(stage).into_iter().filter(|word| word != "--json").collect();
        let pki = stage.pki().display().to_string();
        let (exchange, log) = (company.gateway.address("exchange")?, company.gateway.address("log")?);
        let lang = self.args.telling.lang.choose("it", "en");
        self.say(&format!("  {program} {} --lang {lang}", verify.join(" ")));
        self.say(&format!(
            "  curl --cacert {pki}/ca/channel.pem --cert {pki}/agencies/cpi-lucca/channel.pem \
             --key {pki}/agencies/cpi-lucca/channel.key.pem https://localhost:{}/rest/varco/v1/status",
            exchange.port()
        ));
        self.say(&format!(
            "  curl --cacert {pki}/ca/channel.pem https://localhost:{}/log/checkpoint",
            log.port()
        ));
        Ok(())
    }
}
