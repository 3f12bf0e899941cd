//! One SQL engine over hot buffer and lake.
