//! The threads that compute. There is one pool for the whole process, and it belongs to this crate.

use rayon::prelude::*;

use crate::{Error, Result};

/// How many threads compute. Asked for once, before anything is computed; by default one a core. An error later on.
pub fn set_count(count: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global().map_err(Error::new)
}

/// Run `work` on one of the threads that compute. Thousands of small operations a chunk share their work with the others,
/// and from outside each would have to be handed over and waited for.
pub fn among_workers<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// `work(index, chunk)` for every `size` numbers of `values`, on all threads; `together` neighbours at least are worth a thread.
pub fn for_each_chunk<T: Send>(values: &mut [T], size: usize, together: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    values.par_chunks_mut(size).with_min_len(together).enumerate().for_each(|(index, chunk)| work(index, chunk));
}

/// `work(index, item)` for every item, on all threads; `together` neighbours at least are worth a thread.
pub fn for_each<T: Send>(items: impl IntoIterator<Item = T>, together: usize, work: impl Fn(usize, T) + Sync) {
    let items: Vec<T> = items.into_iter().collect();
    items.into_par_iter().with_min_len(together).enumerate().for_each(|(index, item)| work(index, item));
}
