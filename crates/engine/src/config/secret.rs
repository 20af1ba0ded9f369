//! Where secrets are kept.

use std::{fs, path::PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, de::Error as _};
use toml::Value;

use super::ConfigError;

/// The error for a value that is no reference to a secret. The value may be the secret itself: it is not shown.
const FORM: &str = "write { env = \"NAME\" } or { file = \"PATH\" }, never the secret itself";

/// Where a secret is kept.
#[derive(Clone, Debug)]
pub enum SecretRef {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(PathBuf),
    /// Here: for the built-in simulator only, never read from a config.
    Inline(SecretString),
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`ConfigError`] naming where it was looked for.
    pub fn read(&self) -> Result<SecretString, ConfigError> {
        let (text, place) = match self {
            Self::Env(name) => (
                std::env::var(name).map_err(|_| {
                    ConfigError(format!("secret: the environment variable {name} is not set"))
                })?,
                format!("the environment variable {name}"),
            ),
            Self::File(path) => (
                fs::read_to_string(path)
                    .map_err(|e| ConfigError(format!("secret: {}: {e}", path.display())))?,
                path.display().to_string(),
            ),
            Self::Inline(secret) => return Ok(secret.clone()),
        };
        match text.trim() {
            "" => Err(ConfigError(format!("secret: {place} is empty"))),
            secret => Ok(secret.into()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer).map_err(|_| D::Error::custom(FORM))?;
        let place = value.as_table().filter(|table| table.len() == 1);
        let text = |key: &str| place?.get(key)?.as_str();
        match (text("env"), text("file")) {
            (Some(name), _) => Ok(Self::Env(name.to_owned())),
            (None, Some(path)) => Ok(Self::File(path.into())),
            (None, None) => Err(D::Error::custom(FORM)),
        }
    }
}
