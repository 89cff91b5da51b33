//! The one list of kinds. Registration, the command line, schedules, metric labels and README's table are made from it.

use std::sync::LazyLock;

use queue::{Catalog, Kind};

use crate::{
    context::Context,
    kinds::{send_review_requests::SendReviewRequests, sync_orders::SyncOrders},
};

/// Every kind there is.
pub static CATALOG: LazyLock<Catalog<Context>> =
    LazyLock::new(|| Catalog::new(vec![Kind::of::<SyncOrders>(), Kind::of::<SendReviewRequests>()]));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_file_and_says_what_it_does() {
        for kind in CATALOG.iter() {
            assert!(kind.summary.ends_with('.'), "{} needs a sentence", kind.name);
            let file = format!("{}/src/kinds/{}.rs", env!("CARGO_MANIFEST_DIR"), kind.name);
            assert!(std::path::Path::new(&file).exists(), "{} is not in {file}", kind.name);
        }
    }
}
