//! Child processes that cannot outlive whoever started them.

use crate::wait;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{LazyLock, PoisonError};
use std::time::Duration;

/// How much of a log an error quotes.
const LOG_TAIL_LINES: usize = 15;
/// How long a process that was sent SIGKILL may take to go.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a process could not be started, watched or ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("starting {name} ({program}): {source}")]
    Start {
        /// The process's name.
        name: String,
        /// The program's path.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was asked to.
    #[error("{name} ended by itself with {status}; its log {log} ends:\n{tail}")]
    EndedEarly {
        /// The process's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The system refused to say whether it still runs.
    #[error("watching {name}: {source}")]
    Watch {
        /// The process's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is still there after SIGKILL.
    #[error("ending {name}: {source}")]
    Stop {
        /// The process's name.
        name: String,
        /// The deadline that passed.
        source: wait::Overdue,
    },
}

/// What to start: kept by whoever wants to start it again.
#[derive(Debug, Clone)]
pub struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    own_session: bool,
    log: PathBuf,
}

impl Launch {
    /// `program` under a name of one's own; its output goes to `<name>.log` in `log_folder`, after what is there already.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log_folder: &Path) -> Self {
        let name = name.into();
        let log = log_folder.join(format!("{name}.log"));
        Self {
            name,
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            own_session: false,
            log,
        }
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the folder it works in, to which its relative paths belong; without, it is that of the caller.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Gives it a session of its own, as a service has: where the kernel groups by session (autogroup), it is then
    /// scheduled apart from whoever starts it.
    pub fn own_session(mut self) -> Self {
        self.own_session = true;
        self
    }

    /// Starts it.
    pub fn start(&self) -> Result<Process, ProcessError> {
        let start =
            |source| ProcessError::Start { name: self.name.clone(), program: self.program.clone(), source };
        if !self.program.is_file() {
            return Err(start(io::Error::new(io::ErrorKind::NotFound, "no such program")));
        }
        let log = File::options().create(true).append(true).open(&self.log).map_err(start)?;
        // setpriv (util-linux) asks the kernel for SIGKILL when the parent is gone, then becomes the program itself.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if self.own_session {
            // setsid (util-linux) must not be a group's leader yet, and makes itself the leader of a new group.
            command.arg("setsid");
        } else {
            command.process_group(0);
        }
        command.arg(&self.program).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(log.try_clone().map_err(start)?).stdout(log);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child = spawn_from_lasting_thread(command).map_err(start)?;
        Ok(Process { launch: self.clone(), child, ended: None })
    }
}

/// A running child: the leader of its own process group, killed when dropped and when its parent dies.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// The file that holds its output.
    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    /// How it ended, or nothing while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| self.watch_error(source))?;
        }
        Ok(self.ended)
    }

    /// An error that quotes the log when the process is no longer there.
    pub fn check_alive(&mut self) -> Result<(), ProcessError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(ProcessError::EndedEarly {
                name: self.launch.name.clone(),
                status,
                log: self.launch.log.clone(),
                tail: self.log_tail(),
            }),
        }
    }

    /// Waits for `condition` as [`wait::until`] does, but gives up at once when the process ends.
    pub async fn ready<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, crate::HarnessError> {
        let what = format!("{} to {what}", self.launch.name);
        let outcome = wait::until(deadline, what, async || match self.check_alive() {
            Err(error) => Some(Err(error)),
            Ok(()) => condition().await.map(Ok),
        });
        Ok(outcome.await??)
    }

    /// Sends a signal to the process and everything that it started.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let leader = Pid::from_raw(self.child.id().cast_signed());
        // ESRCH: it has not made its own group yet.
        match killpg(leader, signal).or_else(|error| {
            if error == nix::errno::Errno::ESRCH { kill(leader, signal) } else { Err(error) }
        }) {
            // ESRCH: gone since the look above.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(self.watch_error(error.into())),
        }
    }

    /// SIGTERM, then SIGKILL once `deadline` has passed. Says how it ended; a status with a signal means it was killed.
    pub async fn stop(&mut self, deadline: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGTERM)?;
        if let Ok(status) = self.end_within(deadline).await {
            return status;
        }
        self.signal(Signal::SIGKILL)?;
        match self.end_within(KILL_DEADLINE).await {
            Ok(status) => status,
            Err(source) => Err(ProcessError::Stop { name: self.launch.name.clone(), source }),
        }
    }

    /// `kill -9`: the process is gone on return, without having had a chance to tidy up.
    pub fn kill9(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGKILL)?;
        let status = self.child.wait().map_err(|source| self.watch_error(source))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.launch.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_TAIL_LINES)).copied().collect::<Vec<_>>().join("\n")
    }

    async fn end_within(
        &mut self,
        deadline: Duration,
    ) -> Result<Result<ExitStatus, ProcessError>, wait::Overdue> {
        let what = format!("the end of {}", self.launch.name);
        wait::until(deadline, what, async || self.ended().transpose()).await
    }

    fn watch_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Watch { name: self.launch.name.clone(), source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill9() {
            tracing::warn!(%error, "a process may be left behind");
        }
    }
}

type Spawn = (Command, SyncSender<io::Result<Child>>);

/// The kernel takes a parent for dead when the *thread* that started the child ends; threads of a runtime come and go, so
/// one that lasts as long as the program starts every child.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<std::sync::Mutex<SyncSender<Spawn>>> = LazyLock::new(|| {
        let (orders, incoming) = sync_channel::<Spawn>(0);
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                // Nobody waits for the answer only if the asking thread was torn down: the child is then reaped with us.
                let _ = answer.send(command.spawn());
            }
        });
        std::sync::Mutex::new(orders)
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (answer, outcome) = sync_channel(1);
    let orders = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, answer)).map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getsid;

    #[tokio::test]
    async fn a_process_with_a_session_of_its_own_is_killed_whether_it_has_made_it_yet_or_not() {
        let logs = tempfile::tempdir().unwrap();
        let launch = Launch::new("sleeper", "/bin/sleep", logs.path()).args(["600"]).own_session();
        let killed = |process: &mut Process| process.kill9().unwrap().code();
        assert_eq!(killed(&mut launch.start().unwrap()), None);

        let mut process = launch.start().unwrap();
        let id = Pid::from_raw(process.id().cast_signed());
        let own = async || getsid(Some(id)).is_ok_and(|session| session == id).then_some(());
        process.ready(Duration::from_secs(10), "have its session", own).await.unwrap();
        assert_eq!(killed(&mut process), None);
    }
}
