//! The load: requests at intended times over kept connections, whatever the application does with them (open loop).
//!
//! A request that finds no free connection waits, and its latency counts from the intended time all the same. One
//! thread, one `epoll`, waits of nanosecond precision, and no allocation between the first request and the last.

use super::arrivals::Arrivals;
use crate::bench::thread_cpu;
use nix::{
    errno::Errno,
    libc,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        prctl,
    },
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// Readiness that is taken at once.
const EVENTS: usize = 64;
/// Largest part of an answer that is read at once, in bytes.
const READ_LEN: usize = 16 * 1024;
/// Longest head of an answer, in bytes.
const MAX_HEAD_LEN: usize = 4 * 1024;
/// How long after the last intended time answers are waited for.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the first answer of a connection may take.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How every wanted answer begins.
const GOOD: &[u8] = b"HTTP/1.1 200";

/// Why a load could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// A connection could not be made or used.
    #[error("{what} {address}: {source}; does the application still run?")]
    Connection {
        /// What was done.
        what: &'static str,
        /// The application's address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The application answered something else than before.
    #[error("the application at {address} gave an unexpected answer: {what}")]
    Answer {
        /// Its address.
        address: SocketAddr,
        /// What is wrong.
        what: String,
    },
    /// Requests are left without an answer.
    #[error(
        "the application at {address} answered {answered} of {wanted} requests in time; its rate is too high"
    )]
    Unanswered {
        /// Its address.
        address: SocketAddr,
        /// Answers that came.
        answered: usize,
        /// Requests.
        wanted: usize,
    },
    /// The system refused to wait.
    #[error("waiting for answers: {0}; epoll_pwait2 needs Linux 5.11")]
    Wait(Errno),
}

/// What became of the requests of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Of those that count, in nanoseconds, in the order of the answers.
    pub latencies: Vec<u64>,
    /// Processor time of the generator from the first intended time that counts to the end.
    pub processor_time: Duration,
}

/// Kept connections to one application.
#[derive(Debug)]
pub struct Generator {
    address: SocketAddr,
    epoll: Epoll,
    connections: Vec<Connection>,
    request: Vec<u8>,
    /// Length of each answer in bytes; they are all alike.
    answer_len: usize,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Intended time of the request that is under way.
    intended: Option<u64>,
    received: usize,
}

impl Generator {
    /// Makes `connections` connections and asks once on each for `path`.
    pub fn connect(address: SocketAddr, path: &str, connections: usize) -> Result<Self, GeneratorError> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        let failed = |source| GeneratorError::Connection { what: "connecting to", address, source };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(GeneratorError::Wait)?;
        let mut generator =
            Self { address, epoll, connections: Vec::with_capacity(connections), request, answer_len: 0 };
        for index in 0..connections {
            let mut stream = TcpStream::connect(address).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            stream.set_read_timeout(Some(FIRST_ANSWER)).map_err(failed)?;
            let answer_len = generator.first_answer(&mut stream)?;
            if index > 0 && answer_len != generator.answer_len {
                return Err(generator.answer("answers differ in length"));
            }
            generator.answer_len = answer_len;
            stream.set_nonblocking(true).map_err(failed)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            generator.epoll.add(&stream, event).map_err(GeneratorError::Wait)?;
            generator.connections.push(Connection { stream, intended: None, received: 0 });
        }
        Ok(generator)
    }

    /// Sends a request at each of the intended times, which count from `begin`, and waits for all answers.
    pub fn run(&mut self, arrivals: &Arrivals, begin: Instant) -> Result<Answers, GeneratorError> {
        // Without this the kernel may wake the thread 50 µs late. A refusal only costs precision.
        let _ = prctl::set_timerslack(1);
        let mut free: Vec<usize> = (0..self.connections.len()).collect();
        let mut answers =
            Answers { latencies: Vec::with_capacity(arrivals.at.len()), processor_time: Duration::ZERO };
        let mut buffer = vec![0_u8; READ_LEN];
        let mut events = [EpollEvent::empty(); EVENTS];
        let counted_from = nanos(arrivals.counted_from);
        let (end, give_up) = (nanos(arrivals.end), nanos(arrivals.end + DRAIN));
        let (mut next, mut answered) = (0, 0);
        let mut cpu_at_count = None;
        while answered < arrivals.at.len() || nanos(begin.elapsed()) < end {
            let mut now = nanos(begin.elapsed());
            if cpu_at_count.is_none() && now >= counted_from {
                cpu_at_count = Some(thread_cpu());
            }
            while let Some(at) = arrivals.at.get(next).filter(|at| **at <= now)
                && let Some(index) = free.pop()
            {
                self.send(index, *at)?;
                next += 1;
                now = nanos(begin.elapsed());
            }
            // With requests waiting for a connection only an answer can help.
            let until = arrivals.at.get(next).copied().unwrap_or(end);
            let until = if free.is_empty() || until <= now && now >= end { give_up } else { until };
            if now >= give_up {
                let (address, wanted) = (self.address, arrivals.at.len());
                return Err(GeneratorError::Unanswered { address, answered, wanted });
            }
            let ready = wait(&self.epoll, &mut events, until.saturating_sub(now))?;
            for event in events.iter().take(ready) {
                let index = event.data() as usize;
                if let Some(intended) = self.receive(index, &mut buffer)? {
                    answered += 1;
                    if intended >= counted_from {
                        answers.latencies.push(nanos(begin.elapsed()).saturating_sub(intended));
                    }
                    free.push(index);
                }
            }
        }
        answers.processor_time = thread_cpu().saturating_sub(cpu_at_count.unwrap_or_default());
        Ok(answers)
    }

    fn send(&mut self, index: usize, intended: u64) -> Result<(), GeneratorError> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        (connection.intended, connection.received) = (Some(intended), 0);
        let address = self.address;
        let failed = |source| GeneratorError::Connection { what: "sending to", address, source };
        match connection.stream.write(&self.request).map_err(failed)? {
            all if all == self.request.len() => Ok(()),
            part => Err(failed(io::Error::other(format!("only {part} bytes of a request were taken")))),
        }
    }

    /// The intended time of the request whose answer is whole now.
    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> Result<Option<u64>, GeneratorError> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(None) };
        let address = self.address;
        let failed = |source| GeneratorError::Connection { what: "reading from", address, source };
        let len = match connection.stream.read(buffer) {
            Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if connection.received == 0 && !buffer.get(..len).unwrap_or_default().starts_with(GOOD) {
            return Err(self.answer("it is no 200"));
        }
        connection.received += len;
        if connection.received > self.answer_len {
            return Err(self.answer("it is longer than the first"));
        }
        let whole = connection.received == self.answer_len;
        Ok(if whole { connection.intended.take() } else { None })
    }

    /// The length of a first answer, by its own head.
    fn first_answer(&self, stream: &mut TcpStream) -> Result<usize, GeneratorError> {
        let address = self.address;
        let failed = |source| GeneratorError::Connection { what: "asking", address, source };
        stream.write_all(&self.request).map_err(failed)?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).map_err(failed)?;
            head.extend(byte);
            if head.len() > MAX_HEAD_LEN {
                return Err(self.answer("its head does not end"));
            }
        }
        if !head.starts_with(GOOD) {
            return Err(self.answer("it is no 200"));
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let len = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let len: usize = len.ok_or_else(|| self.answer("it has no length"))?;
        let mut body = vec![0; len];
        stream.read_exact(&mut body).map_err(failed)?;
        Ok(head.len() + len)
    }

    fn answer(&self, what: &str) -> GeneratorError {
        GeneratorError::Answer { address: self.address, what: what.to_owned() }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for readiness for at most `nanos`; says how many events there are. `Epoll::wait` knows only milliseconds.
#[allow(unsafe_code)]
fn wait(epoll: &Epoll, events: &mut [EpollEvent], nanos: u64) -> Result<usize, GeneratorError> {
    let timeout = libc::timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    };
    // SAFETY: `EpollEvent` is transparent over `epoll_event`; both pointers are to live values of the given length, the
    // call writes at most that many events, and a null signal mask of length 0 means that none is changed.
    let ready = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.0.as_raw_fd(),
            events.as_mut_ptr(),
            events.len(),
            &raw const timeout,
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    match Errno::result(ready) {
        Ok(ready) => Ok(usize::try_from(ready).unwrap_or_default()),
        Err(Errno::EINTR) => Ok(0),
        Err(error) => Err(GeneratorError::Wait(error)),
    }
}

#[cfg(test)]
mod tests;
