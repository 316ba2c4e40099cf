//! Services from settings: a section each, and the factories that make services of them.

use super::supervised::{IntoService, Registered};
use crate::error::Error;
use crate::handler::Failure;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Makes a service of its settings. An error says what is wrong with them.
pub(crate) struct Factory(Box<dyn Fn(Option<Value>) -> Result<Registered, String> + Send>);

impl Factory {
    pub(crate) fn new<T: DeserializeOwned, S: IntoService>(
        make: impl Fn(T) -> Result<S, Failure> + Send + 'static,
    ) -> Self {
        Self(Box::new(move |settings| {
            let settings = match settings {
                Some(settings) => read(settings)?,
                // What takes no settings is a `()`, and what has a default for each is an object.
                None => read(Value::Null).or_else(|_| read(Value::Object(serde_json::Map::new())))?,
            };
            Ok(make(settings).map_err(|failure| failure.to_string())?.into_service())
        }))
    }
}

/// The settings of one service.
#[derive(Deserialize)]
struct Section {
    factory: String,
    settings: Option<Value>,
}

/// Makes the services of these settings, in the order of their names.
///
/// # Errors
/// Names the service and the setting.
pub(super) fn sections(
    settings: Result<Value, serde_json::Error>,
    factories: &BTreeMap<String, Factory>,
) -> Result<Vec<Registered>, Error> {
    let refuse = |what: &dyn fmt::Display| Error::configuration(format!("the settings of services: {what}"));
    let settings = settings.map_err(|error| refuse(&error))?;
    let sections: BTreeMap<String, Section> = read(settings).map_err(|wrong| refuse(&wrong))?;
    let make = |(name, section): (String, Section)| {
        let Some(factory) = factories.get(&section.factory) else {
            let known: Vec<_> = factories.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
            return Err(Error::configuration(format!(
                "service `{name}`: the app has no factory named `{}`; there is {known}",
                section.factory
            )));
        };
        let made = (factory.0)(section.settings);
        let mut service = made.map_err(|wrong| Error::configuration(format!("service `{name}`: {wrong}")))?;
        service.name = name;
        Ok(service)
    };
    sections.into_iter().map(make).collect()
}

/// Reads settings. An error names the setting by its path; one that nothing reads is an error, too, because it is most
/// likely a typing error.
fn read<T: DeserializeOwned>(settings: Value) -> Result<T, String> {
    let mut unread = None;
    let mut note = |path: serde_ignored::Path<'_>| {
        unread.get_or_insert(path.to_string());
    };
    let read = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(settings, &mut note));
    let unread = unread.map(|path| format!("nothing reads the setting `{path}`"));
    match read {
        Ok(settings) => unread.map_or(Ok(settings), Err),
        Err(error) if error.path().iter().len() == 0 => {
            // A typing error is most likely the reason why a field is missing.
            let wrong = error.into_inner().to_string();
            Err(match unread {
                Some(unread) => format!("{wrong}; {unread}"),
                None => wrong,
            })
        }
        Err(error) => Err(format!("the setting `{}`: {}", error.path(), error.inner())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Smtp {
        host: String,
        #[serde(default)]
        ports: Vec<u16>,
    }

    #[test]
    fn settings_are_read() {
        let smtp = read(json!({ "host": "mail", "ports": [25] }));
        assert_eq!(smtp, Ok(Smtp { host: "mail".into(), ports: vec![25] }));
    }

    #[test]
    fn a_setting_that_is_wrong_is_named_by_its_path() {
        let wrong = read::<Smtp>(json!({ "host": "mail", "ports": [25, "smtp"] })).unwrap_err();
        assert!(wrong.contains("`ports[1]`") && wrong.contains("smtp") && wrong.contains("u16"), "{wrong}");
        let wrong = read::<Smtp>(json!({ "ports": [] })).unwrap_err();
        assert!(wrong.contains("missing field `host`"), "{wrong}");
        let wrong = read::<Smtp>(json!({ "host": "mail", "prots": [25] })).unwrap_err();
        assert!(wrong.contains("`prots`"), "{wrong}");
        let wrong = read::<Smtp>(json!({ "hots": "mail" })).unwrap_err();
        assert_eq!(wrong, "missing field `host`; nothing reads the setting `hots`");
    }
}
