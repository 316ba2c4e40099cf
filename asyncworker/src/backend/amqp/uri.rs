//! `amqp://` and `amqps://` URIs.
//!
//! Source: the RabbitMQ URI specification, with one thing read as people mean it: `amqp://host/` is the
//! default virtual host like `amqp://host`, not the one with the empty name. `%2f` is `/`.

use crate::error::Error;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use url::{Host, Url};

/// A broker's address and what to say to it.
#[derive(Clone, PartialEq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
    pub(super) user: String,
    pub(super) password: String,
}

impl Endpoint {
    /// The port, or the one that the scheme stands for.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 5671 } else { 5672 })
    }

    /// What is risky about it, beyond this machine.
    pub(super) fn risks(&self) -> impl Iterator<Item = &'static str> {
        let loopback = self.host.parse::<IpAddr>().map_or(self.host == "localhost", |address| address.is_loopback());
        let plain = (!self.tls).then_some("user, password and messages are not encrypted: use amqps");
        let guest = (self.user == "guest" && self.password == "guest").then_some("anybody knows the password of guest");
        [plain, guest].into_iter().flatten().filter(move |_| !loopback)
    }
}

/// Where it is, and never how to get in.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port())
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port())
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a URI says.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) endpoint: Endpoint,
    pub(super) vhost: Option<String>,
    pub(super) heartbeat: Option<u16>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) frame_max: Option<u32>,
    pub(super) channel_max: Option<u16>,
}

/// Reads a URI.
///
/// # Errors
/// What is wrong with it, without the URI itself: it may hold a password.
pub(super) fn parse(uri: &str) -> Result<Parsed, Error> {
    let url = Url::parse(uri).map_err(|error| wrong(&format!("it is not a URI ({error})")))?;
    let tls = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        other => return Err(wrong(&format!("its scheme is `{other}`; it must be `amqp` or `amqps`"))),
    };
    let host = match url.host() {
        None => "localhost".to_owned(),
        Some(Host::Domain("")) => "localhost".to_owned(),
        Some(Host::Domain(domain)) => decode("host", domain)?,
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
    };
    let user = match url.username() {
        "" => "guest".to_owned(),
        user => decode("user", user)?,
    };
    let password = url.password().map_or(Ok("guest".to_owned()), |password| decode("password", password))?;
    let vhost = match url.path() {
        "" | "/" => None,
        path => Some(decode("virtual host", path.strip_prefix('/').unwrap_or(path))?),
    };
    if url.fragment().is_some() {
        return Err(wrong("it has a fragment; a `#` in a password or virtual host is written `%23`"));
    }
    let mut parsed = Parsed {
        endpoint: Endpoint { host, port: url.port(), tls, user, password },
        vhost,
        heartbeat: None,
        connect_timeout: None,
        frame_max: None,
        channel_max: None,
    };
    for (name, value) in url.query_pairs() {
        match &*name {
            "heartbeat" => parsed.heartbeat = Some(number(&name, &value)?),
            "connection_timeout" => parsed.connect_timeout = Some(Duration::from_millis(number(&name, &value)?)),
            "frame_max" => parsed.frame_max = Some(number(&name, &value)?),
            "channel_max" => parsed.channel_max = Some(number(&name, &value)?),
            _ => {
                return Err(wrong(&format!(
                    "it has a parameter `{name}`; known are `heartbeat` (s), `connection_timeout` (ms), `frame_max`, `channel_max`"
                )));
            }
        }
    }
    Ok(parsed)
}

fn wrong(what: &str) -> Error {
    Error::configuration(format!("the AMQP URI cannot be used: {what}"))
}

fn decode(part: &str, text: &str) -> Result<String, Error> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(wrong(&format!("its {part} is not UTF-8 when percent-decoded"))),
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Error> {
    value.parse().map_err(|_| wrong(&format!("its parameter `{name}` is {value:?}, which is not a number in range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(uri: &str) -> Endpoint {
        parse(uri).unwrap().endpoint
    }

    #[test]
    fn what_is_risky_is_told_but_not_of_this_machine() {
        let risks = |uri| endpoint(uri).risks().count();
        for uri in ["amqp://localhost", "amqp://127.0.0.1", "amqp://[::1]", "amqps://app:secret@broker"] {
            assert_eq!(risks(uri), 0, "{uri}");
        }
        for uri in ["amqp://app:secret@broker", "amqps://guest:guest@10.0.0.1", "amqps://broker"] {
            assert_eq!(risks(uri), 1, "{uri}");
        }
        assert_eq!(risks("amqp://broker"), 2);
    }

    #[test]
    fn a_trailing_slash_and_nothing_both_mean_the_default_virtual_host() {
        assert_eq!(parse("amqp://host").unwrap().vhost, None);
        assert_eq!(parse("amqp://host/").unwrap().vhost, None);
        assert_eq!(parse("amqp://host/%2f").unwrap().vhost.as_deref(), Some("/"));
        assert_eq!(parse("amqp://host/%2F").unwrap().vhost.as_deref(), Some("/"));
        assert_eq!(parse("amqp://host/orders").unwrap().vhost.as_deref(), Some("orders"));
        assert_eq!(parse("amqp://host/a%2fb").unwrap().vhost.as_deref(), Some("a/b"));
    }

    #[test]
    fn ipv6_addresses_keep_their_host_and_port() {
        let endpoint = endpoint("amqp://guest:guest@[::1]:5673/x");
        assert_eq!((endpoint.host.as_str(), endpoint.port()), ("::1", 5673));
        assert_eq!(endpoint.to_string(), "amqp://[::1]:5673");
    }

    #[test]
    fn the_scheme_decides_on_tls_and_port() {
        assert_eq!(endpoint("amqps://host").port(), 5671);
        assert!(endpoint("amqps://host").tls);
        assert_eq!(endpoint("amqp://host").port(), 5672);
        assert_eq!(endpoint("amqp://").host, "localhost");
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let endpoint = endpoint("amqp://a%40b:p%2fw%23@host");
        assert_eq!((endpoint.user.as_str(), endpoint.password.as_str()), ("a@b", "p/w#"));
    }

    #[test]
    fn parameters_are_read_and_unknown_ones_refused() {
        let parsed = parse("amqp://host?heartbeat=5&connection_timeout=1500&channel_max=100").unwrap();
        assert_eq!(parsed.heartbeat, Some(5));
        assert_eq!(parsed.connect_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(parsed.channel_max, Some(100));
        assert!(parse("amqp://host?hartbeat=5").unwrap_err().to_string().contains("hartbeat"));
        assert!(parse("amqp://host?heartbeat=soon").unwrap_err().to_string().contains("soon"));
    }

    #[test]
    fn no_error_shows_the_password() {
        for uri in [
            "http://guest:canary@host",
            "amqp://guest:canary@host:99999",
            "amqp://guest:canary@host/#x",
            "amqp://guest:canary%ff@host",
            "amqp//guest:canary@host",
            "amqp://guest:canary@[::1",
            "amqp://guest:canary@host?x=1",
        ] {
            let error = parse(uri).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        assert!(!format!("{:?}", endpoint("amqp://guest:canary@host")).contains("canary"));
    }
}
