//! What an experiment's recipe can say: every key with its type, its default and its meaning, made from the configuration's own types.

use std::fmt::Write as _;

use lyceum_core::AnyExperiment;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A key of a recipe, or one of the values that it can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// The key after the tables that it is in, for example `training.epochs`, or `arm[].name` in each of the tables `[[arm]]`. One of
    /// several values follows the key and an equals sign, `training.schedule = "cosine"`; a key of such a value follows the value's
    /// name, `training.schedule.step.factor`.
    pub name: String,
    /// What is allowed.
    pub kind: String,
    /// What holds where the recipe does not say, in TOML.
    pub default: Option<String>,
    /// Whether the recipe must say.
    pub required: bool,
    /// What it means.
    pub about: String,
}

/// The JSON schema of an experiment's recipes, for editors that complete and check TOML by one.
pub fn schema(experiment: &dyn AnyExperiment) -> Value {
    let mut schema = experiment.schema().to_value();
    let head = json!({
        "experiment": { "const": experiment.name(), "description": "Which experiment." },
        "seed": { "type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0,
                  "description": "The root of all randomness, up to 2^63 - 1." },
        "seeds": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 1,
                   "description": "Run with so many seeds, from `seed` on, and compare what they found." },
    });
    if let (Some(keys), Value::Object(head)) = (schema.get_mut("properties").and_then(Value::as_object_mut), head) {
        keys.extend(head);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.insert(0, "experiment".into());
    }
    schema["title"] = experiment.name().into();
    schema["description"] = experiment.about().into();
    schema
}

/// The keys of an experiment's recipes: first those that stand alone, then table by table.
pub fn keys(experiment: &dyn AnyExperiment) -> Vec<Key> {
    let schema = schema(experiment);
    let mut reader = Reader { definitions: schema["$defs"].as_object().cloned().unwrap_or_default(), found: Vec::new() };
    reader.fields("", &schema, &Value::Null);
    // The head comes first, as it does in a recipe.
    reader.found.sort_by_key(|key| !["experiment", "seed", "seeds"].contains(&key.name.as_str()));
    reader.found
}

/// A chapter of the book: the keys of all experiments, in Markdown.
pub fn chapter() -> String {
    let mut text = String::from(
        "# All keys\n\nEvery key of every experiment, as `lyceum explain NAME` prints them. A key in a table of tables is written `arm[].name`. \
         A value that a key can have follows an equals sign.\n",
    );
    let cell = |text: &str| text.replace('|', "\\|");
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) };
    for experiment in crate::ALL {
        let _ = writeln!(text, "\n## {}\n\n{}.\n", experiment.name(), capital(experiment.about()));
        text.push_str("| key | allowed | default | meaning |\n|---|---|---|---|\n");
        for Key { name, kind, default, required, about } in keys(*experiment) {
            let default = if required { "required".into() } else { code(&default.unwrap_or_default()) };
            let _ = writeln!(text, "| {} | {} | {default} | {} |", code(&name), cell(&kind), cell(&about));
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

struct Reader {
    definitions: Map<String, Value>,
    found: Vec<Key>,
}

impl Reader {
    /// The keys of a table whose default is `default`.
    fn fields(&mut self, path: &str, schema: &Value, default: &Value) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let Some(fields) = schema["properties"].as_object() else { return };
        let mut tables = Vec::new();
        for (name, field) in fields {
            let field = self.resolved(field);
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let own = default.get(name).or_else(|| field.get("default")).cloned().unwrap_or(Value::Null);
            let required = required.contains(&json!(name)) && own.is_null();
            if is_table(&field) || field["items"].get("$ref").is_some() {
                tables.push((path, field, own, required))
            } else {
                self.field(&path, &field, &own, required)
            }
        }
        // What is written below a heading in TOML comes after what is not.
        for (path, field, own, required) in tables {
            self.field(&path, &field, &own, required);
        }
    }

    fn field(&mut self, path: &str, schema: &Value, default: &Value, required: bool) {
        let about = about(schema);
        let mut put = |kind: String, default: Option<String>| {
            self.found.push(Key { name: path.to_owned(), kind, default, required, about: about.clone() });
        };
        let items = resolved(&self.definitions, &schema["items"]);
        if is_table(schema) {
            put("a table".into(), None);
            self.fields(path, schema, default);
        } else if is_table(&items) {
            put(format!("tables [[{path}]]"), None);
            self.fields(&format!("{path}[]"), &items, &Value::Null);
        } else if let Some(choices) = schema["oneOf"].as_array() {
            let choices: Vec<Value> = choices.iter().map(|choice| resolved(&self.definitions, choice)).collect();
            let names: Vec<&str> = choices.iter().flat_map(names).collect();
            put(format!("{} (below)", names.join(", ")), shown(default));
            for choice in choices {
                self.choice(path, &choice);
            }
        } else {
            put(kind(schema, &items), shown(default));
        }
    }

    /// A value that a key can have, and what is in it.
    fn choice(&mut self, path: &str, choice: &Value) {
        for name in literals(choice) {
            let name = format!("{path} = {name:?}");
            self.found.push(Key { name, kind: String::new(), default: None, required: false, about: about(choice) });
        }
        for (name, inner) in choice["properties"].as_object().into_iter().flatten() {
            let inner = self.resolved(inner);
            let content = if is_table(&inner) { "…".to_owned() } else { kind(&inner, &self.resolved(&inner["items"])) };
            let about = Some(about(choice)).filter(|text| !text.is_empty()).unwrap_or_else(|| about(&inner));
            let name_of =
                if is_table(&inner) { format!("{path} = {{ {name} = {{ {content} }} }}") } else { format!("{path} = {{ {name} = … }}") };
            let kind = if is_table(&inner) { String::new() } else { content };
            self.found.push(Key { name: name_of, kind, default: None, required: false, about });
            self.fields(&format!("{path}.{name}"), &inner, &Value::Null);
        }
    }

    fn resolved(&self, schema: &Value) -> Value {
        resolved(&self.definitions, schema)
    }
}

/// The texts that a value can be.
fn literals(choice: &Value) -> impl Iterator<Item = &str> {
    choice["const"].as_str().into_iter().chain(choice["enum"].as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// The names of a value that a key can have: its texts, or the one key of its table.
fn names(choice: &Value) -> Vec<&str> {
    let tables = choice["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    literals(choice).chain(tables).collect()
}

/// A schema with its references replaced by what they refer to, and without the null of an optional value. A key that the schema has
/// itself overrides that of the reference.
fn resolved(definitions: &Map<String, Value>, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let alternatives: Vec<Value> = schema["anyOf"].as_array().into_iter().flatten().filter(|one| one["type"] != "null").cloned().collect();
    if let [one] = alternatives.as_slice()
        && let (Some(own), Some(one)) = (schema.as_object_mut(), one.as_object())
    {
        own.remove("anyOf");
        for (key, value) in one {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let target = schema["$ref"].as_str().and_then(|path| definitions.get(path.trim_start_matches("#/$defs/"))).cloned();
    if let (Some(own), Some(Value::Object(target))) = (schema.as_object_mut(), target) {
        own.remove("$ref");
        for (key, value) in target {
            own.entry(key).or_insert(value);
        }
        return resolved(definitions, &schema);
    }
    schema
}

fn is_table(schema: &Value) -> bool {
    schema["type"] == "object" && schema["properties"].is_object()
}

fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    // Links to the documentation of Rust, in parentheses, say nothing here.
    let mut parts = text.split("([`");
    let first = parts.next().unwrap_or_default().to_owned();
    let plain = parts.fold(first, |plain, part| plain.trim_end().to_owned() + part.split_once("`])").map_or(part, |(_, rest)| rest));
    plain.replace("[`", "`").replace("`]", "`").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is allowed, in words.
fn kind(schema: &Value, items: &Value) -> String {
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().find(|one| *one != "null").cloned().unwrap_or_default(),
        one => one.clone(),
    };
    let bounds = [("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")];
    let bounds = bounds
        .iter()
        .filter_map(|(key, sign)| Some(format!("{sign} {}", schema[*key].as_f64().filter(|bound| bound.abs() < 1e9)?)))
        .collect::<Vec<_>>()
        .join(" and ");
    let with_bounds = |name: &str| if bounds.is_empty() { name.to_owned() } else { format!("{name} {bounds}") };
    match types.as_str().unwrap_or_default() {
        "integer" => with_bounds("a whole number"),
        "number" => with_bounds("a number"),
        "boolean" => "true or false".into(),
        "array" if items["oneOf"].is_array() => {
            let names: Vec<String> =
                items["oneOf"].as_array().into_iter().flatten().flat_map(names).map(|name| format!("{name:?}")).collect();
            format!("a list of: {}", names.join(", "))
        }
        "array" if items.is_object() => format!("a list of: {}", kind(items, &items["items"])),
        "array" => "a list".into(),
        "object" => "a table of your own keys".into(),
        "string" if schema["enum"].is_array() => {
            let names = schema["enum"].as_array().into_iter().flatten().map(ToString::to_string);
            names.collect::<Vec<_>>().join(", ")
        }
        "string" => "text".into(),
        _ => schema["const"].as_str().map_or_else(|| "a value".into(), |name| format!("{name:?}")),
    }
}

/// A value in TOML, if there is one.
fn shown(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().filter_map(|(key, value)| Some(format!("{key} = {}", shown(value)?))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().filter_map(shown).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ALL;

    /// Every key of every experiment is explained, and by its default, where it has one, nothing is said that the types do not say.
    #[test]
    fn every_key_has_a_meaning() {
        for experiment in ALL {
            for key in keys(*experiment) {
                assert!(!key.about.is_empty() || key.kind.is_empty(), "{}: {} has no meaning", experiment.name(), key.name);
            }
        }
    }

    #[test]
    fn a_key_is_told_with_what_is_allowed_and_its_default() {
        let keys = keys(*ALL.iter().find(|experiment| experiment.name() == "certify").unwrap());
        let key = |name: &str| keys.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("{name} of {keys:#?}"));
        let epochs = key("training.epochs");
        assert_eq!((epochs.kind.as_str(), epochs.default.as_deref(), epochs.required), ("a whole number >= 1", Some("30"), false));
        assert!(key("model").required && key("arm[].estimator").required);
        assert_eq!(key("conformal.alpha").kind, "a number > 0 and < 1");
        assert_eq!(key("training.schedule").default.as_deref(), Some("\"cosine\""));
        assert!(key("training.schedule = \"cosine\"").about.contains("cos"));
        assert_eq!(key("arm[].estimator.sam.rho").kind, "a number >= 0");
        assert_eq!(key("seeds").default.as_deref(), Some("1"));
    }

    #[test]
    fn the_schema_knows_what_must_be_there() {
        let schema = schema(*ALL.iter().find(|experiment| experiment.name() == "train").unwrap());
        assert_eq!(schema["properties"]["experiment"]["const"], "train");
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["required"].as_array().unwrap().contains(&json!("model")));
    }
}
