//! Runs the sandbox as a process: prints its address as one line of JSON, then serves until SIGINT or SIGTERM.
//!
//! Starting it twice gives two sandboxes that know nothing of each other. Nothing is kept when it stops.

use anyhow::Context;
use clap::Parser;
use sandbox::{Options, Sandbox};
use std::io::Write;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  sandbox                                        any free port, Amazon's real quotas
  sandbox --listen 127.0.0.1:4100 --speed 600    an hour of quota in six seconds

  curl -X POST localhost:4100/control/seed -H 'content-type: application/json' \\
       -d '{\"sellers\": 3, \"orders\": 500, \"seed\": 1}'
  curl -X POST localhost:4100/control/faults -H 'content-type: application/json' \\
       -d '{\"operation\": \"searchOrders\", \"fault\": \"internal\", \"times\": 2}'
  curl localhost:4100/control/summary

Amazon's side:
  POST /auth/o2/token
  GET  /orders/2026-01-01/orders[/{orderId}]
  GET  /solicitations/v1/orders/{amazonOrderId}
  POST /solicitations/v1/orders/{amazonOrderId}/solicitations/productReviewAndSellerFeedback
  GET  /sellers/v1/marketplaceParticipations
  GET  /fba/inventory/v1/summaries
  GET  /listings/2021-08-01/items/{sellerId}
  GET  /catalog/2022-04-01/items
  GET  /sales/v1/orderMetrics
  POST /reports/2021-06-30/reports
  GET  /reports/2021-06-30/reports/{reportId}
  GET  /reports/2021-06-30/documents/{reportDocumentId}
  POST /notifications/v1/destinations
  GET  /notifications/v1/destinations
  POST /notifications/v1/subscriptions/{notificationType}
  GET  /notifications/v1/subscriptions/{notificationType}
  POST /                                            X-Amz-Target: AmazonSQS.{ReceiveMessage, DeleteMessage,
                                                    DeleteMessageBatch, GetQueueAttributes, GetQueueUrl}
  GET  /documents/{address}?signature=SIGNATURE     without any token, as from Amazon's store of files

Control (JSON):
  POST   /control/seed                    {sellers, orders, seed?, region?: na|eu|fe}
  POST   /control/orders                  {seller, count?, touch?, seconds_ago?, seed?}
  POST   /control/orders/{id}/vanish
  POST   /control/products                {seller, count?, touch?, delete?, seconds_ago?}
  POST   /control/faults                  {operation: NAME|*, fault, times, seller?, skip?, delay_ms?, probability?}
         fault: quota internal unavailable hang slow cut cut_after internal_after hang_after garbage
                empty_actions denied fatal truncated
  DELETE /control/faults                  forgets all faults, releases hanging calls
  POST   /control/sellers/{id}/revoke
  POST   /control/sellers/{id}/restore
  POST   /control/sellers/{id}/participations   {marketplace_id, is_participating, has_suspended_listings}
  POST   /control/settings                {speed?, leak_buyer_data?, client_secret?, inventory_token_seconds?, report_gzip?,
                                           report_charset?: utf-8|windows-1252|shift_jis, document_url_seconds?,
                                           queue_duplicates?, queue_out_of_order?}
  POST   /control/feedback/remove         {seller, count}
  POST   /control/messages                {body}
  GET    /control/summary
  GET    /control/orders
  GET    /control/messages
  GET    /control/sellers/{id}/products
  GET    /control/sellers/{id}/participations
  GET    /control/sellers/{id}/feedback
  GET    /control/sellers/{id}/account_health
  GET    /control/sellers/{id}/metrics?marketplace_id=ID&time_zone=NAME&asin=ASIN
  GET    /control/calls?after=SEQ&limit=N";

/// A stateful stand-in for Amazon on loopback: sign-in, usage plans, faults.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// Where to listen; loopback only, port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many times faster than the wall clock quotas refill and tokens expire.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    speed: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, speed } = Arguments::parse();
    // Before the address is told: whoever reads it may send a signal at once.
    let mut interrupted = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let sandbox = Sandbox::start(Options { listen, speed, ..Options::default() })
        .await
        .with_context(|| format!("starting the sandbox on {listen}; try --listen 127.0.0.1:0"))?;
    let announcement = serde_json::json!({"address": sandbox.address().to_string()});
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{announcement}").context("printing the address")?;
    stdout.flush().context("printing the address")?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}
