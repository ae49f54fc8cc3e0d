//! The default hasher of keys.

use std::hash::{BuildHasher, Hasher};

/// The default hasher of a queue: foldhash, seeded at random for each queue. See
/// [`QueueBuilder::hasher`](crate::queue::QueueBuilder::hasher).
///
/// It resists keys that were chosen to collide without knowledge of the seed. Against an adversary
/// who can measure the effects of the seed, choose the slower [`std::hash::RandomState`].
#[derive(Clone, Debug, Default)]
pub struct FastHash(foldhash::fast::RandomState);

/// The hasher that [`FastHash`] builds.
#[derive(Clone)]
pub struct FastHasher(foldhash::fast::FoldHasher<'static>);

impl BuildHasher for FastHash {
    type Hasher = FastHasher;

    #[inline]
    fn build_hasher(&self) -> FastHasher {
        FastHasher(self.0.build_hasher())
    }
}

impl Hasher for FastHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.0.write_u8(n);
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.0.write_u16(n);
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.0.write_u32(n);
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.0.write_u64(n);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.0.write_usize(n);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl std::fmt::Debug for FastHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastHasher").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_integer_type_is_hashed() {
        let seeded = FastHash::default();
        let hash = |write: fn(&mut FastHasher, u8), value| {
            let mut hasher = seeded.build_hasher();
            write(&mut hasher, value);
            hasher.finish()
        };
        let kinds: [fn(&mut FastHasher, u8); 6] = [
            |hasher, value| hasher.write(&[value]),
            |hasher, value| hasher.write_u8(value),
            |hasher, value| hasher.write_u16(value.into()),
            |hasher, value| hasher.write_u32(value.into()),
            |hasher, value| hasher.write_u64(value.into()),
            |hasher, value| hasher.write_usize(value.into()),
        ];
        for (kind, write) in kinds.into_iter().enumerate() {
            assert_ne!(hash(write, 1), hash(write, 2), "{kind}");
        }
    }
}
