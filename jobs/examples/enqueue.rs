//! DATABASE_URL=… cargo run --package jobs --example enqueue -- "$SELLER"

use jobs::{client, kinds::sync_orders::SyncOrders, store::sellers::SellerId};
use runtime::{env::ProcessEnvironment, postgres};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seller: SellerId = std::env::args().nth(1).ok_or("whose orders? name a seller's id")?.parse()?;
    let pool = postgres::connect(&ProcessEnvironment, "example").await?;

    let mut transaction = pool.begin().await?;
    // … whatever the job follows from, in the same transaction …
    let job = client::enqueue(&mut transaction, &SyncOrders { seller })
        .idempotency_key(format!("first-sync/{seller}"))
        .await?;
    transaction.commit().await?;

    println!("{job:?}");
    Ok(())
}
