//! The JSON Schema of an event's properties. One schema is compiled twice by the same crate: over tokens, which is fast
//! and answers yes or no, and over JSON trees, which gives errors a path and a message.

use jsonschema::Validator;
use serde_json::Value;

use crate::fast_path::json_schema::TokenJson;
use crate::fast_path::tokens::TokenNode;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    over_tokens: Validator<TokenJson>,
    over_trees: Validator,
}

impl Schema {
    /// Compiles a schema. The error says why it is not a valid schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let over_tokens = jsonschema::options_for::<TokenJson>().build(schema).map_err(|error| error.to_string())?;
        let over_trees = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        Ok(Self { over_tokens, over_trees })
    }

    /// Whether the properties satisfy the schema.
    pub fn accepts(&self, properties: TokenNode<'_, '_>) -> bool {
        self.over_tokens.is_valid(properties)
    }

    /// The first violation: a JSON pointer to it, and the reason.
    pub fn violation(&self, properties: &Value) -> Option<(String, String)> {
        let error = self.over_trees.iter_errors(properties).next()?;
        Some((error.instance_path().to_string(), error.to_string()))
    }
}
