//! The main application with its load: what is disturbed, and how the windows are measured.

use super::{
    application::{MAX_CONNECTIONS, WORK},
    arrivals::Arrivals,
    generator::{Answers, Generator, GeneratorError},
    modes::{Miner, own_program},
    processor_time::{MachineTime, group, of_processes, processors},
    windows::{Latencies, Window},
};
use crate::{
    coordinator::Failure,
    folder::RunFolder,
    parts::Part,
    ports::free_ports,
    process::{Launch, Process},
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Connections of the generator.
pub const CONNECTIONS: usize = 16;
const _: () = assert!(CONNECTIONS <= MAX_CONNECTIONS);
/// How long an application may take to serve.
const READY: Duration = Duration::from_secs(20);
/// From the start of the generator's thread to the begin of its arrivals.
const LEAD: Duration = Duration::from_millis(5);
/// What nginx serves, in bytes.
const FILE_LEN: usize = 1_024;
/// Rounds in which the rate for a load is sought; each begins from the use per request of the last.
const RATE_ROUNDS: usize = 2;
/// Wanted use of a machine is no more than this: above it an open loop has no end.
const MOST_LOAD: f64 = 0.9;

/// A main application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Application {
    /// The benchmark's own, with half a millisecond of work a request.
    Http,
    /// nginx with a file of 1 KiB.
    Nginx,
}

impl Application {
    /// Its name in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Nginx => "nginx",
        }
    }

    /// Processor time that a request may take, to begin with.
    fn first_guess(self) -> Duration {
        match self {
            Self::Http => WORK + Duration::from_micros(50),
            Self::Nginx => Duration::from_micros(40),
        }
    }
}

/// How long windows are.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Load that runs before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub window: Duration,
}

/// An application that runs and the connections to it. It is in the session of this process, as the generator is.
#[derive(Debug)]
pub struct Stage {
    process: Process,
    processes: Vec<u32>,
    generator: Option<Generator>,
    application: Application,
    _folder: RunFolder,
}

/// Requests that are being sent.
#[derive(Debug)]
pub struct Sending {
    /// Where their intended times begin.
    pub begin: Instant,
    task: JoinHandle<(Generator, Result<Answers, GeneratorError>)>,
}

impl Stage {
    /// Starts an application and connects to it.
    pub async fn start(application: Application) -> Result<Self, Failure> {
        let folder = RunFolder::temporary()?;
        let [port] = free_ports()?;
        let launch = match application {
            Application::Http => Launch::new("application", own_program("idle-application"), folder.path())
                .args(["serve", "--port", &port.to_string()]),
            Application::Nginx => nginx(&folder, port)?,
        };
        let mut process = launch.start()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.ready(READY, "serve", async || TcpStream::connect(address).ok()).await?;
        let connect = tokio::task::spawn_blocking(move || Generator::connect(address, "/", CONNECTIONS));
        let generator = Some(connect.await??);
        let processes = group(process.id())?;
        Ok(Self { process, processes, generator, application, _folder: folder })
    }

    /// Which it is.
    pub fn application(&self) -> Application {
        self.application
    }

    /// Processor time of the application so far, without the generator's.
    pub fn time(&mut self) -> Result<Duration, Failure> {
        self.process.check_alive()?;
        Ok(of_processes(&self.processes)?)
    }

    /// Begins to send.
    pub fn send(&mut self, arrivals: Arrivals) -> Result<Sending, Failure> {
        let mut generator = self.generator.take().ok_or("requests are already being sent")?;
        let begin = Instant::now() + LEAD;
        let task = tokio::task::spawn_blocking(move || {
            std::thread::sleep(begin.saturating_duration_since(Instant::now()));
            let answers = generator.run(&arrivals, begin);
            (generator, answers)
        });
        Ok(Sending { begin, task })
    }

    /// Waits for all answers.
    pub async fn answers(&mut self, sending: Sending) -> Result<Answers, Failure> {
        let (generator, answers) = sending.task.await?;
        self.generator = Some(generator);
        self.process.check_alive()?;
        Ok(answers?)
    }

    /// Measures one window: load without anything counting, then what counts.
    pub async fn window(
        &mut self,
        seed: u64,
        rate: f64,
        lengths: Lengths,
        mut miner: Option<&mut Miner>,
    ) -> Result<Window, Failure> {
        let arrivals = Arrivals::poisson(seed, rate, lengths.warm_up, lengths.window);
        let (from, end) = (arrivals.counted_from, arrivals.end);
        let sending = self.send(arrivals)?;
        let begin = sending.begin;
        let mut read = async |at: Duration| -> Result<_, Failure> {
            tokio::time::sleep_until((begin + at).into()).await;
            let miner = miner.as_mut().map(|miner| miner.time()).transpose()?;
            Ok((Instant::now(), MachineTime::now()?, of_processes(&self.processes)?, miner))
        };
        let (before, after) = (read(from).await?, read(end).await?);
        let mut answers = self.answers(sending).await?;
        let machine = after.1.since(&before.1);
        let mined = after.3.zip(before.3).map(|(after, before)| after.since(&before));
        Ok(Window {
            latencies: Latencies::of(&mut answers.latencies)
                .ok_or("no request counts; lengthen the window")?,
            length: after.0.saturating_duration_since(before.0),
            processors: processors(),
            application: after.2.saturating_sub(before.2) + answers.processor_time,
            miner: mined.unwrap_or_default(),
            idle: machine.idle,
            steal: machine.steal,
        })
    }

    /// Requests a second that use the share `load` of the machine, found by trying without a miner.
    pub async fn rate(&mut self, load: f64, lengths: Lengths) -> Result<f64, Failure> {
        if !(0.0..=MOST_LOAD).contains(&load) {
            return Err(format!("a load of {load} cannot be held in an open loop").into());
        }
        let wanted = load * processors() as f64;
        let mut per_request = self.application.first_guess().as_secs_f64();
        for _ in 0..RATE_ROUNDS {
            let rate = wanted / per_request;
            let window = self.window(0, rate, lengths, None).await?;
            per_request = window.application.as_secs_f64() / window.latencies.requests as f64;
        }
        Ok(wanted / per_request)
    }
}

fn nginx(folder: &RunFolder, port: u16) -> Result<Launch, Failure> {
    let program = Part::Nginx.locate()?;
    std::fs::write(folder.inner("files")?.join("index.html"), [b'x'; FILE_LEN])?;
    folder.inner("temporary")?;
    // As root it would change to another user, who may not enter this folder.
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path temporary/{kind};\n"))
        .concat();
    let text = format!(
        "{user}\ndaemon off;\nworker_processes auto;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n    keepalive_requests 1000000000;\n    \
         keepalive_timeout 1h;\n{temporary}    server {{ listen 127.0.0.1:{port}; root files; }}\n}}\n"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, text)?;
    Ok(Launch::new("nginx", program, folder.path()).args(["-e", "stderr", "-p"]).args([
        folder.path().as_os_str(),
        "-c".as_ref(),
        file.as_os_str(),
    ]))
}

/// Spinners that use up the whole machine. Dropped, they are killed.
pub async fn saturate(folder: &RunFolder) -> Result<Process, Failure> {
    let mut process =
        Launch::new("spinners", own_program("idle-application"), folder.path()).args(["spin"]).start()?;
    let id = process.id();
    let before = of_processes(&[id])?;
    let spinning = async || of_processes(&[id]).ok().filter(|time| *time > before + LEAD);
    process.ready(READY, "spin", spinning).await?;
    Ok(process)
}
