//! JSON, read as strictly as the document of the API describes it.

use std::mem::discriminant;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What the text means, read as the document of the API says it: serde alone would take a list of its members for an object
/// and an object for a word, and would not take `5.0` for the integer that it is in JSON.
pub fn parse<T: DeserializeOwned + Serialize>(text: &[u8]) -> Result<T, serde_json::Error> {
    let mut said: Value = serde_json::from_slice(text)?;
    let meant: T = match serde_json::from_slice(text) {
        Ok(meant) => meant,
        Err(_) if make_whole(&mut said) => serde_json::from_value(said.clone())?,
        Err(error) => return Err(error),
    };
    if is_like(&said, &serde_json::to_value(&meant)?) {
        Ok(meant)
    } else {
        Err(serde::de::Error::custom("an object, a list and a text are not the same"))
    }
}

/// Writes whole numbers without a point; tells whether there was one.
fn make_whole(value: &mut Value) -> bool {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    match value {
        Value::Object(members) => members.values_mut().fold(false, |any, it| make_whole(it) | any),
        Value::Array(items) => items.iter_mut().fold(false, |any, it| make_whole(it) | any),
        Value::Number(number) => match number.as_f64() {
            Some(whole)
                if number.is_f64() && whole.fract() == 0.0 && (0.0..BEYOND).contains(&whole) =>
            {
                *number = (whole as u64).into();
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_like(said: &Value, meant: &Value) -> bool {
    match (said, meant) {
        (Value::Object(said), Value::Object(meant)) => {
            said.iter().all(|(name, said)| meant.get(name).is_none_or(|meant| is_like(said, meant)))
        }
        (Value::Array(said), Value::Array(meant)) => {
            said.iter().zip(meant).all(|(said, meant)| is_like(said, meant))
        }
        (said, meant) => discriminant(said) == discriminant(meant),
    }
}
