//! YAML in and out: the one file of the workspace that names `serde_yaml`, so that leaving that crate is a change of
//! this file alone (docs/adr/0001-serde-yaml.md).
//!
//! In: text or values. Out: values or text. No client.

use serde::Deserialize;
use serde::Serialize;

/// What is wrong with a text, with its line and column.
#[derive(Debug)]
pub struct YamlError(serde_yaml::Error);

impl std::fmt::Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for YamlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// One document.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(YamlError)
}

/// Every document of a text; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<serde_json::Value>, YamlError> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde_json::Value::deserialize(document).map_err(YamlError))
        .filter(|document| !matches!(document, Ok(serde_json::Value::Null)))
        .collect()
}
