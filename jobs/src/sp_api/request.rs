//! A request to Amazon before it is sent, and a success after it came back.

use reqwest::Response;
use serde_json::Value;

use crate::sp_api::Operation;

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// A request to Amazon. Made only by the modules of the operations.
#[derive(Debug)]
pub struct Request {
    pub(super) operation: Operation,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Request {
    /// A request whose path holds no id.
    pub(super) fn new(operation: Operation) -> Self {
        Self { operation, path: operation.entry().path.to_owned(), query: Vec::new(), body: None }
    }

    /// A request about the thing with this id.
    pub(super) fn about(operation: Operation, id: &str) -> Self {
        Self { path: operation.path(id), ..Self::new(operation) }
    }

    /// What is called.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// With these parameters.
    pub(super) fn query(mut self, query: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.query.extend(query);
        self
    }

    /// With this body.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// A success.
#[derive(Debug)]
pub struct Success {
    /// The body.
    pub body: Vec<u8>,
    /// Amazon's id of the request, for its support.
    pub request_id: Option<String>,
}

/// The whole body of an answer.
pub(super) async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => {
                return Err(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(queue::failure::chain(&error.without_url())),
        }
    }
}
