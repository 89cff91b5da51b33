//! Catalog Items API 2022-04-01, `searchCatalogItems`: sales ranks of up to twenty products a call, and nothing else.

use serde::Deserialize;

use crate::sp_api::{
    CallError, Operation, lenient,
    request::{Request, Success},
};

/// Most products in a question. Source: Catalog Items API 2022-04-01, model of 2026-08-05.
pub const TOGETHER: usize = 20;

/// Asks for the sales ranks of products in a marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanksSearch {
    /// The marketplace.
    pub marketplace_id: String,
    /// Amazon's product ids, at most [`TOGETHER`].
    pub asins: Vec<String>,
}

/// Which of Amazon's two orders a rank is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RankKind {
    /// A fine category.
    Classification,
    /// A department.
    DisplayGroup,
}

impl RankKind {
    /// As stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::DisplayGroup => "display_group",
        }
    }
}

/// A product's rank in a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// Amazon's product id.
    pub asin: String,
    /// In which of the two orders.
    pub kind: RankKind,
    /// Amazon's id of the classification, or name of the display group.
    pub category: String,
    /// The category's name.
    pub title: Option<String>,
    /// 1 sells best.
    pub rank: i64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    asin: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    sales_ranks: Vec<Ranks>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ranks {
    marketplace_id: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    classification_ranks: Vec<Told>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    display_group_ranks: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(alias = "classificationId", alias = "websiteDisplayGroup")]
    category: String,
    #[serde(default, deserialize_with = "lenient::text")]
    title: Option<String>,
    rank: i64,
}

impl RanksSearch {
    /// The request. All products fit on one page.
    #[must_use]
    pub fn request(&self) -> Request {
        Request::new(Operation::SearchCatalogItems).query([
            ("marketplaceIds", self.marketplace_id.clone()),
            ("identifiersType", "ASIN".to_owned()),
            ("identifiers", self.asins.join(",")),
            ("includedData", "salesRanks".to_owned()),
            ("pageSize", TOGETHER.to_string()),
        ])
    }

    /// Reads the answer: ranks of the products that were asked about, in the marketplace that was asked about. A product that
    /// Amazon does not know, or that has no rank, is simply not there.
    ///
    /// # Errors
    /// [`CallError::NoAnswer`] when it does not parse.
    pub fn parse(&self, answer: &Success) -> Result<Vec<Rank>, CallError> {
        let answer: Answer = lenient::read(Operation::SearchCatalogItems, &answer.body)?;
        let asked = answer.items.into_iter().filter(|item| self.asins.contains(&item.asin));
        Ok(asked.flat_map(|item| self.ranks(item)).collect())
    }

    fn ranks(&self, item: Item) -> Vec<Rank> {
        let here = item.sales_ranks.into_iter().filter(|ranks| ranks.marketplace_id == self.marketplace_id);
        let rank = |kind, told: Told| Rank {
            asin: item.asin.clone(),
            kind,
            category: told.category,
            title: told.title,
            rank: told.rank,
        };
        here.flat_map(|ranks| {
            let fine =
                ranks.classification_ranks.into_iter().map(|told| rank(RankKind::Classification, told));
            let broad = ranks.display_group_ranks.into_iter().map(|told| rank(RankKind::DisplayGroup, told));
            fine.chain(broad).collect::<Vec<_>>()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UK: &str = "A1F83G8C2ARO7P";

    fn search() -> RanksSearch {
        RanksSearch { marketplace_id: UK.into(), asins: vec!["B000000001".into(), "B000000002".into()] }
    }

    fn parse(body: &str) -> Vec<Rank> {
        search().parse(&Success { body: body.into(), request_id: None }).expect("an answer")
    }

    #[test]
    fn ranks_are_those_of_the_products_and_the_marketplace_asked_about() {
        let body = r#"{"numberOfResults":2,"items":[
            {"asin":"B000000001","salesRanks":[
                {"marketplaceId":"A1PA6795UKMFR9","displayGroupRanks":[{"websiteDisplayGroup":"x","title":"x","rank":1}]},
                {"marketplaceId":"A1F83G8C2ARO7P",
                 "classificationRanks":[{"classificationId":"3741","title":"Mugs","link":"https://shop.example","rank":7}],
                 "displayGroupRanks":[{"websiteDisplayGroup":"kitchen_display_on_website","title":"Home","rank":812}]}]},
            {"asin":"B000000009","salesRanks":[{"marketplaceId":"A1F83G8C2ARO7P",
                "displayGroupRanks":[{"websiteDisplayGroup":"x","title":"x","rank":1}]}]}]}"#;
        let told: Vec<_> =
            parse(body).into_iter().map(|rank| (rank.asin, rank.kind, rank.category, rank.rank)).collect();
        let expected = [
            ("B000000001".to_owned(), RankKind::Classification, "3741".to_owned(), 7),
            ("B000000001".to_owned(), RankKind::DisplayGroup, "kitchen_display_on_website".to_owned(), 812),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_product_without_ranks_has_none() {
        assert_eq!(parse(r#"{"items":[{"asin":"B000000001"},{"asin":"B000000002","salesRanks":null}]}"#), []);
        assert_eq!(parse(r#"{"numberOfResults":0,"items":[]}"#), []);
    }

    #[test]
    fn only_sales_ranks_are_asked_for() {
        let query = search().request().query;
        assert!(query.contains(&("includedData", "salesRanks".to_owned())), "{query:?}");
        assert!(query.contains(&("identifiers", "B000000001,B000000002".to_owned())), "{query:?}");
    }
}
