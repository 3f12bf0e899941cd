//! Durable storage of telemetry: WAL, hot buffer, Delta lake.
