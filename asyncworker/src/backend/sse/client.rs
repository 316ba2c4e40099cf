//! One request for a stream, and what its answer means.

use super::opened::Config;
use crate::error::{BoxError, one_line};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// As many as browsers follow.
const MOST_REDIRECTS: usize = 20;
/// A server may ask for longer, but then it is asked again.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Why there is no stream.
pub(super) enum Refusal {
    /// 204: the server has nothing more to say.
    NoContent,
    /// To ask again would not help.
    Final(String),
    /// To be asked again, after this time where the server said one.
    ForNow(BoxError, Option<Duration>),
}

/// Asks for streams of one connection.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) config: Arc<Config>,
}

impl Client {
    /// A stream that resumes after the event of this id; any, where it is empty.
    pub(super) async fn open(&self, url: &Url, id: &str) -> Result<Response, Refusal> {
        let mut place = url.clone();
        // What is for this server is not for another that it names, nor for whom that names.
        let mut at_home = true;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.get(&place, id, at_home).await?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| is_redirect(status));
            let Some(location) = location else {
                return self.judge(response);
            };
            place = location
                .to_str()
                .ok()
                .and_then(|location| redirected(&place, location))
                .ok_or_else(|| Refusal::Final(format!("it redirects ({status}) to what is no HTTP URL")))?;
            at_home &= place.origin() == url.origin();
        }
        Err(Refusal::ForNow(format!("it redirects more than {MOST_REDIRECTS} times").into(), None))
    }

    async fn get(&self, url: &Url, id: &str, at_home: bool) -> Result<Response, Refusal> {
        let mut headers = if at_home { self.config.headers.clone() } else { HeaderMap::new() };
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if !id.is_empty() {
            let id = HeaderValue::from_bytes(id.as_bytes())
                .map_err(|_| Refusal::Final(format!("the last id, {id:?}, cannot be sent in a header")))?;
            headers.insert(LAST_EVENT_ID, id);
        }
        let mut request = self.http.get(url.clone()).headers(headers);
        if let Some((user, password)) = self.config.basic_auth.as_ref().filter(|_| at_home) {
            request = request.basic_auth(user, Some(password));
        }
        let sent = request.send();
        let answered = match self.config.idle_timeout {
            None => sent.await,
            Some(limit) => match tokio::time::timeout(limit, sent).await {
                Ok(answered) => answered,
                Err(_) => return Err(Refusal::ForNow(format!("no answer within {limit:?}").into(), None)),
            },
        };
        answered.map_err(|error| Refusal::ForNow(describe(error), None))
    }

    fn judge(&self, response: Response) -> Result<Response, Refusal> {
        let status = response.status();
        match status {
            StatusCode::OK => match response.headers().get(CONTENT_TYPE).map(HeaderValue::to_str) {
                Some(Ok(given)) if is_event_stream(given) => Ok(response),
                Some(Ok(given)) => Err(Refusal::Final(format!("it answers with `{given}`, not with `{EVENT_STREAM}`"))),
                _ => Err(Refusal::Final(format!("it answers without a content type, not with `{EVENT_STREAM}`"))),
            },
            StatusCode::NO_CONTENT => Err(Refusal::NoContent),
            _ if (self.config.retry_status)(status.as_u16()) => {
                Err(Refusal::ForNow(format!("it answers {status}").into(), retry_after(response.headers())))
            }
            _ => Err(Refusal::Final(format!("it answers {status}"))),
        }
    }
}

/// What went wrong, without the URL, which may have a secret in its query.
pub(super) fn describe(error: reqwest::Error) -> BoxError {
    one_line(&error.without_url()).into()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a location leads from here, without the user that it may name.
fn redirected(from: &Url, location: &str) -> Option<Url> {
    let mut url = from.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    Some(url)
}

/// By its essence: parameters, also malformed ones, do not matter.
fn is_event_stream(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim_matches([' ', '\t']).eq_ignore_ascii_case(EVENT_STREAM)
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match given.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(given).ok()?.duration_since(SystemTime::now()).ok()?,
    };
    Some(asked.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_judged_by_its_essence() {
        for right in ["text/event-stream", "Text/Event-Stream", "text/event-stream;", "text/event-stream ; x bogus"] {
            assert!(is_event_stream(right), "{right}");
        }
        for wrong in
            ["", "text/html", "text/event-stream x", "x text/event-stream", "text/event-streams", "x;text/event-stream"]
        {
            assert!(!is_event_stream(wrong), "{wrong}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("99999999999"), Some(LONGEST_ASKED));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(asked(&date).is_some_and(|asked| asked > Duration::from_secs(90)), "{date}");
    }

    #[test]
    fn a_location_is_taken_from_where_it_stands_and_without_a_user() {
        let from = Url::parse("https://a.example/v2/events?x=1").unwrap();
        let to = |location: &str| redirected(&from, location).map(String::from);
        assert_eq!(to("../v3/e"), Some("https://a.example/v3/e".into()));
        assert_eq!(to("http://user:pw@b.example/"), Some("http://b.example/".into()));
        assert_eq!(to("file:///etc/passwd"), None);
        assert_eq!(to("http://:bad"), None);
    }
}
