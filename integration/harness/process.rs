//! A child process that cannot outlive the run: a server of a test's own, or our binary.
//!
//! Children are started by one thread that lives as long as the run, under `setpriv --pdeathsig KILL`:
//! the kernel kills them when that thread ends, however the run ends. What they print goes to a file.

use super::wait::until;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

/// One child process, ended by its id when it is dropped; a test that fails prints its last lines.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it prints is appended to the log.
    pub fn start(name: &str, command: &Command, log: &Path) -> Self {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        let file = append(log);
        let also = file.try_clone().expect("a log can be written twice");
        guarded.stdin(std::process::Stdio::null()).stdout(file).stderr(also);
        Self { name: name.to_owned(), child: launch(guarded), log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has in RAM, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it lives, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// The most memory that it ever had in RAM, in KiB; nothing once it has ended.
    pub fn peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// The processor time that it has taken, all its threads together; nothing once it has ended.
    pub fn spent(&self) -> Option<Duration> {
        let told = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        let after_its_name: Vec<&str> = told.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| after_its_name.get(field)?.parse::<u64>().ok();
        Some(Duration::from_millis(10) * u32::try_from(ticks(11)? + ticks(12)?).ok()?) // Linux tells hundredths
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("it lives, on Linux").count()
    }

    /// How many descriptors it holds.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it lives, on Linux").count()
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Freezes it: connections stay open and nothing is answered.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Wakes it after `stop`.
    pub fn cont(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by name. The shell's own `kill`, as not every machine has the program.
    pub fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.id());
        let sent = Command::new("sh").args(["-c", &line]).status().expect("there is a shell");
        assert!(sent.success(), "{} (process {}) takes no SIG{signal}: it has ended", self.name, self.id());
    }

    /// How it ended, or nothing while it lives.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be asked")
    }

    /// Waits for its end.
    pub async fn exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(deadline, &what, async || self.ended()).await
    }

    /// All that it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its last lines, for a failure's message.
    pub fn last_lines(&self) -> String {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
        format!("==> {}, process {}, last lines of {}\n{}\n", self.name, self.id(), self.log.display(), tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_lines());
        }
        let (_killed, _waited) = (self.child.kill(), self.child.wait());
    }
}

/// A port that is free now, below the range from which the system draws for outgoing connections,
/// and not handed out before in this run.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().expect("nobody panics while drawing");
    let taken = taken.get_or_insert_default();
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && taken.insert(port) {
            return port;
        }
    }
}

fn append(log: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log).expect("a log lies in the test's own folder")
}

/// Hands a command to the thread that starts children.
fn launch(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static LAUNCHER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _nobody_waits = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = mpsc::channel();
    let program = format!("{:?}", command.get_args().nth(3));
    launcher.lock().expect("nobody panics while ordering").send((command, answer)).expect("the launcher lives");
    match child.recv().expect("the launcher answers") {
        Ok(child) => child,
        Err(error) => panic!("cannot start {program}: {error}"),
    }
}
