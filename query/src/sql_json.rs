//! `json_get(text, key)`: one member of a JSON object as text, so that `labels` and `attributes` columns can be asked.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, StringArray, StringBuilder},
    datatypes::DataType,
};
use datafusion::{
    common::cast::as_string_array,
    error::{DataFusionError, Result},
    logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf},
};

/// The function, for a session to register.
pub(crate) fn json_get() -> ScalarUDF {
    let arguments = vec![DataType::Utf8, DataType::Utf8];
    create_udf("json_get", arguments, DataType::Utf8, Volatility::Immutable, Arc::new(evaluate))
}

fn evaluate(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let [texts, keys] = &ColumnarValue::values_to_arrays(arguments)?[..] else {
        return Err(DataFusionError::Plan("json_get takes two arguments: text, key".into()));
    };
    let (texts, keys) = (as_string_array(texts)?, as_string_array(keys)?);
    Ok(ColumnarValue::Array(Arc::new(members(texts, keys)) as ArrayRef))
}

/// The member of each text; null where text or key is null, the text is not an object, or it has no such member.
fn members(texts: &StringArray, keys: &StringArray) -> StringArray {
    let mut found = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    for (text, key) in texts.iter().zip(keys) {
        let object = text.and_then(|t| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(t).ok());
        found.append_option(object.zip(key).and_then(|(mut object, key)| match object.remove(key)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(s) => Some(s),
            other => Some(other.to_string()),
        }));
    }
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_text_and_everything_else_is_null() {
        let texts =
            StringArray::from(vec![Some(r#"{"a":"x","n":1}"#), Some(r#"{"n":1}"#), Some("[1]"), Some("{"), None]);
        let ask = |key: &str| {
            members(&texts, &StringArray::from(vec![key; 5])).iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(ask("a"), [Some("x".into()), None, None, None, None]);
        assert_eq!(ask("n"), [Some("1".into()), Some("1".into()), None, None, None]);
    }
}
