//! The console's pages as somebody who is signed in reads them.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Client, Response, StatusCode, header, redirect::Policy};

use crate::process::Process;

/// Who has followed a console's link of the demo.
#[derive(Debug)]
pub struct Reader {
    http: Client,
    base: String,
    cookie: String,
}

impl Reader {
    /// Follows the link that a console has printed. It works once.
    ///
    /// # Errors
    /// When it signs nobody in.
    pub async fn sign_in(console: &Process) -> anyhow::Result<Self> {
        let http =
            Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(30)).build()?;
        let answer = http.get(console.address("sign_in")?).send().await?;
        ensure!(answer.status() == StatusCode::SEE_OTHER, "the link answered {}", answer.status());
        let cookie = answer.headers().get(header::SET_COOKIE).context("the link has opened no session")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        let base = format!("http://{}", console.address("address")?);
        Ok(Self { http, base, cookie })
    }

    /// What opens this session: it must turn up nowhere.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.cookie.split_once('=').map_or("", |(_, token)| token)
    }

    /// Asks a page, whatever the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, path: &str) -> anyhow::Result<Response> {
        let request = self.http.get(format!("{}{path}", self.base)).header(header::COOKIE, &self.cookie);
        Ok(request.send().await?)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When it is not answered with what it was asked for.
    pub async fn read(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.ask(path).await?;
        ensure!(answer.status() == StatusCode::OK, "{path} answered {}", answer.status());
        Ok(answer.text().await?)
    }
}
