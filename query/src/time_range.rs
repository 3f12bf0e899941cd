//! Points in time as a request writes them: RFC 3339, `now`, `now-15m`, `-3d`.

use chrono::{DateTime, Utc};

use crate::error::QueryError;

/// Microseconds since 1970 for `text`, relative to `now` (in the same unit).
///
/// # Errors
/// A [`QueryError`] of kind `Invalid` if it is neither.
pub fn parse(text: &str, now: i64) -> Result<i64, QueryError> {
    let invalid = || {
        QueryError::invalid(format!("`{text}` is not a time"))
            .found(text)
            .expected("RFC 3339 such as `2026-11-21T04:51:00Z`, or `now`, `now-15m`, `-3d` (units s, m, h, d, w)")
    };
    let trimmed = text.trim();
    let relative = trimmed.strip_prefix("now").unwrap_or(trimmed);
    if relative.is_empty() && trimmed == "now" {
        return Ok(now);
    }
    if let Some(amount) = relative.strip_prefix('-') {
        let unit = amount.chars().last().ok_or_else(invalid)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(invalid()),
        };
        let amount: i64 = amount[..amount.len() - unit.len_utf8()].parse().map_err(|_| invalid())?;
        let micros = amount.checked_mul(seconds * 1_000_000).filter(|m| *m >= 0).ok_or_else(invalid)?;
        return now.checked_sub(micros).ok_or_else(invalid);
    }
    // A `+` that was not escaped in the URL arrives as a space.
    DateTime::parse_from_rfc3339(&trimmed.replace(' ', "+")).map(|t| t.timestamp_micros()).map_err(|_| invalid())
}

/// Microseconds since 1970, as a SQL literal of the type of the time columns.
#[must_use]
pub fn literal(micros: i64) -> String {
    let micros = micros.clamp(YEAR_0, YEAR_9999);
    format!(
        "TIMESTAMP '{}'",
        DateTime::<Utc>::from_timestamp_micros(micros)
            .map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
    )
}

/// A predicate: start time in the range, its end left out; no begin is the begin of time.
pub(crate) fn span_range(from: Option<i64>, to: i64) -> String {
    match from {
        Some(from) => format!("start_time >= {} AND start_time < {}", literal(from), literal(to)),
        None => format!("start_time < {}", literal(to)),
    }
}

/// Nanosecond timestamps, as which literals are read, reach from 1678 to 2262.
const YEAR_0: i64 = -9_200_000_000_000_000;
const YEAR_9999: i64 = 9_200_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_relative_to_now() {
        let now = 1_000_000_000_000_000;
        assert_eq!(parse("now-15m", now).unwrap(), now - 900_000_000);
        assert_eq!(parse("-3d", now).unwrap(), now - 3 * 86_400_000_000);
        assert_eq!(parse("now", now).unwrap(), now);
        assert_eq!(parse("1970-01-01T00:00:01.5Z", now).unwrap(), 1_500_000);
        assert_eq!(parse("1970-01-01T01:00:00 01:00", now).unwrap(), 0);
        for bad in ["", "yesterday", "-3", "-d", "now-3y", "-99999999999999w"] {
            assert!(parse(bad, now).is_err(), "{bad}");
        }
        assert_eq!(literal(1_500_000), "TIMESTAMP '1970-01-01T00:00:01.500000Z'");
    }
}
