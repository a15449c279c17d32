//! `make bench`: what the project promises about speed, measured on this machine, chapter by chapter, with a verdict.
//!
//! Chapters are chosen by name (`make bench ARGS="policy log"`); without names all of them run. A chapter is a module
//! with one function that gives a [`Finding`]; a new one needs its line in [`Chapter`] and nothing else here.
//! Options: `--quick` (a tenth of the work), `--requests N` (with 64 clients; default 12000), `--json FILE`,
//! `--postgres URL` (for the log alone), `--entries N` (of the large log; default a million, ten million take 15 GB).

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod auditor;
mod exchange;
mod finding;
mod load;
mod log;
mod policy;
mod process;
mod proxy;
mod scene;
mod stages;
mod stalled;

use finding::Finding;
use scene::Scene;

type Failure = Box<dyn std::error::Error>;

/// In the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chapter {
    Auditor,
    Exchange,
    Log,
    Policy,
    Stalled,
}

impl Chapter {
    const ALL: [Self; 5] = [Self::Exchange, Self::Log, Self::Auditor, Self::Policy, Self::Stalled];

    const fn name(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Exchange => "exchange",
            Self::Log => "log",
            Self::Policy => "policy",
            Self::Stalled => "stalled",
        }
    }

    async fn run(self, bench: &Bench) -> Result<Finding, Failure> {
        match self {
            Self::Auditor => auditor::measure(bench).await,
            Self::Exchange => exchange::measure(bench).await,
            Self::Log => log::chapter(bench).await,
            Self::Policy => policy::chapter(bench),
            Self::Stalled => stalled::measure(bench).await,
        }
    }
}

/// How thoroughly to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    Full,
    /// Enough to see that everything works, and roughly where it stands.
    Quick,
}

/// What all chapters share.
pub struct Bench {
    pub care: Care,
    /// With 64 clients.
    pub requests: usize,
    pub postgres: Option<String>,
    /// Of the large log.
    pub entries: Option<u64>,
    /// Where databases and keys of the bench go.
    pub folder: PathBuf,
    program: PathBuf,
    scene: OnceCell<Scene>,
}

impl Bench {
    /// The gateway's program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Keys, genesis and the provider's process, made when the first chapter wants them.
    pub fn scene(&self) -> Result<&Scene, Failure> {
        if self.scene.get().is_none() {
            say("keys, genesis and the provider");
            let _ = self.scene.set(Scene::set(&self.program, &self.folder)?);
        }
        self.scene.get().ok_or_else(|| "there is no scene".into())
    }
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = words.as_slice()
        && word == auditor::APPEND
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(auditor::append_for_ever(folder.into()));
    }
    let (bench, chapters, json) = options()?;
    // One thread: what the load costs is taken from the gateway's cores, so it must be little.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = Vec::new();
    for chapter in chapters {
        say(&format!("chapter {}", chapter.name()));
        let finding = runtime.block_on(chapter.run(&bench))?;
        println!("\n# {}\n\n{}", chapter.name(), finding.text);
        findings.push((chapter.name(), finding));
    }
    println!("# verdict\n\n{}\n{}", machine(), finding::table(&findings));
    if let Some(path) = &json {
        std::fs::write(path, format!("{:#}\n", finding::json(&machine(), &findings)))?;
    }
    Ok(())
}

fn options() -> Result<(Bench, Vec<Chapter>, Option<PathBuf>), Failure> {
    let program = program()?;
    let mut bench = Bench {
        care: Care::Full,
        requests: 12_000,
        postgres: None,
        entries: None,
        folder: program.with_file_name("bench-data"),
        program,
        scene: OnceCell::new(),
    };
    let (mut chapters, mut json) = (Vec::new(), None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        match word.as_str() {
            "--quick" => (bench.care, bench.requests) = (Care::Quick, 1_200),
            "--requests" => bench.requests = value()?.parse()?,
            "--json" => json = Some(value()?.into()),
            "--entries" => bench.entries = Some(value()?.parse()?),
            "--postgres" => bench.postgres = Some(value()?),
            // Cargo says so itself.
            "--bench" => {}
            name => chapters.push(Chapter::ALL.into_iter().find(|chapter| chapter.name() == name).ok_or(
                format!(
                    "`{name}` is neither an option nor a chapter of the bench: {}",
                    Chapter::ALL.map(Chapter::name).join(", ")
                ),
            )?),
        }
    }
    if chapters.is_empty() {
        chapters = Chapter::ALL.to_vec();
    }
    Ok((bench, chapters, json))
}

/// The gateway's program, built beside this one: cargo puts benches into `deps`.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).map(|folder| folder.join("varco"));
    built
        .filter(|path| path.is_file())
        .ok_or_else(|| "build the gateway first: cargo build --profile dist -p varco".into())
}

/// What is being done, for whoever waits.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

/// Milliseconds.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Cores, processor, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}
