//! The processes under load: started as an operator would start them, and looked at through `/proc`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// Linux counts the CPU time it shows to programs in hundredths of a second, on every machine.
const TICK: Duration = Duration::from_millis(10);

/// A process that says where it listens. It ends when it is dropped.
pub struct Process {
    child: Child,
    /// A simulated system ends when this is closed.
    _input: Option<ChildStdin>,
    pub address: SocketAddr,
    /// From the start to the word `ready`.
    pub ready_after: Duration,
}

/// How a process tells that it takes requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// `listening <address>`
    Address,
    /// `listening <name> <address>` for each listener, then `ready`.
    ReadyAfterNames,
}

impl Process {
    pub fn start(program: &Path, args: &[&str], tells: Tells) -> Result<Self, Failure> {
        let began = Instant::now();
        let mut child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        let (input, mut address) = (child.stdin.take(), None);
        for line in BufReader::new(output).lines() {
            let line = line?;
            let words: Vec<_> = line.split(' ').collect();
            match (words.as_slice(), tells) {
                (["listening", "exchange", found], Tells::ReadyAfterNames)
                | (["listening", found], Tells::Address) => address = Some(found.parse()?),
                _ => {}
            }
            if tells == Tells::Address || line == "ready" {
                let ready_after = began.elapsed();
                let address = address.ok_or("the process does not say where it listens")?;
                return Ok(Self { child, _input: input, address, ready_after });
            }
        }
        Err(format!("`{}` ended before it was ready", args.join(" ")).into())
    }

    /// A process that is ready when something listens at `address`.
    pub fn start_server(program: &Path, args: &[&str], address: SocketAddr) -> Result<Self, Failure> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let began = Instant::now();
        let mut child = Command::new(program).args(args).stdin(Stdio::null()).spawn()?;
        while std::net::TcpStream::connect(address).is_err() {
            if child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("`{}` does not listen", program.display()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { child, _input: None, address, ready_after: began.elapsed() })
    }

    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(&self.child.id().to_string())
    }

    /// The most memory the process has had in use at once, in KiB.
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
        Ok(number.parse()?)
    }

    /// Asks it to end as an operator would, and waits.
    pub fn stop(mut self) -> Result<(), Failure> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        if self.child.wait()?.success() {
            Ok(())
        } else {
            Err("the process did not end in good order".into())
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// User and system time of this process so far.
pub fn own_cpu() -> Result<Duration, Failure> {
    cpu_of("self")
}

/// User and system time of a process so far, all its threads together.
fn cpu_of(process: &str) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The fields after the name, which may hold spaces: the 12th and 13th are user and system time.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut ticks = 0;
    for field in after_name.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u32>()?;
    }
    Ok(TICK * ticks)
}

/// CPU time of this thread so far, to the nanosecond.
pub fn own_thread_cpu() -> Result<Duration, Failure> {
    // A thread's account is brought up to date when it gives way.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(stat.split_whitespace().next().unwrap_or_default().parse()?))
}

/// Time all cores together have been busy since the machine started, whoever kept them so.
pub fn machine_busy() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no cpu line")?;
    let mut ticks = 0_u32;
    for (place, field) in line.split_whitespace().take(8).enumerate() {
        // The fourth and fifth are idle time.
        if place != 3 && place != 4 {
            ticks = ticks.wrapping_add(field.parse()?);
        }
    }
    Ok(TICK * ticks)
}
