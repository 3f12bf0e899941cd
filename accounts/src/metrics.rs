//! What the relational store says of itself on `/metrics`.

use prometheus::{
    IntCounter, IntGauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{error::AccountsError, store::Accounts};

impl Accounts {
    /// Registers the gauges and counters of this store.
    ///
    /// # Errors
    /// If metrics of the same names are registered already.
    pub fn metrics(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.counters.failures.clone()))?;
        let available = IntGauge::new("assay_accounts_available", "1 if saved items and notes can be read and kept")?;
        registry.register(Box::new(Available { accounts: self.clone(), gauge: available }))
    }
}

/// What is counted as it happens.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    failures: IntCounter,
}

impl Default for Counters {
    fn default() -> Self {
        let help = "Requests for saved items and notes that the relational store did not serve";
        Self { failures: IntCounter::new("assay_accounts_failures_total", help).expect("the name is well formed") }
    }
}

impl Counters {
    /// Counts `done` if the store failed; what the caller asked wrongly is no failure.
    pub(crate) fn counted<T>(&self, done: Result<T, AccountsError>) -> Result<T, AccountsError> {
        if matches!(done, Err(AccountsError::Unavailable { .. } | AccountsError::Database { .. })) {
            self.failures.inc();
        }
        done
    }
}

/// A gauge that is read when it is asked for.
struct Available {
    accounts: Accounts,
    gauge: IntGauge,
}

impl Collector for Available {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.accounts.is_available().into());
        self.gauge.collect()
    }
}
