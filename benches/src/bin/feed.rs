//! The loopback server as a program: `feed messages=N body=BYTES`. It prints its port, and at the end what it has fed.
#![allow(clippy::print_stdout, reason = "the runner reads its standard output")]

use std::net::{Ipv4Addr, TcpListener};

use benches::{Error, body, feed, now, pairs};

fn main() -> Result<(), Error> {
    let pairs = pairs(std::env::args().skip(1));
    let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let messages = value("messages").ok_or("`messages=` is missing")?.parse()?;
    let bytes = value("body").ok_or("`body=` is missing")?.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let fed = feed::serve(listener, messages, body(1, now(), bytes))?;
    println!("{}", serde_json::to_string(&fed)?);
    Ok(())
}
