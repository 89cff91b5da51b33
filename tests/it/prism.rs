//! Prism, which serves Amazon's own models and judges every request by them: a judge that we did not write.
//!
//! One runs at a time: each takes some 180 MB. A [`Way`] stands before it: a loopback proxy that asks it for the answer with
//! a certain status, which our client cannot, and keeps what it says of each request.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use jobs::sp_api::Operation;
use serde_json::Value;
use tests::system::until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::MutexGuard,
    task::JoinHandle,
};
use xtask::{
    process::{on_path, succeeds_within},
    services::free_port,
    tools::Tool,
};

use crate::tools::tools;

/// Amazon's models lie beside the project, not in it.
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spapi-models");
/// Longest time until it answers.
const START: Duration = Duration::from_secs(60);
/// Most bytes of a request's head.
const MOST_HEAD: usize = 64 * 1024;

static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Says that something could not be judged.
pub(crate) fn not_checked(why: &str) {
    crate::tools::not_checked("against Amazon's models by Prism", why);
}

/// Prism's program; `None`, said loudly, where it cannot be had.
fn program() -> Option<PathBuf> {
    tools().prism().map_err(|error| not_checked(&format!("{error}"))).ok()
}

/// A model of Amazon's, with those of our operations that are in it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) file: PathBuf,
    pub(crate) operations: Vec<Operation>,
}

/// Every model that has operations of ours; empty, said loudly, where the models are missing.
pub(crate) fn models() -> anyhow::Result<Vec<Model>> {
    let folder = Path::new(MODELS).join("models");
    let Ok(apis) = fs::read_dir(&folder) else {
        not_checked(&format!("Amazon's models are not in {}", folder.display()));
        return Ok(Vec::new());
    };
    let mut models = Vec::new();
    for api in apis {
        for file in fs::read_dir(api?.path())? {
            let file = file?.path();
            let model: Value = serde_json::from_str(&fs::read_to_string(&file)?)
                .with_context(|| format!("{} is not JSON", file.display()))?;
            let operations = operations(&model);
            if !operations.is_empty() {
                models.push(Model { file, operations });
            }
        }
    }
    models.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(models)
}

/// Our operations that a model describes.
fn operations(model: &Value) -> Vec<Operation> {
    let base = model["basePath"].as_str().unwrap_or_default().trim_end_matches('/');
    let template = |path: &str| {
        let any = |part: &'_ str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
        format!("{base}{path}").split('/').map(any).collect::<Vec<_>>().join("/")
    };
    let paths: Vec<_> = model["paths"].as_object().into_iter().flatten().collect();
    let describes = |operation: &Operation| {
        let entry = operation.entry();
        let method = entry.method.to_lowercase();
        paths.iter().any(|(path, methods)| template(path) == entry.path && methods.get(&method).is_some())
    };
    Operation::ALL.into_iter().filter(describes).collect()
}

/// All models in one document, with Amazon's examples as answers and bodies of errors as Amazon sends them; `None`, said
/// loudly, where it cannot be made.
pub(crate) fn merged(models: &[Model]) -> Option<PathBuf> {
    let Some(python) = on_path("python3") else {
        not_checked("python3, which merges the models, is not installed");
        return None;
    };
    let document = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("merged-{}.json", std::process::id()));
    let mut merge = Command::new(python);
    merge.arg(Path::new(MODELS).join("merge_for_prism.py")).arg(&document);
    merge.args(models.iter().map(|model| &model.file));
    if !succeeds_within(&mut merge, START) {
        not_checked("the models could not be merged");
        return None;
    }
    Some(document)
}

/// What Prism answers with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answers {
    /// The document's examples.
    Examples,
    /// What fits the schema: the word `string`, noughts, the first of an enumeration.
    Placeholders,
}

impl Answers {
    fn ignore_examples(self) -> &'static str {
        match self {
            Self::Examples => "false",
            Self::Placeholders => "true",
        }
    }
}

/// Prism, serving one document. Ends when it is dropped.
pub(crate) struct Prism {
    child: Child,
    port: u16,
    _alone: MutexGuard<'static, ()>,
}

impl Prism {
    /// Starts it, when no other one of this process runs; `None`, said loudly, where it cannot be had.
    pub(crate) async fn serve(document: &Path, answers: Answers) -> anyhow::Result<Option<Self>> {
        let alone = ONE_AT_A_TIME.lock().await;
        let Some(program) = tokio::task::spawn_blocking(program).await? else { return Ok(None) };
        let port = free_port()?;
        let Some(node) = tools().find(Tool::Node) else {
            not_checked("node is not installed");
            return Ok(None);
        };
        let mut command = Command::new(node);
        command.arg(program).args(["mock", "--multiprocess", "false", "--verboseLevel", "silent"]);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--ignoreExamples", answers.ignore_examples()]).arg(document);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting Prism")?;
        let mut prism = Self { child, port, _alone: alone };
        until(START, "Prism listens", async || {
            let ended = prism.child.try_wait()?;
            ensure!(ended.is_none(), "Prism has ended: {ended:?}");
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
        })
        .await
        .with_context(|| format!("serving {}", document.display()))?;
        Ok(Some(prism))
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        // Both fail only for a process that has ended, and then there is nothing left to do.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The way to Prism. Ends when it is dropped.
pub(crate) struct Way {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Option<u16>>,
    answers: Mutex<Vec<String>>,
}

impl Way {
    pub(crate) async fn to(prism: &Prism) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (shared, server) = (Arc::<Shared>::default(), prism.port);
        let here = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // One call after the other is all that a test makes. One that breaks is seen by the client.
                carry(client, server, &here).await.ok();
            }
        });
        Ok(Self { port, shared, task })
    }

    /// Where the client calls.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Lets the next calls be answered with this status.
    pub(crate) fn want(&self, status: Option<u16>) {
        *self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// The heads of the answers since the last time, as they came.
    pub(crate) fn answers(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one request and its answer, each on a connection of its own.
async fn carry(mut client: TcpStream, server: u16, shared: &Shared) -> anyhow::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let (line, headers) = head.split_once("\r\n").context("a request has a first line")?;
    let headers: String = headers
        .split_inclusive("\r\n")
        .filter(|header| !header.to_lowercase().starts_with("connection:"))
        .collect();
    let wanted = *shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
    let prefer = wanted.map(|status| format!("Prefer: code={status}\r\n")).unwrap_or_default();
    let mut there = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    there.write_all(format!("{line}\r\nConnection: close\r\n{prefer}{headers}\r\n").as_bytes()).await?;
    there.write_all(&body).await?;
    let mut answer = Vec::new();
    there.read_to_end(&mut answer).await?;
    let end = end_of_head(&answer).unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    shared.answers.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    client.write_all(&answer).await?;
    client.shutdown().await?;
    Ok(())
}

/// The head of a request, without its empty line, and as much of a body as the head says.
async fn read_request(client: &mut TcpStream) -> anyhow::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = end_of_head(&read) {
            break end;
        }
        ensure!(read.len() < MOST_HEAD && client.read_buf(&mut read).await? > 0, "the request is cut");
    };
    let head = String::from_utf8(read[..end - 2].to_vec())?;
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").and_then(|length| length.trim().parse::<usize>().ok())
    });
    let mut body = read.split_off(end);
    while body.len() < length.unwrap_or_default() {
        ensure!(client.read_buf(&mut body).await? > 0, "the body is cut");
    }
    Ok((head, body))
}

/// Where the head of a message ends, with its empty line.
fn end_of_head(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|start| start + 4)
}
