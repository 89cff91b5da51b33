//! Ids: one type a thing, so that a seller's id cannot be passed for a job's.
//!
//! All are UUIDs of version 7: they sort by birth, and say nothing about a person.

/// Declares an id type over [`uuid::Uuid`].
pub use uuid::Uuid;

/// Declares an id type over [`Uuid`]. The caller's crate needs `serde` and `sqlx`.
#[macro_export]
macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub $crate::ids::Uuid);

        impl $name {
            /// A new id, later than all before it.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default id would be a new one each time")]
            pub fn new() -> Self {
                Self($crate::ids::Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::ids::Uuid::parse_str(text).map(Self).map_err(|_| {
                    format!("`{text}` is not an id; one looks like 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10")
                })
            }
        }
    };
}
