//! Rules that the compiler does not know: which crate may see which, names, documents that stay true.
