//! The doors by which jobs come in, held to each other and to the payloads' types.

mod doors;
mod kinds_in_sql;
mod payload_schemas;
mod payloads;
mod shelves;
