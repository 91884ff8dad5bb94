//! Free ports on loopback, for programs that cannot choose one and say which.

use crate::HarnessError;
use rand::RngExt;
use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below those that the kernel gives to outgoing connections (`net.ipv4.ip_local_port_range`), of which the tests have
/// hundreds at a time.
const PORTS: Range<u16> = 16_384..32_768;
/// Most ports that are tried for each.
const TRIES: usize = 64;

/// `N` different free TCP ports of 127.0.0.1. All are held until the last is found, so none is given twice; they are
/// drawn at random, so another program is unlikely to get one between here and its use.
pub fn free_ports<const N: usize>() -> Result<[u16; N], HarnessError> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let mut tried = (0..TRIES).map(|_| {
            let drawn = rand::rng().random_range(PORTS);
            TcpListener::bind((Ipv4Addr::LOCALHOST, drawn))
        });
        let first = tried.find(Result::is_ok).unwrap_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = first.map_err(HarnessError::io("finding a free port"))?;
        *port = listener.local_addr().map_err(HarnessError::io("reading a bound port"))?.port();
        held.push(listener);
    }
    Ok(ports)
}
