//! One field of a JSON object, without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The text in the field `name` of an object.
pub(super) fn field(line: &[u8], name: &str) -> Result<String, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let text = Field(name).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(text)
}

struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with the text field `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == self.0 {
                found = Some(map.next_value::<String>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| serde::de::Error::custom(format!("no field `{}`", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_found_or_its_absence_told() {
        assert_eq!(field(br#"{"id": 3, "meta": {"text": "no"}, "text": "a \u00e9\n"}"#, "text").unwrap(), "a é\n");
        assert!(field(br#"{"id": 3}"#, "text").unwrap_err().to_string().contains("no field `text`"));
        assert!(field(br#"{"text": 3}"#, "text").unwrap_err().to_string().contains("expected a string"));
        assert!(field(br#"{"text": "a"} b"#, "text").is_err());
        assert!(field(b"[1]", "text").unwrap_err().to_string().contains("an object with the text field"));
    }
}
