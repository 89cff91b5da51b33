//! Every operation of the API, fuzzed for a minute: the short form of `cargo xtask fuzz`.

use anyhow::ensure;
use tests::fuzz::{Extent, fuzz};
use xtask::tools::Tool;

use crate::{
    scene::{Scene, folder},
    tools::found,
};

/// Fewer requests than this would mean that the fuzzer has come nowhere.
const LEAST_CASES: u64 = 1_000;

#[tokio::test]
async fn the_api_answers_as_its_document_says() -> anyhow::Result<()> {
    let Some([python]) = found("the API by a fuzzer", [Tool::Python]) else { return Ok(()) };
    let mut scene = Scene::with("api_fuzz", 1, 0).await?;
    let extent = Extent { seconds: 60, examples: 40, seed: 1 };
    let verdict = fuzz(&mut scene.system, &python, &folder("api_fuzz_report")?, extent).await?;
    ensure!(verdict.ok, "the API does not answer as its document says:\n{}", verdict.said);

    // The fuzzer leaves out the one by which it got the document.
    let paths = console::api::document()["paths"].as_object();
    let asked = paths.into_iter().flatten().filter(|(path, _)| *path != "/v1/openapi.json");
    let operations: usize =
        asked.filter_map(|(_, methods)| methods.as_object()).map(serde_json::Map::len).sum();
    let operations = u64::try_from(operations)?;
    ensure!(
        (verdict.operations, verdict.tested) == (operations, operations) && operations > 0,
        "the document has {operations} operations: {verdict:?}"
    );
    ensure!(verdict.cases >= LEAST_CASES, "{} requests only:\n{}", verdict.cases, verdict.said);

    let errors: Vec<String> = scene
        .system
        .logs()?
        .lines()
        .filter(|line| line.contains(r#""level":"ERROR""#))
        .map(str::to_owned)
        .collect();
    ensure!(errors.is_empty(), "something went wrong behind the API:\n{}", errors.join("\n"));
    scene.end([]).await
}
