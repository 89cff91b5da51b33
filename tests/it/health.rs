//! What an orchestrator is told: ready while a process can work, alive while it need not be restarted.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use tests::{process::Process, system::until};
use xtask::services::PostgresServer;

use crate::scene::{STEP, Scene, folder};

/// A process' answer: status and body.
async fn ask(http: &Client, process: &Process, path: &str) -> anyhow::Result<(StatusCode, String)> {
    // Workers and schedulers say `health`, the console `address`.
    let address = process.address("health").or_else(|_| process.address("address"))?;
    let response = http.get(format!("http://{address}{path}")).send().await?;
    Ok((response.status(), response.text().await?))
}

#[tokio::test]
async fn without_postgres_processes_are_alive_but_not_ready() -> anyhow::Result<()> {
    let folder = folder("health")?;
    let mut server = PostgresServer::start_in(&folder.join("postgres"))?;
    let mut scene = Scene::on_postgres(folder, server.url(), 1, 0).await?;
    let processes = [scene.system.scheduler()?, scene.system.worker()?, scene.system.console("127.0.0.1:0")?];
    let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    for process in &processes {
        assert_eq!(ask(&http, process, "/livez").await?.0, StatusCode::OK);
        let (status, body) = ask(&http, process, "/readyz").await?;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(ask(&http, process, "/metrics").await?.0.is_success());
    }

    server.stop()?;
    for process in &processes {
        let (status, body) = ask(&http, process, "/readyz").await?;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(body.contains("postgres"), "it was to name what is missing: {body}");
        assert!(!body.contains("redis"), "Redis is there: {body}");
        // A restart would not bring Postgres back.
        assert_eq!(ask(&http, process, "/livez").await?.0, StatusCode::OK);
    }

    server.start_again()?;
    for process in &processes {
        until(STEP, "it is ready again", async || Ok(ask(&http, process, "/readyz").await?.0.is_success()))
            .await?;
    }
    scene.end(processes).await
}
