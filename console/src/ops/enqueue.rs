//! Enqueues a job that a person or a program asks for, through the same door as everybody ([`jobs::door`]).

pub use jobs::door::{EnqueueError, MAX_KEY_BYTES, Request, enqueue, prepare};
