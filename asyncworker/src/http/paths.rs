//! Paths that cannot be read, and endpoints that get in each other's way, found before axum panics over them.

use super::endpoint::Endpoint;
use super::site::Builtin;
use crate::error::Error;
use axum::http::Method;
use axum::routing::MethodFilter;
use matchit::InsertError;
use std::collections::HashMap;

/// What wants to answer at some paths.
pub(super) struct Claim<'a> {
    /// For people.
    who: String,
    paths: Vec<&'a str>,
    /// `None`: all of them.
    methods: Option<&'a [Method]>,
    /// What to do about a clash with it, where that is not to choose another path.
    remedy: Option<&'static str>,
}

impl<'a> Claim<'a> {
    pub(super) fn of_builtin(builtin: &'a Builtin) -> Self {
        let who = format!("the built-in `{}`", builtin.path);
        Self { who, paths: vec![&builtin.path], methods: None, remedy: Some(builtin.remedy) }
    }

    pub(super) fn of_endpoint(endpoint: &'a Endpoint) -> Self {
        let paths = endpoint.paths.iter().map(String::as_str).collect();
        Self { who: format!("endpoint {}", endpoint.label()), paths, methods: Some(&endpoint.methods), remedy: None }
    }

    fn refused(&self, what: &str) -> Error {
        Error::configuration(format!("{}: {what}", self.who))
    }

    /// The first method that both answer.
    fn shares(&self, other: &Self) -> Option<String> {
        match (self.methods, other.methods) {
            (Some(ours), Some(theirs)) => ours.iter().find(|method| theirs.contains(method)).map(Method::to_string),
            (Some(methods), None) | (None, Some(methods)) => methods.first().map(Method::to_string),
            (None, None) => Some("requests".into()),
        }
    }
}

/// Checks that each claim can be met beside all others.
///
/// # Errors
/// The first that cannot, and what is in its way.
pub(super) fn check(claims: Vec<Claim<'_>>) -> Result<(), Error> {
    // Each distinct path, and who has it.
    let mut known: HashMap<&str, Vec<&Claim<'_>>> = HashMap::new();
    let mut matcher = matchit::Router::new();
    for claim in &claims {
        check_methods(claim)?;
        if claim.paths.is_empty() {
            return Err(claim.refused("it has no path"));
        }
        for path in &claim.paths {
            check_segments(claim, path)?;
            if let Some(others) = known.get_mut(path) {
                for other in others.iter() {
                    if let Some(method) = claim.shares(other) {
                        return Err(clash(claim, other, &format!("both answer {method} {path}")));
                    }
                }
                others.push(claim);
                continue;
            }
            match matcher.insert(*path, ()) {
                Ok(()) => {
                    known.insert(path, vec![claim]);
                }
                Err(InsertError::Conflict { with }) => {
                    let what = format!("`{path}` and `{with}` match the same requests; write them alike");
                    return Err(match known.get(with.as_str()).and_then(|others| others.first()) {
                        Some(other) => clash(claim, other, &what),
                        None => claim.refused(&what),
                    });
                }
                Err(error) => return Err(claim.refused(&format!("the path {path:?} cannot be read: {}", told(&error)))),
            }
        }
    }
    Ok(())
}

fn clash(claim: &Claim<'_>, other: &Claim<'_>, what: &str) -> Error {
    let remedy = claim.remedy.or(other.remedy).map(|remedy| format!("; {remedy}")).unwrap_or_default();
    let who = if std::ptr::eq(claim, other) {
        format!("{} clashes with itself", claim.who)
    } else {
        format!("{} clashes with {}", claim.who, other.who)
    };
    Error::configuration(format!("{who}: {what}{remedy}"))
}

fn check_methods(claim: &Claim<'_>) -> Result<(), Error> {
    let Some(methods) = claim.methods else { return Ok(()) };
    if methods.is_empty() {
        return Err(claim.refused("it has no method"));
    }
    match methods.iter().find(|method| MethodFilter::try_from((*method).clone()).is_err()) {
        Some(unknown) => Err(claim.refused(&format!("`{unknown}` is not a method of HTTP's own"))),
        None => Ok(()),
    }
}

/// What axum asks of a path beyond what its matcher does.
fn check_segments(claim: &Claim<'_>, path: &str) -> Result<(), Error> {
    if !path.starts_with('/') {
        return Err(claim.refused(&format!("the path {path:?} does not start with `/`")));
    }
    match path.split('/').find(|segment| segment.starts_with([':', '*'])) {
        Some(old @ segment) => {
            let (sign, name) = segment.split_at(1);
            let new = if sign == ":" { format!("{{{name}}}") } else { format!("{{*{name}}}") };
            Err(claim.refused(&format!("the path {path:?} cannot be read: write `{new}` for `{old}`")))
        }
        None => Ok(()),
    }
}

fn told(error: &InsertError) -> &'static str {
    match error {
        InsertError::InvalidParamSegment => "a segment has one parameter at the most, at its end",
        InsertError::InvalidCatchAll => "a `{*rest}` has a name and stands alone at the end",
        _ => "a parameter is a name in braces, `{id}`; a brace itself is written twice",
    }
}
