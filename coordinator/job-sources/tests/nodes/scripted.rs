//! A node that answers as a script says: real TCP, real HTTP, no chain behind it.

use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a node does with a request.
pub enum Reply {
    /// JSON-RPC 1.0 as btcd sends it.
    Result(Value),
    /// An error as Bitcoin Core sends it: status 500 and a JSON body.
    Error(i64, &'static str),
    /// Any status and body.
    Raw(u16, Vec<u8>),
    /// A body that is announced and never ends.
    Endless,
    /// Silence on an open connection.
    Hang,
    /// Silence until the client closes the connection, which is counted.
    HangUntilLeft,
    /// The connection is closed in the middle of the answer.
    Close,
}

/// A request as the node saw it.
pub struct Request {
    pub method: String,
    pub params: Value,
    pub authorization: Option<String>,
    /// Counts the requests of all connections, from 0.
    pub number: usize,
}

pub struct Node {
    pub url: String,
    connections: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub async fn start(script: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let left = Arc::new(AtomicUsize::new(0));
        let leaving = Arc::clone(&left);
        let (script, requests) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
                let leaving = Arc::clone(&leaving);
                open.spawn(async move { serve(stream, &*script, &requests, &leaving).await });
            }
        });
        Self { url, connections, left, task }
    }

    /// How many clients closed their connection instead of waiting.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: TcpStream,
    script: &(impl Fn(Request) -> Reply + Sync),
    requests: &AtomicUsize,
    left: &AtomicUsize,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (body, authorization) = read_request(&mut stream).await?;
        let call: Value = serde_json::from_slice(&body).unwrap();
        let request = Request {
            method: call["method"].as_str().unwrap().to_owned(),
            params: call["params"].clone(),
            authorization,
            number: requests.fetch_add(1, Ordering::SeqCst),
        };
        let id = &call["id"];
        let (status, body) = match script(request) {
            Reply::Result(result) => {
                (200, json!({ "jsonrpc": "1.0", "result": result, "error": null, "id": id }))
            }
            Reply::Error(code, message) => {
                (500, json!({ "result": null, "error": { "code": code, "message": message }, "id": id }))
            }
            Reply::Raw(status, body) => {
                write(&mut stream, status, &body).await?;
                continue;
            }
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(b"400\r\n").await.ok()?;
                    stream.write_all(&[b' '; 0x400]).await.ok()?;
                    stream.write_all(b"\r\n").await.ok()?;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::HangUntilLeft => {
                let _ = stream.read(&mut [0; 1]).await;
                left.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            Reply::Close => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await.ok()?;
                return None;
            }
        };
        write(&mut stream, status, body.to_string().as_bytes()).await?;
    }
}

async fn write(stream: &mut BufReader<TcpStream>, status: u16, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(Vec<u8>, Option<String>)> {
    let (mut len, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => len = value.parse().ok()?,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned());
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.ok()?;
    Some((body, authorization))
}
