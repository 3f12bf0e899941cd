//! The log by itself, for the fuzz target `wal`: appended to, closed, opened and read, without tables or a server.

use std::{path::Path, time::Duration};

use super::{Wal, WalOptions, WalRecord};

/// Opens the log in `dir`, appends `records`, opens it again and reads all that it holds.
///
/// # Errors
/// What opening, appending or reading says.
pub async fn read_wal(dir: &Path, records: Vec<WalRecord>) -> Result<Vec<(u64, WalRecord)>, String> {
    let open = || {
        let (segment_bytes, bytes_max, group_commit_window) = (1 << 20, 16 << 20, Duration::ZERO);
        let options = WalOptions { dir: dir.to_owned(), segment_bytes, bytes_max, group_commit_window };
        Wal::open(options, 0, |_| {}).map_err(|error| error.to_string())
    };
    let wal = open()?;
    for record in records {
        wal.append(record).await.map_err(|error| error.to_string())?;
    }
    drop(wal);
    let read = |item: Result<_, super::ReplayError>| item.map_err(|error| error.to_string());
    open()?
        .replay()
        .map(|item| read(item).map(|(position, record): (super::WalPosition, WalRecord)| (position.get(), record)))
        .collect()
}
