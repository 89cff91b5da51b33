//! Pages while Redis is away: they say what they cannot tell, and show the rest.

use std::time::Duration;

use runtime::testing::TestRedis;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use url::Url;

use crate::{
    amzigo::Serving,
    deployment::{Deployment, SELLER},
};

/// A way to Redis that ends with it.
struct Way {
    url: String,
    connections: tokio::task::JoinHandle<()>,
}

impl Way {
    async fn to(redis: &TestRedis) -> Self {
        let mut url: Url = redis.url.parse().expect("a URL");
        let server = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(6379));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        url.set_port(Some(listener.local_addr().expect("an address").port())).expect("it takes a port");
        let connections = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let server = server.clone();
                open.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        // Either side may hang up.
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Self { url: url.to_string(), connections }
    }
}

// The way is walked on while the test waits for a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_page_and_the_overview_say_what_they_cannot_tell() {
    let deployment = Deployment::new().await;
    let way = Way::to(&deployment.redis).await;
    let console = Serving::start_on(&deployment.amzigo, &way.url, deployment.redis.redis.prefix()).await;
    let address = format!("/jobs/{}", deployment.ready(SELLER).await);
    deployment.does(&["pause", "sync", "--reason", "Amazon is ill"]);
    let told = console.get(&address).await;
    assert!(told.text.contains("the queue sync is paused since "), "{}", told.text);

    way.connections.abort();
    for _ in 0..2 {
        let began = tokio::time::Instant::now();
        let untold = console.get(&address).await;
        assert_eq!(untold.status, 200);
        assert!(untold.text.contains("Cannot be told now: "), "{}", untold.text);
        assert!(untold.text.contains("Payload"), "the rest is shown: {}", untold.text);
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    let overview = console.get("/").await.text;
    assert!(
        overview.contains("Redis does not answer.") && overview.contains("Paused: queue sync."),
        "{overview}"
    );
}
