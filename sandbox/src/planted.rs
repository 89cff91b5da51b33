//! Personal data of a buyer and a seller who do not exist, planted so that a test can prove that it is kept nowhere.
//!
//! Every order has the same buyer, every store the same owner. Each value is rare enough that finding it in a log, a row or a payload means that it came
//! from here.

/// Every planted value. None of them may turn up anywhere outside the sandbox's own answers.
pub const PLANTED: [&str; 11] = [
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
];

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
