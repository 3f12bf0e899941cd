//! The nodes that write one database: each says in `nodes` who writes under its name, whether it shares the database, and up to when what it
//! acknowledged is there; what of its rows may be read stands in `flushes`, where it is "done".
//!
//! A view shows of each node what was done when it was last looked ([`StoredRows::visible`]). In this order, so that a view is never ahead of what it
//! says of itself: first up to when each node is complete, then up to which position it is done, then the corrections up to there.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use arrow::{
    array::AsArray as _,
    datatypes::{Int64Type, UInt8Type, UInt64Type},
};
use assay_schemas::clickhouse::{FLUSHES, NODES, text};
use chrono::{DateTime, TimeDelta, Utc};

use super::{ClickHouse, ClickHouseError, Corrections, Settings, StoredRows, at_once};
use crate::{config::Role, outside};

/// A node that has not said anything for so long does no jobs any more.
const GONE_AFTER: TimeDelta = TimeDelta::minutes(10);
/// One that was silent for so long may have been taken for gone, with a margin for what it does without looking.
const SILENT_AFTER: Duration = Duration::from_secs(5 * 60);

/// What a node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    process: String,
    shared: bool,
    /// It ended in order, and has nothing that is not in the tables.
    stopped: bool,
    /// Whatever it acknowledged before is in the tables. By its own clock.
    complete_until: DateTime<Utc>,
    /// When it said so. By the server's clock, as that of [`Nodes::now`].
    at: DateTime<Utc>,
}

/// All nodes that ever wrote, by name.
pub(super) struct Nodes {
    by_id: BTreeMap<String, Node>,
    /// By the server's clock.
    now: DateTime<Utc>,
    /// Before they were asked for. By our own.
    asked_at: DateTime<Utc>,
}

/// When this process last said something, and how often it was silent before.
#[derive(Debug, Default)]
pub(super) struct Presence {
    said_at: Option<Instant>,
    silences: u64,
}

/// This node's turn to do the jobs that one node does for all. As long as it is the same one, no other node has had its turn in between: whoever
/// joins, comes back or goes makes it another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Process of each node, and whether it has stopped.
    nodes: BTreeMap<String, (String, bool)>,
    silences: u64,
}

impl ClickHouse {
    /// Refuses a database that another node has to itself, or that others write if this one means to be alone.
    pub(super) async fn check_sharing(&self) -> Result<(), ClickHouseError> {
        let nodes = self.nodes().await?.by_id;
        let wrote = self.done().await?.into_keys().filter(|node| !nodes.contains_key(node)).map(|node| (node, false));
        let others = nodes.iter().map(|(node, said)| (node.clone(), said.shared)).chain(wrote);
        let (database, expected) = (self.ddl.database.clone(), self.node_id.clone());
        match others.filter(|(node, _)| *node != self.node_id).find(|(_, shared)| !shared || self.role == Role::Alone) {
            None => Ok(()),
            Some((found, _)) if self.role == Role::Alone => Err(ClickHouseError::OtherOwner { database, found, expected }),
            Some((found, _)) => Err(ClickHouseError::NotShared { database, found }),
        }
    }

    /// Announces this process as the one that writes as its node, before it acknowledges anything. `has_rows`: its log holds what is not there.
    pub(crate) async fn join(&self, has_rows: bool) -> Result<(), ClickHouseError> {
        let complete_until = match self.nodes().await?.by_id.get(&self.node_id) {
            Some(before) if has_rows || !before.stopped => before.complete_until,
            None if has_rows => DateTime::UNIX_EPOCH,
            _ => outside::wall_clock(),
        };
        self.say(complete_until, false, "true").await
    }

    /// Says that whatever this node acknowledged before `complete_until` is in the tables, and whether it has ended.
    pub(crate) async fn report(&self, complete_until: DateTime<Utc>, stopped: bool) -> Result<(), ClickHouseError> {
        if !self.role.is_shared() || !self.role.writes() {
            return Ok(());
        }
        // In one statement: between a question and an insertion another process could join, and would be the one that is replaced.
        let (nodes, node_id, process) = (self.ddl.name(NODES), text(&self.node_id), text(&self.process));
        let is_still_own = format!("(SELECT argMax(process, at) FROM {nodes} WHERE node_id = {node_id}) = {process}");
        self.say(complete_until, stopped, &is_still_own).await?;
        self.check_process().await
    }

    /// Writes what is to be known of this node, if `condition` holds there.
    async fn say(&self, complete_until: DateTime<Utc>, stopped: bool, condition: &str) -> Result<(), ClickHouseError> {
        let insert = format!(
            "INSERT INTO {} (node_id, process, shared, stopped, complete_until) \
             SELECT {}, {}, {}, {stopped}, {} WHERE {condition}",
            self.ddl.name(NODES),
            text(&self.node_id),
            text(&self.process),
            self.role.is_shared(),
            complete_until.timestamp_micros()
        );
        self.client.execute(&insert, at_once()).await?;
        let mut presence = self.presence.lock();
        let now = outside::monotonic();
        presence.silences += u64::from(presence.said_at.is_some_and(|at| now - at >= SILENT_AFTER));
        presence.said_at = Some(now);
        Ok(())
    }

    /// Checks that this process still writes under the name of its node: a data folder may have been copied.
    pub(super) async fn check_process(&self) -> Result<(), ClickHouseError> {
        match self.nodes().await?.by_id.get(&self.node_id) {
            Some(said) if said.process != self.process => {
                let (database, node_id) = (self.ddl.database.clone(), self.node_id.clone());
                Err(ClickHouseError::OtherProcess { database, node_id })
            }
            _ => Ok(()),
        }
    }

    /// This node's turn to do the jobs that one node does for all, if it has it.
    pub(crate) async fn turn(&self) -> Result<Option<Turn>, ClickHouseError> {
        let silences = {
            let presence = self.presence.lock();
            match presence.said_at {
                Some(at) if outside::monotonic() - at < SILENT_AFTER => presence.silences,
                _ => return Ok(None),
            }
        };
        Ok(self.nodes().await?.turn_of(&self.node_id, &self.process, silences))
    }

    /// What is there now, where `known` was: up to when it is complete, the rows, the corrections.
    pub(crate) async fn look(&self, known: &StoredRows) -> Result<(DateTime<Utc>, StoredRows, Corrections), ClickHouseError> {
        let until = self.nodes().await?.complete_until(&self.node_id);
        let before = known.others.clone().unwrap_or_default();
        let others = self.done_by_others().await?;
        let mut rows = StoredRows { others: Some(others.clone()), ..known.clone() };
        let news =
            others.iter().map(|(node, to)| (node, before.get(node).copied().unwrap_or(0), *to)).filter(|(_, from, to)| from < to);
        let news =
            news.map(|(node, from, to)| format!("(node_id = {} AND wal_position > {from} AND wal_position <= {to})", text(node)));
        let news: Vec<String> = news.collect();
        if !news.is_empty() {
            rows.add_days(self, &format!("({})", news.join(" OR "))).await?;
        }
        let corrections = self.corrections(&rows.visible()).await?;
        Ok((until, rows, corrections))
    }

    /// How far each node is done.
    async fn done(&self) -> Result<BTreeMap<String, u64>, ClickHouseError> {
        let sql = format!("SELECT node_id, max(position) FROM {} WHERE state = 'done' GROUP BY node_id", self.ddl.name(FLUSHES));
        let mut done = BTreeMap::new();
        for batch in self.client.rows(&sql).await? {
            let (nodes, positions) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<UInt64Type>());
            done.extend((0..batch.num_rows()).map(|row| (nodes.value(row).to_owned(), positions.value(row))));
        }
        Ok(done)
    }

    pub(super) async fn done_by_others(&self) -> Result<BTreeMap<String, u64>, ClickHouseError> {
        let mut done = self.done().await?;
        done.remove(&self.node_id);
        Ok(done)
    }

    async fn nodes(&self) -> Result<Nodes, ClickHouseError> {
        let sql = format!(
            "SELECT node_id, argMax(process, at), toUInt8(argMax(shared, at)), toUInt8(argMax(stopped, at)), argMax(complete_until, at), \
             toInt64(toUnixTimestamp64Micro(max(at))), toInt64(toUnixTimestamp64Micro(now64(6))) FROM {} GROUP BY node_id",
            self.ddl.name(NODES)
        );
        let asked_at = outside::wall_clock();
        let mut nodes = Nodes { by_id: BTreeMap::new(), now: asked_at, asked_at };
        let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH);
        for batch in self.client.rows_with(&sql, Settings::new()).await? {
            let name = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
            let flag = |column: usize, row: usize| batch.column(column).as_primitive::<UInt8Type>().value(row) == 1;
            let at = |column: usize, row: usize| time(batch.column(column).as_primitive::<Int64Type>().value(row));
            for row in 0..batch.num_rows() {
                nodes.now = at(6, row);
                let node = Node {
                    process: name(1, row),
                    shared: flag(2, row),
                    stopped: flag(3, row),
                    complete_until: at(4, row),
                    at: at(5, row),
                };
                nodes.by_id.insert(name(0, row), node);
            }
        }
        Ok(nodes)
    }
}

impl Nodes {
    /// Whatever any node but `own` acknowledged before is in the tables; so is what any acknowledged before they were asked for that had not joined by
    /// then.
    fn complete_until(&self, own: &str) -> DateTime<Utc> {
        let running = self.by_id.iter().filter(|(node, said)| !said.stopped && *node != own);
        running.fold(self.asked_at, |until, (_, said)| until.min(said.complete_until))
    }

    /// The turn of `process`, which writes as `own`: it is the first by name of those that write.
    fn turn_of(&self, own: &str, process: &str, silences: u64) -> Option<Turn> {
        let (first, said) = self.by_id.iter().find(|(_, said)| !said.stopped && self.now - said.at < GONE_AFTER)?;
        let nodes = || self.by_id.iter().map(|(node, said)| (node.clone(), (said.process.clone(), said.stopped))).collect();
        (first == own && said.process == process).then(|| Turn { nodes: nodes(), silences })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// Each as name, process, whether it has stopped, and minutes since it said something.
    fn nodes(said: &[(&str, &str, bool, i64)]) -> Nodes {
        let node = |(name, process, stopped, minutes): &(&str, &str, bool, i64)| {
            let (process, at) = ((*process).to_owned(), NOW - TimeDelta::minutes(*minutes));
            ((*name).to_owned(), Node { process, shared: true, stopped: *stopped, complete_until: at, at })
        };
        Nodes { by_id: said.iter().map(node).collect(), now: NOW, asked_at: NOW }
    }

    fn whose(nodes: &Nodes) -> Vec<&str> {
        nodes
            .by_id
            .iter()
            .filter(|(name, said)| nodes.turn_of(name, &said.process, 0).is_some())
            .map(|(name, _)| &**name)
            .collect()
    }

    #[test]
    fn it_is_the_turn_of_one_of_those_that_write() {
        assert!(whose(&nodes(&[])).is_empty());
        assert_eq!(whose(&nodes(&[("b", "1", false, 0), ("c", "2", false, 0)])), ["b"]);
        assert_eq!(whose(&nodes(&[("a", "0", true, 0), ("b", "1", false, 9), ("c", "2", false, 0)])), ["b"]);
        assert_eq!(whose(&nodes(&[("a", "0", true, 0), ("b", "1", false, 10), ("c", "2", false, 0)])), ["c"]);
        // A process in whose place another has come.
        assert_eq!(nodes(&[("a", "0", false, 0)]).turn_of("a", "earlier", 0), None);
    }

    #[test]
    fn a_turn_is_another_one_after_somebody_else_may_have_had_it() {
        let turn = |said: &[(&str, &str, bool, i64)]| nodes(said).turn_of("b", "1", 0).unwrap();
        let of = turn(&[("a", "0", true, 60), ("b", "1", false, 0)]);
        assert_eq!(of, turn(&[("a", "0", true, 62), ("b", "1", false, 2)]));
        assert_ne!(of, turn(&[("a", "2", true, 0), ("b", "1", false, 2)]), "it was there, and has ended");
        assert_ne!(of, turn(&[("a", "0", true, 62), ("b", "1", false, 2), ("c", "3", false, 0)]));
        assert_ne!(Some(of), nodes(&[("a", "0", true, 62), ("b", "1", false, 2)]).turn_of("b", "1", 1), "it was silent");
    }

    #[test]
    fn complete_is_what_the_last_of_the_others_says() {
        let of = |said: &[(&str, &str, bool, i64)]| NOW - nodes(said).complete_until("b");
        assert_eq!(of(&[("b", "1", false, 9)]), TimeDelta::zero());
        assert_eq!(
            of(&[("a", "0", true, 60), ("b", "1", false, 9), ("c", "2", false, 3), ("d", "3", false, 1)]),
            TimeDelta::minutes(3)
        );
    }
}
