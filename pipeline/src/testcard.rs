//! Draws its chunk index and the keys held; no weights. (being written)
