//! The columns that mapping files may fill, and how a found value becomes theirs.

use assay_schemas::genai::GenAi;

/// What kind of value a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// Whole number, not negative.
    Int,
    /// A duration in nanoseconds; rules must say the form.
    Nanoseconds,
    /// True or false.
    Bool,
    /// Decimal.
    Money,
    /// A list of short texts, as a JSON array.
    Labels,
    /// A JSON object.
    Object,
    /// Any JSON.
    Document,
    /// Text or JSON as it is.
    Free,
    /// Messages; the role is that of messages without one.
    Messages(&'static str),
    /// System instructions as parts.
    Parts,
    /// Tool definitions.
    Tools,
    /// Retrieved documents.
    Documents,
    /// Evaluation results; not a column, but filled like one.
    Scores,
    /// Several request parameters at once; not a column, but filled like one.
    Parameters,
}

macro_rules! columns {
    ($($Column:ident $name:literal $kind:expr;)*) => {
        /// A column, or a fact that is filled like one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Column { $($Column,)* }

        impl Column {
            /// All, in the order in which they are filled: conditions of rules may look at earlier ones.
            pub(super) const ALL: &'static [Self] = &[$(Self::$Column),*];

            /// Name in mapping files.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$Column => $name,)* }
            }

            pub(super) fn kind(self) -> Kind {
                use Kind::*;
                match self { $(Self::$Column => $kind,)* }
            }
        }
    };
}

columns! {
    Operation "operation" Text;
    Provider "provider" Text;
    RequestModel "request_model" Text;
    ResponseModel "response_model" Text;
    ResponseId "response_id" Text;
    InputTokens "input_tokens" Int;
    OutputTokens "output_tokens" Int;
    TotalTokens "total_tokens" Int;
    CacheReadTokens "cache_read_tokens" Int;
    CacheWriteTokens "cache_write_tokens" Int;
    CacheWrite1hTokens "cache_write_1h_tokens" Int;
    ReasoningTokens "reasoning_tokens" Int;
    AudioInputTokens "audio_input_tokens" Int;
    AudioOutputTokens "audio_output_tokens" Int;
    ReportedCostUsd "reported_cost_usd" Money;
    Streaming "streaming" Bool;
    TimeToFirstTokenNs "time_to_first_token_ns" Nanoseconds;
    Parameters "parameters" Parameters;
    FinishReasons "finish_reasons" Labels;
    ServiceTier "service_tier" Text;
    SessionId "session_id" Text;
    UserId "user_id" Text;
    Tags "tags" Labels;
    Metadata "metadata" Object;
    AgentName "agent_name" Text;
    AgentId "agent_id" Text;
    WorkflowName "workflow_name" Text;
    ToolName "tool_name" Text;
    ToolCallId "tool_call_id" Text;
    ToolArguments "tool_arguments" Document;
    ToolResult "tool_result" Document;
    ToolDefinitions "tool_definitions" Tools;
    PromptName "prompt_name" Text;
    PromptVersion "prompt_version" Text;
    PromptVariables "prompt_variables" Object;
    SystemInstructions "system_instructions" Parts;
    InputMessages "input_messages" Messages("user");
    OutputMessages "output_messages" Messages("assistant");
    InputValue "input_value" Free;
    OutputValue "output_value" Free;
    RetrievalQuery "retrieval_query" Text;
    RetrievalDocuments "retrieval_documents" Documents;
    EmbeddingDimensions "embedding_dimensions" Int;
    ErrorType "error_type" Text;
    ErrorMessage "error_message" Text;
    Scores "scores" Scores;
    RepeatsParent "repeats_parent" Bool;
}

impl Column {
    /// The column called `name` in mapping files.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name() == name)
    }

    /// Whether its values are LLM payload: the attributes that fill it are kept apart from the others.
    pub(super) fn is_payload(self) -> bool {
        matches!(
            self,
            Self::ToolArguments
                | Self::ToolResult
                | Self::ToolDefinitions
                | Self::SystemInstructions
                | Self::InputMessages
                | Self::OutputMessages
                | Self::InputValue
                | Self::OutputValue
                | Self::RetrievalQuery
                | Self::RetrievalDocuments
        )
    }

    /// The text column of `genai`; `None` for columns of another type.
    pub(super) fn text(self, genai: &mut GenAi) -> Option<&mut Option<String>> {
        Some(match self {
            Self::Operation => &mut genai.operation,
            Self::Provider => &mut genai.provider,
            Self::RequestModel => &mut genai.request_model,
            Self::ResponseModel => &mut genai.response_model,
            Self::ResponseId => &mut genai.response_id,
            Self::FinishReasons => &mut genai.finish_reasons,
            Self::ServiceTier => &mut genai.service_tier,
            Self::SessionId => &mut genai.session_id,
            Self::UserId => &mut genai.user_id,
            Self::Tags => &mut genai.tags,
            Self::Metadata => &mut genai.metadata,
            Self::AgentName => &mut genai.agent_name,
            Self::AgentId => &mut genai.agent_id,
            Self::WorkflowName => &mut genai.workflow_name,
            Self::ToolName => &mut genai.tool_name,
            Self::ToolCallId => &mut genai.tool_call_id,
            Self::ToolArguments => &mut genai.tool_arguments,
            Self::ToolResult => &mut genai.tool_result,
            Self::ToolDefinitions => &mut genai.tool_definitions,
            Self::PromptName => &mut genai.prompt_name,
            Self::PromptVersion => &mut genai.prompt_version,
            Self::PromptVariables => &mut genai.prompt_variables,
            Self::SystemInstructions => &mut genai.system_instructions,
            Self::InputMessages => &mut genai.input_messages,
            Self::OutputMessages => &mut genai.output_messages,
            Self::InputValue => &mut genai.input_value,
            Self::OutputValue => &mut genai.output_value,
            Self::RetrievalQuery => &mut genai.retrieval_query,
            Self::RetrievalDocuments => &mut genai.retrieval_documents,
            Self::ErrorType => &mut genai.error_type,
            Self::ErrorMessage => &mut genai.error_message,
            _ => return None,
        })
    }

    /// The whole-number column of `genai`; `None` for columns of another type.
    pub(super) fn int(self, genai: &mut GenAi) -> Option<&mut Option<i64>> {
        Some(match self {
            Self::InputTokens => &mut genai.input_tokens,
            Self::OutputTokens => &mut genai.output_tokens,
            Self::CacheReadTokens => &mut genai.cache_read_tokens,
            Self::CacheWriteTokens => &mut genai.cache_write_tokens,
            Self::CacheWrite1hTokens => &mut genai.cache_write_1h_tokens,
            Self::ReasoningTokens => &mut genai.reasoning_tokens,
            Self::AudioInputTokens => &mut genai.audio_input_tokens,
            Self::AudioOutputTokens => &mut genai.audio_output_tokens,
            Self::EmbeddingDimensions => &mut genai.embedding_dimensions,
            Self::TimeToFirstTokenNs => &mut genai.time_to_first_token_ns,
            _ => return None,
        })
    }
}
