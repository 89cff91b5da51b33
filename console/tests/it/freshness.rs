//! How fresh sellers' data are, and what we call at Amazon: on pages and at the command line.

use jobs::sp_api::Operation;

use crate::{
    amzigo::{Amzigo, Serving},
    deployment::{Deployment, SELLER},
};

const HISTORY: &str = "
    insert into sync_cursors (seller_id, data_set, synced_until, moved_at)
    select id, 'orders', now() - interval '7 minutes', now() from sellers
    union all select id, 'order_history', connected_at - interval '365 days', now() from sellers";

#[tokio::test]
async fn what_is_stored_of_a_seller_is_shown_with_its_age() {
    let deployment = Deployment::new().await;
    assert!(deployment.does(&["sellers", "data"]).contains("No seller is connected"));
    let seller = deployment.amzigo.seller();
    let empty = deployment.run(&["sellers", "data", &seller, "--json"]).json();
    assert!(
        empty["sellers"][0]["orders"].is_null() && empty["sellers"][0]["order_history_part"] == 0.0,
        "{empty}"
    );
    sqlx::query(HISTORY).execute(&deployment.amzigo.database.pool).await.expect("the rows fit");
    let table = deployment.does(&["sellers", "data"]);
    assert!(table.contains(&seller) && table.contains("50 %"), "{table}");
    let unknown = deployment.run(&["sellers", "data", SELLER]);
    assert!(unknown.error(3).contains("there is no seller"), "{}", unknown.err);
}

#[tokio::test]
async fn the_page_of_sellers_shows_ages_and_the_history() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    assert!(console.get("/sellers").await.text.contains("No seller is connected"));
    let seller = amzigo.seller();
    sqlx::query(HISTORY).execute(&amzigo.database.pool).await.expect("the rows fit");
    let page = console.get("/sellers").await;
    for expected in [seller.as_str(), "7 min ago", "50 %", "not yet", "aria-current=\"page\">Sellers"] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
}

#[tokio::test]
async fn the_page_about_amazon_lists_every_operation_with_why_and_roles() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let page = console.get("/amazon").await;
    assert_eq!(page.status, 200);
    for entry in Operation::ALL.map(Operation::entry) {
        for expected in [entry.name, entry.path, entry.roles[0].name()] {
            assert!(page.text.contains(expected), "{expected} of {}", entry.name);
        }
    }
    assert!(!page.text.contains("/products/pricing") && !page.text.contains("/finances"));
}
