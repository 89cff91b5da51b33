//! Personal data of a buyer and a seller who do not exist, planted so that a test can prove that it is kept nowhere.
//!
//! Every order has the same buyer, every store the same owner. Each value is rare enough that finding it in a log, a row or a payload means that it came
//! from here.

use serde_json::{Value, json};

/// Every planted value. None of them may turn up anywhere outside the sandbox's own answers.
pub const PLANTED: [&str; 13] = [
    BUYER_NAME,
    BUYER_EMAIL,
    COMPANY,
    RECIPIENT_NAME,
    ADDRESS_LINE,
    CITY,
    POSTCODE,
    PHONE,
    GIFT_MESSAGE,
    CUSTOMIZED_URL,
    SELLER_NAME,
    FEEDBACK_COMMENT,
    RATER_EMAIL,
];

/// Adds the buyer to an answer that has no place for one: beside everything else, and in whatever is listed.
pub(crate) fn leak_into(answer: &mut Value) {
    add_buyer(answer);
    leak_into_lists(answer);
}

fn leak_into_lists(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(leak_into_lists),
        Value::Array(items) => {
            for item in items {
                leak_into_lists(item);
                add_buyer(item);
            }
        }
        _ => {}
    }
}

fn add_buyer(value: &mut Value) {
    let Value::Object(members) = value else { return };
    let buyer = json!({"buyerName": BUYER_NAME, "buyerEmail": BUYER_EMAIL, "buyerCompanyName": COMPANY});
    let address = json!({
        "name": RECIPIENT_NAME,
        "addressLine1": ADDRESS_LINE,
        "city": CITY,
        "postalCode": POSTCODE,
        "phone": PHONE,
    });
    members.insert("buyer".to_owned(), buyer);
    members.insert("shippingAddress".to_owned(), address);
    members.insert("giftMessage".to_owned(), json!(GIFT_MESSAGE));
    members.insert("customizedUrl".to_owned(), json!(CUSTOMIZED_URL));
}

/// What an order says about its buyer, when it is asked.
#[cfg(test)]
pub(crate) const OF_AN_ORDER: &[&str] = PLANTED.split_at(10).0;

pub(crate) const BUYER_NAME: &str = "Zebedee Quillfeather-Canary";
pub(crate) const BUYER_EMAIL: &str = "q1l4canary7@marketplace.amazon.invalid";
pub(crate) const COMPANY: &str = "Quillfeather Canary Plumes Ltd";
pub(crate) const RECIPIENT_NAME: &str = "Philippa Quillfeather-Canary";
pub(crate) const ADDRESS_LINE: &str = "17 Planted Canary Mews";
pub(crate) const CITY: &str = "Nether Canaryholme";
pub(crate) const POSTCODE: &str = "ZZ99 3CY";
pub(crate) const PHONE: &str = "+44 20 7946 0999";
pub(crate) const GIFT_MESSAGE: &str = "Many happy canaries, dear Philippa";
pub(crate) const CUSTOMIZED_URL: &str = "https://customized.invalid/canary/engraving-for-philippa";
pub(crate) const SELLER_NAME: &str = "Wilhelmina Birdseed-Canary";
pub(crate) const FEEDBACK_COMMENT: &str = "The canary arrived moulting, writes Zebedee";
pub(crate) const RATER_EMAIL: &str = "zebedee.canary@rater.invalid";
