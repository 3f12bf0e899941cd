//! `count(DISTINCT …)` of text beside other aggregates. `DataFusion` keeps a set of strings for each group and walks the rows group by
//! group; how many traces, sessions or users each group has is what most questions ask here. So all groups share one set, texts are known by
//! 128 bits of their hash, and a text that follows itself, as those of a trace do, is not looked up again.
//!
//! Two texts with one hash would be counted as one: with ten million of them, once in 10²⁴ queries.

use std::{
    hash::{BuildHasher as _, Hash, Hasher},
    mem::size_of,
    sync::{Arc, LazyLock, OnceLock},
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, StringArray},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{
        Result, ScalarValue, exec_err,
        tree_node::{Transformed, TreeNode as _},
    },
    functions_aggregate::count::count_udaf,
    logical_expr::{
        Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, EmitTo, ExprSchemable as _, GroupsAccumulator, LogicalPlan,
        Signature, Volatility,
        expr::{AggregateFunction, AggregateFunctionParams},
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::format_state_name,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
    prelude::Expr,
};
use hashbrown::{HashTable, hash_table::Entry};
use twox_hash::XxHash3_128;

const COUNT: &str = "count";
/// Its own name, by which another node and another engine know it.
pub(crate) const NAME: &str = "count_distinct_texts";
/// Bytes of a text in a state.
const HASH_BYTES: usize = size_of::<u128>();

/// Puts [`DistinctTexts`] in the place of `count(DISTINCT …)` of text. It comes after the rule that makes a `GROUP BY` of a question
/// whose only distinct argument is one: that can spill to disk, and this cannot, as little as what it replaces.
#[derive(Debug)]
pub(super) struct CountDistinctTexts;

impl OptimizerRule for CountDistinctTexts {
    fn name(&self) -> &'static str {
        "count_distinct_texts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        let mut found = false;
        let counted = |expr: Expr| {
            let Expr::AggregateFunction(function) = expr else { return Ok(Transformed::no(expr)) };
            if !counts_texts(&function, &aggregate)? {
                return Ok(Transformed::no(Expr::AggregateFunction(function)));
            }
            Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func: Arc::clone(&FUNCTION), ..function })))
        };
        let mut aggr_expr = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in aggregate.aggr_expr.clone() {
            let counted = expr.transform_up(counted)?;
            found |= counted.transformed;
            aggr_expr.push(counted.data);
        }
        if !found {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let Aggregate { input, group_expr, schema, .. } = aggregate;
        Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema).map(LogicalPlan::Aggregate).map(Transformed::yes)
    }
}

fn counts_texts(function: &AggregateFunction, of: &Aggregate) -> Result<bool> {
    let params = &function.params;
    let [text] = params.args.as_slice() else { return Ok(false) };
    let plain = params.distinct && params.order_by.is_empty() && params.null_treatment.is_none();
    let replaced = function.func.inner().is::<DistinctTexts>();
    Ok(plain && !replaced && function.func.name() == COUNT && text.get_type(of.input.schema())? == DataType::Utf8)
}

static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
    let signature = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
    Arc::new(AggregateUDF::from(DistinctTexts { signature }))
});

/// The aggregate, for a session that runs plans of other nodes.
#[cfg(feature = "distributed")]
pub(crate) fn function() -> Arc<AggregateUDF> {
    Arc::clone(&FUNCTION)
}

/// The aggregate. It describes itself as what it replaces, so that columns keep their names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DistinctTexts {
    signature: Signature,
}

impl AggregateUDFImpl for DistinctTexts {
    fn name(&self) -> &str {
        NAME
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        count_udaf().schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        count_udaf().human_display(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        count_udaf().display_name(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "texts"), DataType::Binary, false))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Texts::of_groups(1)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Texts::of_groups(0)))
    }
}

/// A text of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    group: usize,
    /// Its hash, in halves: as one number it would take room to be aligned.
    hash: [u64; 2],
}

impl Text {
    fn new(group: usize, text: &str) -> Self {
        Self::of_hash(group, hash_of(text))
    }

    fn of_hash(group: usize, hash: u128) -> Self {
        Self { group, hash: [(hash >> 64) as u64, hash as u64] }
    }

    fn hash(self) -> u128 {
        u128::from(self.hash[0]) << 64 | u128::from(self.hash[1])
    }

    /// Where it stands in the table: its hash is one already, only the group is to be mixed in.
    fn place(&self) -> u64 {
        self.hash[1] ^ (self.group as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A seed that nobody outside knows, so that nobody can send texts that are alike: of this process, unless [`share_seed`] gave one.
static SEED: OnceLock<u64> = OnceLock::new();

fn seed() -> u64 {
    *SEED.get_or_init(|| std::hash::RandomState::new().build_hasher().finish())
}

/// Hashes with `seed`, as the other nodes do, unless a text was hashed before. Returns the seed in use: where it is another one, states of
/// this process say nothing to those nodes.
#[cfg(feature = "distributed")]
pub(crate) fn share_seed(shared: u64) -> u64 {
    *SEED.get_or_init(|| shared)
}

fn hash_of(text: &str) -> u128 {
    XxHash3_128::oneshot_with_seed(seed(), text.as_bytes())
}

/// The texts of all groups.
#[derive(Debug, Default)]
struct Texts {
    seen: HashTable<Text>,
    /// How many each group has.
    counts: Vec<i64>,
}

impl Texts {
    fn of_groups(groups: usize) -> Self {
        Self { seen: HashTable::new(), counts: vec![0; groups] }
    }

    fn add(&mut self, text: Text) {
        if let Entry::Vacant(vacant) = self.seen.entry(text.place(), |known| *known == text, Text::place) {
            vacant.insert(text);
            self.counts[text.group] += 1;
        }
    }

    /// Adds the texts for which `group_of` names a group.
    fn add_all(&mut self, texts: &StringArray, group_of: impl Fn(usize) -> Option<usize>) {
        let mut last = None;
        for row in 0..texts.len() {
            let Some(group) = group_of(row).filter(|_| texts.is_valid(row)) else { continue };
            let text = texts.value(row);
            if last != Some((group, text)) {
                last = Some((group, text));
                self.add(Text::new(group, text));
            }
        }
    }

    fn add_states(&mut self, states: &BinaryArray, group_of: impl Fn(usize) -> usize) -> Result<()> {
        for row in (0..states.len()).filter(|row| states.is_valid(*row)) {
            let (hashes, rest) = states.value(row).as_chunks::<HASH_BYTES>();
            if !rest.is_empty() {
                return exec_err!("a state of {} bytes, expected a multiple of {HASH_BYTES}", states.value(row).len());
            }
            for hash in hashes {
                self.add(Text::of_hash(group_of(row), u128::from_le_bytes(*hash)));
            }
        }
        Ok(())
    }

    /// Takes the counts of the first groups, and their texts if `texts` wants them; the others move up.
    fn take(&mut self, emit_to: EmitTo, mut texts: impl FnMut(Text)) -> Vec<i64> {
        let counts = emit_to.take_needed(&mut self.counts);
        let mut left = HashTable::with_capacity(self.counts.iter().sum::<i64>().try_into().unwrap_or_default());
        for text in std::mem::take(&mut self.seen) {
            match text.group.checked_sub(counts.len()) {
                None => texts(text),
                Some(group) => {
                    let moved = Text { group, ..text };
                    left.insert_unique(moved.place(), moved, Text::place);
                }
            }
        }
        self.seen = left;
        counts
    }

    /// The texts of the first groups, one value for each group.
    fn take_states(&mut self, emit_to: EmitTo) -> BinaryArray {
        let counted = match emit_to {
            EmitTo::All => &self.counts[..],
            EmitTo::First(groups) => &self.counts[..groups],
        };
        let mut next: Vec<usize> = counted
            .iter()
            .scan(0, |end, count| {
                let start = *end;
                *end += usize::try_from(*count).unwrap_or_default();
                Some(start)
            })
            .collect();
        let mut hashes = vec![0_u128; counted.iter().sum::<i64>().try_into().unwrap_or_default()];
        let counts = self.take(emit_to, |text| {
            hashes[next[text.group]] = text.hash();
            next[text.group] += 1;
        });
        let mut states = BinaryBuilder::with_capacity(counts.len(), hashes.len() * HASH_BYTES);
        let mut bytes = Vec::new();
        for (count, end) in counts.iter().zip(next) {
            let start = end - usize::try_from(*count).unwrap_or_default();
            bytes.clear();
            bytes.extend(hashes[start..end].iter().flat_map(|hash| hash.to_le_bytes()));
            states.append_value(&bytes);
        }
        states.finish()
    }

    fn bytes(&self) -> usize {
        self.seen.allocation_size() + self.counts.capacity() * size_of::<i64>()
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupsAccumulator for Texts {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.counts.resize(total_num_groups, 0);
        self.add_all(values[0].as_string(), |row| passes(opt_filter, row).then(|| group_indices[row]));
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.counts.resize(total_num_groups, 0);
        self.add_states(values[0].as_binary(), |row| group_indices[row])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.take(emit_to, drop))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.take_states(emit_to))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let texts: &StringArray = values[0].as_string();
        let mut states = BinaryBuilder::with_capacity(texts.len(), texts.len() * HASH_BYTES);
        for row in 0..texts.len() {
            if texts.is_valid(row) && passes(opt_filter, row) {
                states.append_value(hash_of(texts.value(row)).to_le_bytes());
            } else {
                states.append_value([]);
            }
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        self.bytes()
    }
}

impl Accumulator for Texts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values[0].as_string(), |_| Some(0));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add_states(states[0].as_binary(), |_| 0)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.counts[0])))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = self.take_states(EmitTo::All);
        self.counts = vec![0];
        Ok(vec![ScalarValue::Binary(Some(states.value(0).to_vec()))])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Groups and texts of rows; no text is NULL.
    type Rows = Vec<(usize, Option<u8>)>;

    fn update(texts: &mut Texts, rows: &Rows, groups: usize) {
        let values: ArrayRef = Arc::new(rows.iter().map(|(_, text)| text.map(|t| format!("text {t}"))).collect::<StringArray>());
        let indices: Vec<usize> = rows.iter().map(|(group, _)| *group).collect();
        GroupsAccumulator::update_batch(texts, &[values], &indices, None, groups).unwrap();
    }

    fn expected(rows: &Rows, groups: usize) -> Vec<i64> {
        let mut sets: BTreeMap<usize, BTreeSet<u8>> = (0..groups).map(|group| (group, BTreeSet::new())).collect();
        for (group, text) in rows {
            sets.get_mut(group).unwrap().extend(text);
        }
        sets.values().map(|set| set.len() as i64).collect()
    }

    fn counts(texts: &mut Texts, emit_to: EmitTo) -> Vec<i64> {
        GroupsAccumulator::evaluate(texts, emit_to).unwrap().as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    }

    #[tokio::test]
    async fn it_takes_the_place_of_what_is_slow() {
        let session = datafusion::prelude::SessionContext::new();
        session.add_optimizer_rule(Arc::new(CountDistinctTexts));
        for (counted, replaced) in [
            ("count(DISTINCT a), count(DISTINCT b)", 2),
            ("count(DISTINCT a) + 1, max(b), count(DISTINCT b) FILTER (WHERE n > 1)", 2),
            // A question of its own, numbers, and what is not distinct.
            ("count(DISTINCT a)", 0),
            ("count(a), count(DISTINCT n), sum(DISTINCT n)", 0),
        ] {
            let sql = format!("SELECT {counted} FROM (VALUES ('x', 'y', 1)) AS t(a, b, n) GROUP BY n % 2");
            let plan = session.sql(&sql).await.unwrap().into_optimized_plan().unwrap();
            assert_eq!(format!("{plan:?}").matches("DistinctTexts").count(), replaced, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn groups_are_counted_however_they_are_emitted_and_merged(
            rows in prop::collection::vec((0..7_usize, prop::option::of(0..20_u8)), 0..200),
            more in prop::collection::vec((0..7_usize, prop::option::of(0..20_u8)), 0..200),
            first in 0..7_usize,
        ) {
            let all: Rows = rows.iter().chain(&more).copied().collect();
            // In one, a part of the groups at a time.
            let mut one = Texts::default();
            update(&mut one, &rows, 7);
            update(&mut one, &more, 7);
            let mut emitted = counts(&mut one, EmitTo::First(first));
            emitted.extend(counts(&mut one, EmitTo::All));
            prop_assert_eq!(&emitted, &expected(&all, 7));
            prop_assert!(one.seen.is_empty());

            // In two whose states are merged; those of the second row by row.
            let mut left = Texts::default();
            update(&mut left, &rows, 7);
            let mut states: Vec<(usize, ArrayRef)> = Vec::new();
            for (start, emit_to) in [(0, EmitTo::First(first)), (first, EmitTo::All)] {
                states.push((start, GroupsAccumulator::state(&mut left, emit_to).unwrap().remove(0)));
            }
            let mut merged = Texts::default();
            for (start, state) in states {
                let indices: Vec<usize> = (start..start + state.len()).collect();
                GroupsAccumulator::merge_batch(&mut merged, &[state], &indices, 7).unwrap();
            }
            let values: ArrayRef = Arc::new(more.iter().map(|(_, text)| text.map(|t| format!("text {t}"))).collect::<StringArray>());
            let state = merged.convert_to_state(&[values], None).unwrap();
            let indices: Vec<usize> = more.iter().map(|(group, _)| *group).collect();
            GroupsAccumulator::merge_batch(&mut merged, &state, &indices, 7).unwrap();
            prop_assert_eq!(counts(&mut merged, EmitTo::All), expected(&all, 7));

            // All rows as one group.
            let mut whole = Texts::of_groups(1);
            let texts: ArrayRef = Arc::new(all.iter().map(|(_, text)| text.map(|t| format!("text {t}"))).collect::<StringArray>());
            Accumulator::update_batch(&mut whole, &[texts]).unwrap();
            let state = Accumulator::state(&mut whole).unwrap().remove(0).to_array().unwrap();
            let mut other = Texts::of_groups(1);
            Accumulator::merge_batch(&mut other, &[state]).unwrap();
            let as_one = all.iter().map(|(_, text)| (0, *text)).collect();
            prop_assert_eq!(Accumulator::evaluate(&mut other).unwrap(), ScalarValue::Int64(Some(expected(&as_one, 1)[0])));
        }
    }
}
