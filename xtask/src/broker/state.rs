//! The file that remembers a node between two calls: lines of `key=value`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::{Failure, Result};

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State(BTreeMap<String, String>);

impl State {
    pub(super) fn file(folder: &Path) -> PathBuf {
        folder.join("state")
    }

    /// The state in this folder; `None` where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let file = Self::file(folder);
        match fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::on("read", &file)(error)),
        }
    }

    /// Replaces the state at once: a reader sees the old one or the new one, never half of it.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Failure::on("create the folder", folder))?;
        let new = folder.join(format!("state.{}.new", std::process::id()));
        fs::write(&new, self.to_text()).map_err(Failure::on("write", &new))?;
        let file = Self::file(folder);
        fs::rename(&new, &file).map_err(Failure::on("write", &file))
    }

    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    pub(super) fn text(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).ok_or_else(|| unreadable(&format!("it does not tell the {key}")))
    }

    pub(super) fn value<T: FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().map_err(|_| unreadable(&format!("`{text}` is not a {key}")))
    }

    pub(super) fn optional<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        if self.0.contains_key(key) { self.value(key).map(Some) } else { Ok(None) }
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let pairs = lines.map(|line| {
            let pair = line.split_once('=').ok_or_else(|| unreadable(&format!("`{line}` is not key=value")))?;
            Ok((pair.0.to_owned(), pair.1.to_owned()))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    fn to_text(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::new(format!("the broker's state file cannot be read: {why}; delete target/broker to start afresh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("xtask-{}-state", std::process::id()));
        assert_eq!(State::read(&folder)?, None);
        let state =
            State::default().with("mode", "private").with("amqp_port", 5672).with("process", "1 boot a=b tick 2");
        state.write(&folder)?;
        let read = State::read(&folder)?;
        super::super::delete(&folder)?;
        assert_eq!(read, Some(state));
        Ok(())
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() -> Result<()> {
        assert_eq!(State::parse("process=1 boot a=b\n")?.text("process")?, "1 boot a=b");
        Ok(())
    }

    #[test]
    fn what_is_missing_or_malformed_is_told() -> Result<()> {
        assert!(State::parse("mode").is_err());
        let state = State::parse("amqp_port=many\n")?;
        assert!(state.text("mode").is_err());
        assert!(state.value::<u16>("amqp_port").is_err());
        assert_eq!(state.optional::<u16>("dist_port")?, None);
        Ok(())
    }
}
