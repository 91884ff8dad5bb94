//! The product's Monero source against a real monerod: template, search, submission, the next seed, and what the daemon
//! then says. Each test here needs the part monerod.
#![cfg(test)]

mod beside_xmrig;
mod source;
