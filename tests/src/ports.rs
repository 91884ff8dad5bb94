//! Free ports on loopback, for programs that cannot choose one and say which.

use crate::HarnessError;
use std::net::{Ipv4Addr, TcpListener};

/// `N` different free TCP ports of 127.0.0.1. All are held until the last is found, so none is given twice; the kernel
/// draws them at random, so another program is unlikely to get one between here and its use.
pub fn free_ports<const N: usize>() -> Result<[u16; N], HarnessError> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(HarnessError::io("finding a free port"))?;
        *port = listener.local_addr().map_err(HarnessError::io("reading a bound port"))?.port();
        held.push(listener);
    }
    Ok(ports)
}
