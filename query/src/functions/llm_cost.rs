//! `llm_cost(provider, model, input_tokens, output_tokens [, cache_read_tokens, cache_write_tokens [, time]])`: what a call costs.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _, Decimal128Array},
    datatypes::{DataType, Int64Type, TimestampMicrosecondType},
};
use assay_schemas::{
    prices::{PriceTable, llm_cost},
    table::{MONEY_PRECISION, MONEY_SCALE, Money, Time},
};
use datafusion::{
    common::{Result, plan_err},
    logical_expr::{
        ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        scalar_doc_sections::DOC_SECTION_OTHER,
    },
};

pub(super) struct LlmCost {
    signature: Signature,
    prices: Arc<PriceTable>,
}

impl LlmCost {
    pub(super) fn new(prices: Arc<PriceTable>) -> Self {
        // Without a time, prices are those of now: not the same tomorrow.
        Self { signature: Signature::user_defined(Volatility::Stable), prices }
    }
}

impl std::fmt::Debug for LlmCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LlmCost({})", self.prices.version())
    }
}

impl PartialEq for LlmCost {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.prices, &other.prices)
    }
}

impl Eq for LlmCost {}

impl Hash for LlmCost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.prices.version().hash(state);
    }
}

impl ScalarUDFImpl for LlmCost {
    fn name(&self) -> &'static str {
        "llm_cost"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let all = [
            DataType::Utf8,
            DataType::Utf8,
            DataType::Int64,
            DataType::Int64,
            DataType::Int64,
            DataType::Int64,
            Time::arrow_type(),
        ];
        match types.len() {
            n @ (4 | 6 | 7) => Ok(all[..n].to_vec()),
            n => plan_err!(
                "llm_cost: expected (provider, model, input_tokens, output_tokens [, cache_read_tokens, cache_write_tokens [, time]]), found {n} arguments"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(MONEY_PRECISION, MONEY_SCALE))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let now = chrono::Utc::now().timestamp_micros();
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (providers, models) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
        let count = |idx: usize, row: usize| {
            arrays.get(idx).map(|a| a.as_primitive::<Int64Type>()).filter(|a| !a.is_null(row)).map_or(0, |a| a.value(row))
        };
        let time = arrays.get(6).map(|a| a.as_primitive::<TimestampMicrosecondType>());
        let cost = |row: usize| {
            let known = |idx: usize| !arrays[idx].is_null(row);
            if !known(1) || !known(2) || !known(3) {
                return None;
            }
            let at = time.filter(|t| !t.is_null(row)).map_or(now, |t| t.value(row));
            let provider = known(0).then(|| providers.value(row));
            llm_cost(&self.prices, provider, models.value(row), (count(2, row), count(3, row), count(4, row), count(5, row)), at)
        };
        let costs: Decimal128Array = (0..models.len()).map(|row| cost(row).map(Money::to_stored)).collect();
        Ok(ColumnarValue::Array(Arc::new(costs.with_precision_and_scale(MONEY_PRECISION, MONEY_SCALE)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOC: std::sync::LazyLock<Documentation> = std::sync::LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_OTHER,
                "Cost of a call in US dollars by the price table, exact; NULL if the model has no price. `input_tokens` includes cache \
                 reads and writes. Without a time, the prices of now.",
                "llm_cost(provider, model, input_tokens, output_tokens [, cache_read_tokens, cache_write_tokens [, time]])",
            )
            .build()
        });
        Some(&DOC)
    }
}
