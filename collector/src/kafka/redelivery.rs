//! Records that a killed process had in its log, and had not told the brokers: they are handed out again, byte for byte. Spans are
//! recognised by the call index anyway, log records and data points only here.

use std::collections::HashMap;

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use assay_storage::{ReplayError, WalPosition, WalRecord};
use sha2::{Digest as _, Sha256};

/// What the log held when the process started.
#[derive(Debug)]
pub struct Redelivery {
    /// How often each request is there. Sixteen bytes of SHA-256 tell requests apart.
    held: HashMap<[u8; 16], u32>,
    /// Milliseconds since 1970. What was written to Kafka later cannot have been in the log.
    started_at: i64,
}

impl Redelivery {
    /// From the requests of `project` in `log`. Reads all of it.
    #[must_use]
    pub fn from_log(log: impl Iterator<Item = Result<(WalPosition, WalRecord), ReplayError>>, project: &ProjectId) -> Self {
        let mut held = HashMap::new();
        // A log that cannot be read keeps the server from starting, which says so.
        for (_, record) in log.map_while(Result::ok) {
            if record.encoding == Encoding::Protobuf && record.project == *project {
                *held.entry(digest(record.signal, &record.body)).or_default() += 1;
            }
        }
        Self { held, started_at: chrono::Utc::now().timestamp_millis() }
    }

    /// Whether the record is one that the log held. Each is recognised once.
    pub(super) fn recognises(&mut self, signal: Signal, body: &[u8], timestamp: Option<i64>) -> bool {
        if self.held.is_empty() || timestamp.is_some_and(|timestamp| timestamp > self.started_at) {
            return false;
        }
        let digest = digest(signal, body);
        let Some(times) = self.held.get_mut(&digest) else { return false };
        *times -= 1;
        if *times == 0 {
            self.held.remove(&digest);
        }
        true
    }
}

fn digest(signal: Signal, body: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(signal.as_str());
    hash.update(body);
    hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(body: &'static [u8], project: &str) -> WalRecord {
        WalRecord {
            project: ProjectId::new(project).unwrap(),
            signal: Signal::Logs,
            encoding: Encoding::Protobuf,
            received_at_unix_nano: 0,
            body: body.into(),
        }
    }

    #[test]
    fn each_request_of_the_log_is_recognised_once() {
        let log = [held(b"one", "a"), held(b"two", "a"), held(b"two", "a"), held(b"other", "b")];
        let log = log.into_iter().map(|record| Ok((WalPosition::default(), record)));
        let mut redelivery = Redelivery::from_log(log, &ProjectId::new("a").unwrap());
        let mut recognised = |signal, body: &[u8]| redelivery.recognises(signal, body, Some(0));
        assert!(!recognised(Signal::Traces, b"one"), "the signal is another");
        assert!(recognised(Signal::Logs, b"one"));
        assert!(!recognised(Signal::Logs, b"one"));
        assert!(recognised(Signal::Logs, b"two") && recognised(Signal::Logs, b"two") && !recognised(Signal::Logs, b"two"));
        assert!(!recognised(Signal::Logs, b"other"), "the project is another");
    }

    #[test]
    fn what_was_written_later_is_new() {
        let log = [Ok((WalPosition::default(), held(b"one", "a")))];
        let mut redelivery = Redelivery::from_log(log.into_iter(), &ProjectId::new("a").unwrap());
        assert!(!redelivery.recognises(Signal::Logs, b"one", Some(i64::MAX)));
        assert!(redelivery.recognises(Signal::Logs, b"one", None));
    }
}
