//! The description of the API by OpenAPI 3.2, which is the first that knows streams of events, built from the declarations of
//! the routes and the types of their bodies.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api::{Code, LAST_EVENT, PROBLEM, Problem},
    route::Says,
};

/// What the document says of the whole.
const ABOUT: &str = "agentid gives each run of an agent an identity and holds it to rules. This is spoken on the Unix \
                     socket of the daemon: one request on each connection. Who asks is known by the kernel's word, and is \
                     never said in a request. Within /v1 nothing is taken away and nothing means anything else: answers may \
                     gain members, requests optional ones, and problems codes. What is \
                     no HTTP, or has more headers than the daemon reads, is answered with a bare status.";
/// Refusals that every route has.
const ALWAYS: [Code; 3] = [Code::TooOften, Code::Stopping, Code::Internal];

/// All that has been declared.
pub struct Document {
    paths: Map<String, Value>,
    /// Schemas of what is sent, of what is answered, and of queries, which refer to nothing.
    asked: SchemaGenerator,
    told: SchemaGenerator,
    queries: SchemaGenerator,
}

impl Default for Document {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|it| {
                it.definitions_path = "/components/schemas".into();
                it.meta_schema = None;
            })
        };
        Self {
            paths: Map::new(),
            asked: settings().for_deserialize().into_generator(),
            told: settings().for_serialize().into_generator(),
            queries: settings().with(|it| it.inline_subschemas = true).into_generator(),
        }
    }
}

/// Where a schema comes from: its type, with one of the generators.
type Source = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One route, as far as it is declared.
pub struct Operation {
    says: Says,
    codes: Vec<Code>,
    named: Option<Named>,
    query: Option<Source>,
    body: Option<Source>,
    answer: Option<(Source, bool)>,
    /// Whether the number of the last event may be said, and whether it is told.
    after_an_event: bool,
    up_to_an_event: bool,
}

/// What a path names.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// As in the path's braces.
    pub parameter: &'static str,
    pub description: &'static str,
    pub pattern: &'static str,
}

/// A run, in a path.
pub const RUN: Named = Named {
    parameter: "id",
    description: "ID of a run, or as much of its beginning or end as no other run has.",
    pattern: "^[0-9a-fA-F-]{4,36}$",
};

/// A policy, in a path.
pub const POLICY: Named = Named {
    parameter: "name",
    description: "Name of a policy; with @ and the beginning of a digest, one version of it.",
    pattern: "^[a-z0-9][a-z0-9_-]*(@[0-9a-f]+)?$",
};

impl Operation {
    pub fn new(says: Says) -> Self {
        let codes = ALWAYS.iter().chain(says.codes).copied().collect();
        Self {
            says,
            codes,
            named: None,
            query: None,
            body: None,
            answer: None,
            after_an_event: false,
            up_to_an_event: false,
        }
    }

    /// The path names something; with nothing for its name it is no route.
    pub fn of(mut self, named: Named) -> Self {
        self.codes.extend([Code::BadRequest, Code::NoRoute]);
        Self { named: Some(named), ..self }
    }

    /// The answer may be long.
    pub fn weighed(mut self) -> Self {
        self.codes.push(Code::TooMany);
        self
    }

    pub fn query<Q: JsonSchema>(mut self) -> Self {
        self.codes.push(Code::BadRequest);
        Self { query: Some(|generator| generator.root_schema_for::<Q>()), ..self }
    }

    pub fn body<B: JsonSchema>(mut self) -> Self {
        self.codes.extend([Code::BadRequest, Code::TooLarge, Code::BadMediaType]);
        Self { body: Some(of::<B>), ..self }
    }

    pub fn tells<T: JsonSchema>(self) -> Self {
        Self { answer: Some((of::<T>, false)), ..self }
    }

    /// The asking reader may say which event was the last that it has.
    pub fn after_an_event(self) -> Self {
        Self { after_an_event: true, ..self }
    }

    /// The answer says which event is the last that it knows of.
    pub fn up_to_an_event(self) -> Self {
        Self { up_to_an_event: true, ..self }
    }

    /// One of these in each line of server-sent data.
    pub fn streams<T: JsonSchema>(self) -> Self {
        Self { answer: Some((of::<T>, true)), ..self }
    }
}

impl Document {
    pub fn add(&mut self, path: &str, method: &str, operation: Operation) {
        let mut parameters = Vec::new();
        if let Some(Named { parameter, description, pattern }) = operation.named {
            parameters.push(json!({
                "name": parameter,
                "in": "path",
                "required": true,
                "description": description,
                "schema": { "type": "string", "pattern": pattern },
            }));
        }
        if let Some(query) = operation.query {
            parameters.extend(self.parameters(query));
        }
        if operation.after_an_event {
            parameters.push(json!({
                "name": LAST_EVENT,
                "in": "header",
                "description": "As `after`, by whoever comes again: what the last `id:` line of the stream had, or the \
                                header of the same name of a list.",
                "schema": number(),
            }));
        }
        let mut text = json!({
            "operationId": operation.says.id,
            "summary": operation.says.summary,
            "responses": self.responses(&operation),
        });
        if !parameters.is_empty() {
            text["parameters"] = parameters.into();
        }
        if let Some(body) = operation.body {
            text["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": body(&mut self.asked) } },
            });
        }
        let of_path = self.paths.entry(path).or_insert_with(|| Map::new().into());
        of_path[method] = text;
    }

    /// The members of a query, each as a parameter. What may be left out cannot be null.
    fn parameters(&mut self, query: Source) -> Vec<Value> {
        let schema = query(&mut self.queries);
        let members = schema.get("properties").and_then(Value::as_object).cloned();
        let parameter = |(name, mut schema): (String, Value)| {
            let description = schema.as_object_mut().and_then(|it| it.remove("description"));
            if let Some(Value::Array(types)) = schema.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    schema["type"] = one.clone();
                }
            }
            // An object has no place in a query but as a text; what it is when it is left out is not said.
            if schema.get("type").is_some_and(|one| one == "object") {
                schema.as_object_mut().map(|it| it.remove("default"));
                let content = json!({ "application/json": { "schema": schema } });
                return json!({
                    "name": name, "in": "query", "description": description, "content": content
                });
            }
            json!({ "name": name, "in": "query", "description": description, "schema": schema })
        };
        members.unwrap_or_default().into_iter().map(parameter).collect()
    }

    fn responses(&mut self, operation: &Operation) -> Value {
        let mut responses = Map::new();
        if let Some((answer, streamed)) = operation.answer {
            let schema = answer(&mut self.told);
            let content = if streamed {
                json!({ "text/event-stream": { "itemSchema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": { "id": {
                        "type": "string",
                        "pattern": "^[0-9]+$",
                    }, "data": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": schema,
                    } },
                } } })
            } else {
                json!({ "application/json": { "schema": schema } })
            };
            let mut done = json!({ "description": "Done.", "content": content });
            if operation.up_to_an_event {
                done["headers"] = json!({ LAST_EVENT: {
                    "required": true,
                    "description": "Number up to which the answer holds: what comes about later is in the stream of events \
                                    after it.",
                    "schema": number(),
                } });
            }
            responses.insert("200".into(), done);
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for &code in &operation.codes {
            let codes = by_status.entry(code.status()).or_default();
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        for (status, codes) in by_status {
            responses.insert(status.to_string(), self.refusal(status, &codes));
        }
        responses.into()
    }

    /// The problems that come with one status.
    fn refusal(&mut self, status: u16, codes: &[Code]) -> Value {
        let mut schema = self.told.subschema_for::<Problem>();
        let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
        schema.insert(
            "properties".to_owned(),
            json!({ "status": { "const": status }, "code": { "enum": names } }),
        );
        let titles: Vec<String> = codes.iter().map(|code| format!("{}.", code.title())).collect();
        let mut refusal = json!({
            "description": titles.join(" "),
            "content": { PROBLEM: { "schema": schema } },
        });
        if codes.contains(&Code::TooOften) {
            refusal["headers"] = json!({ "Retry-After": {
                "required": true,
                "description": "Seconds after which the user may ask again.",
                "schema": { "type": "integer", "minimum": 1 },
            } });
        }
        refusal
    }

    /// The document as it is served.
    pub fn text(mut self) -> String {
        let mut schemas = self.asked.take_definitions(true);
        schemas.extend(self.told.take_definitions(true));
        // Schemas by their names, whatever the order of the routes.
        schemas.sort_keys();
        let mut document = json!({
            "openapi": "3.2.0",
            "info": {
                "title": "agentid",
                "version": "1",
                "description": ABOUT,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": schemas },
        });
        bound(&mut document);
        format!("{document:#}\n")
    }
}

/// The number of an event.
fn number() -> Value {
    json!({ "type": "integer", "format": "uint64", "minimum": 0 })
}

/// What a number may be at most follows from its width.
fn bound(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(bound);
            let most = match members.get("format").and_then(Value::as_str) {
                Some("uint8") => u64::from(u8::MAX),
                Some("uint16") => u64::from(u16::MAX),
                Some("uint32") => u64::from(u32::MAX),
                Some("uint64" | "uint") => u64::MAX,
                _ => return,
            };
            members.insert("maximum".to_owned(), most.into());
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}
