//! Why a payload does not fit its kind, as a problem has it: each field that is wrong, with what would be right.

use queue::schema::{Misfit, Wrong};

use super::{body, problem::FieldError};

/// What is wrong with the payload. Where its schema finds nothing wrong, the kind's own words, `why`, tell.
pub(super) fn wrong_fields(misfits: &[Misfit], why: &str) -> Vec<FieldError> {
    if misfits.is_empty() {
        vec![body::describe("/payload", why)]
    } else {
        misfits.iter().map(told).collect()
    }
}

fn told(misfit: &Misfit) -> FieldError {
    let field = misfit.field.as_deref();
    let at_field = || format!("/payload/{}", field.unwrap_or_default());
    let (pointer, detail) = match misfit.wrong {
        Wrong::Shape => ("/payload".to_owned(), "has the wrong type".to_owned()),
        // The path leads to what is there and must change: the object around the field.
        Wrong::Unknown => (
            "/payload".to_owned(),
            match field {
                Some(name) => format!("has a field that is none of its kind's, `{name}`"),
                None => "has a field that is none of its kind's".to_owned(),
            },
        ),
        Wrong::Missing => (at_field(), "is missing".to_owned()),
        Wrong::Unfit => (at_field(), "is not right".to_owned()),
    };
    FieldError::new(pointer, detail, misfit.expected.clone())
}

#[cfg(test)]
mod tests {
    use jobs::catalog::CATALOG;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let kind = CATALOG.get("send_review_request").expect("it is a kind");
        let schema = kind.payload_schema().expect("it is understood");
        let wrong = |payload: Value| -> Vec<(String, String)> {
            let errors = wrong_fields(&schema.misfits(&payload), "it says so");
            errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
        };
        let told = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
        assert_eq!(
            wrong(json!({})),
            [told("/payload/order", "is missing"), told("/payload/seller", "is missing")]
        );
        assert_eq!(
            wrong(json!({ "seller": "Ann", "order": 7, "Ann": "Lee" })),
            [
                told("/payload", "has a field that is none of its kind's"),
                told("/payload/order", "is not right"),
                told("/payload/seller", "is not right"),
            ]
        );
        assert_eq!(wrong(json!([1])), [told("/payload", "has the wrong type")]);
    }
}
