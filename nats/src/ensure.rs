//! Bringing a server's streams in line with the catalogue: what is missing is made, what differs is told, and only
//! what cannot lose a message is changed.

use crate::{Bus, streams};
use async_nats::jetstream::{ErrorCode, context::GetStreamErrorKind, stream::Config};
use serde_json::{Map, Value};
use std::fmt;

/// What to do besides looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: only tell.
    Look,
    /// Make what is missing.
    Create,
    /// Make what is missing and change what can be changed without losing a message.
    Apply,
}

/// One field of one stream that is not as declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The stream.
    pub stream: String,
    /// The field, as in the file.
    pub field: String,
    /// As declared; null where the file says nothing.
    pub declared: Value,
    /// As found; null where the server says nothing.
    pub found: Value,
    /// Whether it can be changed without losing a message.
    pub safe: bool,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, field, declared, found, safe } = self;
        let what = if *safe { "can be applied" } else { "must be decided by a person" };
        write!(f, "{stream}: {field} is {found}, declared {declared}; {what}")
    }
}

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Streams that were not there and, unless only looked for, are there now.
    pub missing: Vec<String>,
    /// Streams that were changed.
    pub changed: Vec<String>,
    /// What still differs.
    pub drift: Vec<Drift>,
}

/// Why the streams could not be looked at or made.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The catalogue itself is wrong.
    #[error(transparent)]
    Catalogue(#[from] streams::InvalidFile),
    /// A configuration cannot be compared.
    #[error("stream {stream}: {source}")]
    Compare {
        /// The stream.
        stream: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The server refused or did not answer.
    #[error("cannot {what} stream {stream}: {reason}")]
    Server {
        /// look at, create or update
        what: &'static str,
        /// The stream.
        stream: String,
        /// What the server said.
        reason: String,
    },
}

/// Compares every stream of the catalogue, with `replicas` copies each, with what the server has, and does `action`.
/// Nothing is ever deleted.
pub async fn ensure(bus: &Bus, replicas: usize, action: Action) -> Result<Outcome, EnsureError> {
    let mut outcome = Outcome::default();
    let mut failed = None;
    for declared in streams::declared(replicas)? {
        match found(bus, &declared.name).await? {
            None => {
                let name = declared.name.clone();
                // One that cannot be made keeps none of the others from being made.
                let made = if action == Action::Look { Ok(()) } else { create(bus, declared).await };
                match made {
                    Ok(()) => outcome.missing.push(name),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            Some(found) => {
                let drift = compare(&declared, &found)?;
                if action == Action::Apply && drift.iter().any(|drift| drift.safe) {
                    apply(bus, &drift, found).await?;
                    outcome.changed.push(declared.name);
                    outcome.drift.extend(drift.into_iter().filter(|drift| !drift.safe));
                } else {
                    outcome.drift.extend(drift);
                }
            }
        }
    }
    failed.map_or(Ok(outcome), Err)
}

async fn found(bus: &Bus, stream: &str) -> Result<Option<Config>, EnsureError> {
    match bus.jetstream().get_stream(stream).await {
        Ok(found) => Ok(Some(found.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(server_error("look at", stream, &error)),
        },
    }
}

async fn create(bus: &Bus, config: Config) -> Result<(), EnsureError> {
    let name = config.name.clone();
    bus.jetstream().create_stream(config).await.map_err(|e| server_error("create", &name, &e))?;
    Ok(())
}

async fn apply(bus: &Bus, drift: &[Drift], found: Config) -> Result<(), EnsureError> {
    let name = found.name.clone();
    let compare_error = |source| EnsureError::Compare { stream: name.clone(), source };
    let mut fields = fields(&found)?;
    for drift in drift.iter().filter(|drift| drift.safe) {
        fields.insert(drift.field.clone(), drift.declared.clone());
    }
    let config: Config = serde_json::from_value(Value::Object(fields)).map_err(compare_error)?;
    bus.jetstream().update_stream(&config).await.map_err(|e| server_error("update", &name, &e))?;
    Ok(())
}

fn server_error(what: &'static str, stream: &str, error: &dyn fmt::Display) -> EnsureError {
    EnsureError::Server { what, stream: stream.to_owned(), reason: error.to_string() }
}

/// Fields that say something: what is null, empty or written by the server itself says nothing.
fn fields(config: &Config) -> Result<Map<String, Value>, EnsureError> {
    let stream = || config.name.clone();
    let value =
        serde_json::to_value(config).map_err(|source| EnsureError::Compare { stream: stream(), source })?;
    let Value::Object(mut fields) = value else { return Ok(Map::new()) };
    if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
        metadata.retain(|key, _| !key.starts_with("_nats."));
    }
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(inner) => !inner.is_empty(),
        _ => true,
    });
    Ok(fields)
}

fn compare(declared: &Config, found: &Config) -> Result<Vec<Drift>, EnsureError> {
    let (declared_fields, found_fields) = (fields(declared)?, fields(found)?);
    let mut names: Vec<&String> = declared_fields.keys().chain(found_fields.keys()).collect();
    names.sort();
    names.dedup();
    let get = |fields: &Map<String, Value>, name: &String| fields.get(name).cloned().unwrap_or(Value::Null);
    let drift = names.into_iter().filter_map(|field| {
        let (declared_value, found_value) = (get(&declared_fields, field), get(&found_fields, field));
        (declared_value != found_value).then(|| Drift {
            stream: declared.name.clone(),
            safe: is_safe(field, &declared_value, &found_value),
            field: field.clone(),
            declared: declared_value,
            found: found_value,
        })
    });
    Ok(drift.collect())
}

/// Whether a field can be changed without losing a message or a guarantee.
fn is_safe(field: &str, declared: &Value, found: &Value) -> bool {
    match field {
        "description" | "duplicate_window" | "republish" | "metadata" => true,
        "max_age" | "max_bytes" | "max_msgs" | "max_msgs_per_subject" | "max_msg_size" => {
            // Zero and less mean that there is no limit.
            let limit = |value: &Value| match value.as_i64() {
                Some(limit) if limit > 0 => limit,
                _ => i64::MAX,
            };
            limit(declared) > limit(found)
        }
        "allow_direct" | "deny_delete" | "deny_purge" | "allow_msg_ttl" | "allow_rollup_hdrs" => {
            declared == &Value::Bool(true)
        }
        "num_replicas" => declared.as_u64() > found.as_u64(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_that_grows_is_safe() {
        let number = |n: i64| Value::from(n);
        assert!(is_safe("max_age", &number(0), &number(5)));
        assert!(!is_safe("max_age", &number(5), &number(0)));
        assert!(is_safe("max_bytes", &number(6), &number(5)));
        assert!(!is_safe("max_bytes", &number(5), &number(-1)));
        assert!(is_safe("deny_delete", &Value::Bool(true), &Value::Null));
        assert!(!is_safe("deny_delete", &Value::Null, &Value::Bool(true)));
        assert!(!is_safe("subjects", &Value::Null, &Value::Null));
    }

    #[test]
    fn every_field_that_differs_is_named() {
        let declared = streams::declared(1).unwrap().remove(0);
        let mut found = declared.clone();
        found.metadata.insert("_nats.ver".to_owned(), "2.15.1".to_owned());
        assert_eq!(compare(&declared, &found).unwrap(), []);
        found.max_bytes = 1;
        found.sealed = true;
        let drift = compare(&declared, &found).unwrap();
        let told: Vec<_> = drift.iter().map(|drift| (drift.field.as_str(), drift.safe)).collect();
        assert_eq!(told, [("max_bytes", true), ("sealed", false)]);
    }
}
